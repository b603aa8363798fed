//! Asks the API server about tokens: once for each, a few at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Api;
use kube::api::PostParams;
use meltemi_ca::entitlement::{Caller, Rules};
use meltemi_ca::server::Unknown;
use meltemi_names::Secret;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::answer::{AUDIENCE, Account, account, expiry};
use crate::identity::kube::cache::Cache;
use crate::identity::kube::metrics::KubeIdentityMetrics;
use crate::identity::parts::Tokens;

/// How many callers are remembered: all workloads that one replica is meant to hold.
const KNOWN: usize = 10_000;

/// How many refusals are remembered, in a memory of their own.
const REFUSED: usize = 1_000;

/// The longest that an answer is believed. A token that was taken back (its pod or its account is deleted) is good for no longer than
/// that; and workloads whose streams all come back at once, after a restart of a proxy between, cost no second review each.
const BELIEVED: Duration = Duration::from_secs(300);

/// How long a refusal is believed: an agent that asks again and again costs six reviews a minute; one whose account is made a moment
/// after its pod need not wait for long.
const DISBELIEVED: Duration = Duration::from_secs(10);

/// How many reviews are under way at a time: an API server that is slow is not buried in them.
const AT_ONCE: usize = 32;

/// How many tokens wait to be reviewed, those under way among them. Beyond that whoever asks is to ask again.
const WAITING: usize = 4_096;

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(10);

/// SHA-256 of a token.
type Digest = [u8; 32];

type Outcome = Result<Account, Unknown>;
type Ask = dyn Fn(Secret<String>) -> BoxFuture<'static, Result<TokenReviewStatus, String>> + Send + Sync;

/// What is known of tokens. Clones share it.
#[derive(Clone)]
pub(crate) struct Reviews {
    shared: Arc<Shared>,
}

struct Shared {
    ask: Box<Ask>,
    rules: watch::Receiver<Arc<Rules>>,
    metrics: KubeIdentityMetrics,
    known: Mutex<Known>,
    at_once: Semaphore,
}

struct Known {
    accounts: Cache<Digest, Account>,
    refused: Cache<Digest, String>,
    under_way: HashMap<Digest, watch::Receiver<Option<Outcome>>>,
}

impl std::fmt::Debug for Reviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviews").finish_non_exhaustive()
    }
}

impl Reviews {
    /// Asks that API server.
    pub(crate) fn new(
        client: kube::Client,
        rules: watch::Receiver<Arc<Rules>>,
        metrics: KubeIdentityMetrics,
    ) -> Self {
        let ask = move |token: Secret<String>| -> BoxFuture<'static, Result<TokenReviewStatus, String>> {
            Box::pin(review(client.clone(), token))
        };
        Self::asking(Box::new(ask), rules, metrics)
    }

    fn asking(ask: Box<Ask>, rules: watch::Receiver<Arc<Rules>>, metrics: KubeIdentityMetrics) -> Self {
        let known =
            Known { accounts: Cache::new(KNOWN), refused: Cache::new(REFUSED), under_way: HashMap::new() };
        let at_once = Semaphore::new(AT_ONCE);
        Self { shared: Arc::new(Shared { ask, rules, metrics, known: Mutex::new(known), at_once }) }
    }

    async fn caller(&self, token: &str) -> Result<Caller, Unknown> {
        let account = self.account(token).await?;
        let rules = Arc::clone(&self.shared.rules.borrow());
        account.caller(&rules).map_err(|error| Unknown::Nobody(error.to_string()))
    }

    async fn account(&self, token: &str) -> Outcome {
        let until = expiry(token).map_err(|reason| Unknown::Nobody(reason.to_owned()))?;
        let mut asked = match self.found_or_asked(token, until)? {
            Found::Known(account) => return Ok(account),
            Found::Asked(asked) => asked,
        };
        match asked.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_else(|| Err(stopped())),
            Err(_) => Err(stopped()),
        }
    }

    fn found_or_asked(&self, token: &str, until: Option<SystemTime>) -> Result<Found, Unknown> {
        let digest = digest(token);
        let mut known = self.shared.known();
        if let Some(account) = known.accounts.get(&digest, now()) {
            return Ok(Found::Known(account.clone()));
        }
        if let Some(reason) = known.refused.get(&digest, now()) {
            return Err(Unknown::Nobody(reason.clone()));
        }
        // One whose asker is gone (a panic) does not count.
        if let Some(under_way) = known.under_way.get(&digest).filter(|asked| asked.has_changed().is_ok()) {
            return Ok(Found::Asked(under_way.clone()));
        }
        if known.under_way.len() >= WAITING {
            return Err(Unknown::Later(format!("{WAITING} tokens wait to be reviewed already")));
        }
        let (sender, receiver) = watch::channel(None);
        known.under_way.insert(digest, receiver.clone());
        drop(known);
        let (shared, token) = (Arc::clone(&self.shared), Secret::new(token.to_owned()));
        // Apart from who asks, who may go away: others may wait for the same answer.
        tokio::spawn(async move {
            let outcome = shared.ask(token).await;
            shared.remember(digest, &outcome, until);
            sender.send_replace(Some(outcome));
        });
        Ok(Found::Asked(receiver))
    }
}

impl Tokens for Reviews {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, Unknown>> {
        Box::pin(self.caller(token))
    }
}

enum Found {
    Known(Account),
    Asked(watch::Receiver<Option<Outcome>>),
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while it was held leaves what is remembered whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, token: Secret<String>) -> Outcome {
        let Ok(_permit) = self.at_once.acquire().await else { return Err(stopped()) };
        let answer = match timeout(ANSWER, (self.ask)(token)).await {
            Ok(answer) => answer,
            Err(_) => Err("the API server does not answer".to_owned()),
        };
        let (outcome, said) = match answer {
            Ok(status) => match account(&status) {
                Ok(account) => (Ok(account), "accepted"),
                Err(reason) => (Err(Unknown::Nobody(reason)), "refused"),
            },
            Err(reason) => (Err(Unknown::Later(format!("a token cannot be reviewed: {reason}"))), "failed"),
        };
        self.metrics.reviewed(said);
        outcome
    }

    fn remember(&self, digest: Digest, outcome: &Outcome, until: Option<SystemTime>) {
        let now = now();
        let left =
            until.map_or(BELIEVED, |until| until.duration_since(SystemTime::now()).unwrap_or_default());
        let mut known = self.known();
        known.under_way.remove(&digest);
        match outcome {
            Ok(account) => known.accounts.put(digest, account.clone(), now + left.min(BELIEVED), now),
            Err(Unknown::Nobody(reason)) => {
                known.refused.put(digest, reason.clone(), now + DISBELIEVED, now);
            }
            Err(Unknown::Later(_)) => {}
        }
    }
}

async fn review(client: kube::Client, token: Secret<String>) -> Result<TokenReviewStatus, String> {
    let asked = TokenReview {
        spec: TokenReviewSpec { token: token.reveal().clone(), audiences: Some(vec![AUDIENCE.to_owned()]) },
        ..TokenReview::default()
    };
    let answer = Api::<TokenReview>::all(client).create(&PostParams::default(), &asked).await;
    let answer = answer.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    })?;
    answer.status.ok_or_else(|| "the API server answers without a status".to_owned())
}

fn digest(token: &str) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, token.as_bytes()).as_ref());
    digest
}

fn stopped() -> Unknown {
    Unknown::Later("this replica stops".to_owned())
}

/// Time as the runtime tells it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
