//! Asks the API server whether service accounts may list the Secrets of their namespaces: once for each, a few at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared as SharedFuture};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use meltemi_names::SpiffeId;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::identity::kube::cache::Cache;
use crate::identity::kube::metrics::KubeIdentityMetrics;

/// How many accounts are remembered: far more than a mesh has gateways' accounts.
const KNOWN: usize = 10_000;

/// How long a yes is good, as in Istio: a right that is taken back is noticed within so long.
const ALLOWED: Duration = Duration::from_secs(300);

/// How long a no is good: a right that is given works within so long. Less than Istio's minute, since a person waits for it.
const REFUSED: Duration = Duration::from_secs(20);

/// How soon the API server is asked again when it did not say.
const UNKNOWN: Duration = Duration::from_secs(10);

/// For so long it is remembered what was said last, for the time when the API server is away.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How many questions are under way at a time.
const AT_ONCE: usize = 8;

/// How many accounts wait for an answer, beyond which it is not known.
const WAITING: usize = 1_024;

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(10);

/// What is known of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It may list them.
    May,
    /// It may not; with what the API server says why, which may be nothing.
    MayNot(Arc<str>),
    /// The API server does not say, for this reason, and never let it before.
    Unknown(Arc<str>),
}

/// What is known, and until when that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) said: Said,
    pub(crate) until: Instant,
}

/// Whether it is let, and why not; or why that cannot be known.
type Reviewed = Result<Result<(), String>, String>;
type Ask = dyn Fn(SubjectAccessReviewSpec) -> BoxFuture<'static, Reviewed> + Send + Sync;
type UnderWay = SharedFuture<BoxFuture<'static, Answer>>;

/// What is known of accounts. Clones share it.
#[derive(Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    ask: Box<Ask>,
    metrics: KubeIdentityMetrics,
    known: Mutex<Known>,
    at_once: Semaphore,
}

struct Known {
    answers: Cache<String, Answer>,
    under_way: HashMap<String, UnderWay>,
    /// The API server's last answer was none, and that was told.
    is_told: bool,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    /// Asks that API server.
    pub(crate) fn new(client: kube::Client, metrics: KubeIdentityMetrics) -> Self {
        Self::asking(Box::new(move |spec| review(client.clone(), spec).boxed()), metrics)
    }

    fn asking(ask: Box<Ask>, metrics: KubeIdentityMetrics) -> Self {
        let known = Known { answers: Cache::new(KNOWN), under_way: HashMap::new(), is_told: false };
        let at_once = Semaphore::new(AT_ONCE);
        Self { shared: Arc::new(Shared { ask, metrics, known: Mutex::new(known), at_once }) }
    }

    /// Whether that account may list the Secrets of its namespace.
    pub(crate) async fn may(&self, account: &SpiffeId) -> Answer {
        let user = format!("system:serviceaccount:{}:{}", account.namespace(), account.service_account());
        let asked = {
            let mut known = self.shared.known();
            if let Some(answer) = known.answers.get(&user, now()).filter(|answer| now() < answer.until) {
                return answer.clone();
            }
            match known.under_way.get(&user) {
                Some(asked) => asked.clone(),
                None if known.under_way.len() >= WAITING => {
                    let reason = format!("{WAITING} accounts wait to be asked about already");
                    return Answer { said: Said::Unknown(reason.into()), until: now() + UNKNOWN };
                }
                None => {
                    let shared = Arc::clone(&self.shared);
                    let asked = shared.review(user.clone(), account.namespace().to_owned()).boxed().shared();
                    known.under_way.insert(user, asked.clone());
                    asked
                }
            }
        };
        asked.await
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while it was held leaves what is remembered whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn review(self: Arc<Self>, user: String, namespace: String) -> Answer {
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.clone()),
                verb: Some("list".to_owned()),
                resource: Some("secrets".to_owned()),
                ..ResourceAttributes::default()
            }),
            user: Some(user.clone()),
            ..SubjectAccessReviewSpec::default()
        };
        let asking = async {
            let _permit = self.at_once.acquire().await;
            (self.ask)(spec).await
        };
        let reviewed = match timeout(ANSWER, asking).await {
            Ok(reviewed) => reviewed,
            Err(_) => Err("the API server does not answer".to_owned()),
        };
        let now = now();
        let mut known = self.known();
        known.under_way.remove(&user);
        let before = known.answers.get(&user, now).map(|answer| answer.said.clone());
        let (said, life, outcome) = match reviewed {
            Ok(Ok(())) => (Said::May, ALLOWED, "allowed"),
            Ok(Err(reason)) => (Said::MayNot(reason.into()), REFUSED, "refused"),
            Err(reason) => {
                if !std::mem::replace(&mut known.is_told, true) {
                    tracing::warn!(
                        "the API server cannot be asked who may have Secrets: {reason}; gateways that it let before have them, others \
                         none. Meltemi must be able to create subjectaccessreviews of authorization.k8s.io"
                    );
                }
                let said = before.unwrap_or_else(|| Said::Unknown(reason.into()));
                (said, UNKNOWN, "failed")
            }
        };
        if outcome != "failed" {
            known.is_told = false;
        }
        let answer = Answer { said, until: now + life };
        // What was not said is not remembered as the last that was.
        if !matches!(answer.said, Said::Unknown(_)) {
            known.answers.put(user.clone(), answer.clone(), now + REMEMBERED, now);
        }
        drop(known);
        self.metrics.reader_reviewed(outcome);
        tracing::debug!(account = %user, said = outcome, "asked whether it may list the Secrets of its namespace");
        answer
    }
}

async fn review(client: kube::Client, spec: SubjectAccessReviewSpec) -> Reviewed {
    let asked = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::<SubjectAccessReview>::all(client).create(&PostParams::default(), &asked).await;
    let answer = answer.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    })?;
    let status = answer.status.ok_or_else(|| "the API server answers without a status".to_owned())?;
    Ok(if status.allowed { Ok(()) } else { Err(status.reason.unwrap_or_default()) })
}

/// Time as the runtime tells it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
