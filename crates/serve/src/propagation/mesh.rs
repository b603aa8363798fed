//! The answer of all replicas: each answers for its own proxies, and it is so only if each says so.
//!
//! A replica that cannot be asked, or that has not read that state yet, makes the answer unknown or not yet: never yes. Who cannot be
//! reached is tried again, with a pause, until the time is up: it may be starting.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::answer::{InForce, Replica, State};
use super::ask::{Ask, Scope, Want};
use super::wait::Busy;
use super::{Propagation, page};
use crate::client;

/// Between two tries to reach a replica.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a replica that is asked for what is now may take, on top of the time that it is to wait.
const GRACE: Duration = Duration::from_secs(2);

/// The name of the one that was asked, among the replicas.
const OWN: &str = "self";

impl Propagation {
    /// Answers what is asked.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn ask(&self, ask: &Ask) -> Result<InForce, Busy> {
        let deadline = Instant::now() + ask.timeout.unwrap_or_default();
        let here = self.here(ask).await?;
        if ask.scope == Scope::Replica {
            return Ok(here);
        }
        // The others are to have what this one has, not what they last heard of.
        let want = match (&ask.want, here.generation, &here.content) {
            (Want::Latest, Some(generation), _) => Want::Generation(generation),
            (Want::Latest, None, Some(content)) => Want::Content(content.clone()),
            (want, _, _) => want.clone(),
        };
        let theirs = Ask { want, scope: Scope::Replica, ..ask.clone() };
        let mut answers: Vec<(String, Answer)> = Vec::new();
        loop {
            let addresses = self.peers.addresses();
            answers.retain(|(address, answer)| answer.is_met() && addresses.contains(address));
            let open: Vec<String> = addresses
                .into_iter()
                .filter(|address| !answers.iter().any(|(answered, _)| answered == address))
                .collect();
            let left = deadline.saturating_duration_since(Instant::now());
            // Without a yes here, all that the others tell is how it stands.
            let left = if here.met { left } else { Duration::ZERO };
            answers.extend(
                join_all(open.into_iter().map(|address| async {
                    let answer = query(&address, &theirs, left).await;
                    (address, answer)
                }))
                .await,
            );
            let again = Instant::now() + PAUSE;
            if answers.iter().all(|(_, answer)| answer.is_met()) || !here.met || again >= deadline {
                break;
            }
            tokio::time::sleep_until(again).await;
        }
        answers.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(joined(here, answers))
    }
}

/// What came of asking one replica.
#[derive(Debug)]
enum Answer {
    Told(Box<InForce>),
    Silent(String),
}

impl Answer {
    fn is_met(&self) -> bool {
        matches!(self, Self::Told(answer) if answer.met)
    }
}

async fn query(address: &str, ask: &Ask, left: Duration) -> Answer {
    let ask = Ask { timeout: (!left.is_zero()).then_some(left), ..ask.clone() };
    match client::get(address, &page::path(&ask), left + GRACE).await {
        Ok((status, body)) if status.is_success() => match serde_json::from_slice(&body) {
            Ok(answer) => Answer::Told(answer),
            Err(error) => Answer::Silent(format!("its answer is not understood: {error}")),
        },
        Ok((status, body)) => Answer::Silent(format!("it answered {status}: {}", page::error_of(&body))),
        Err(error) => Answer::Silent(format!("it cannot be reached: {error}")),
    }
}

/// One answer of all.
fn joined(here: InForce, others: Vec<(String, Answer)>) -> InForce {
    let mut joined = here;
    joined.replicas.push(replica(OWN, &joined));
    if others.is_empty() {
        return joined;
    }
    for (address, answer) in others {
        match answer {
            Answer::Told(answer) => {
                joined.replicas.push(replica(&address, &answer));
                joined.have += answer.have;
                joined.of += answer.of;
                joined.starting += answer.starting;
                let named = answer.lagging.into_iter();
                joined
                    .lagging
                    .extend(named.map(|lag| super::Lagging { replica: Some(address.clone()), ..lag }));
            }
            Answer::Silent(message) => joined.replicas.push(Replica {
                address,
                state: State::Unknown,
                met: false,
                have: 0,
                of: 0,
                message,
            }),
        }
    }
    joined.lagging.sort_by_key(|lagging| lagging.why);
    joined.lagging.truncate(super::look::LISTED);
    let Some(worst) = joined.replicas.iter().filter(|replica| !replica.met).max_by_key(|one| one.state)
    else {
        let InForce { have, of, .. } = joined;
        let (proxies, replicas) = (format!("{have} of {of} proxies"), joined.replicas.len());
        joined.message = format!("{}, {proxies} of {replicas} replicas in all", joined.message);
        return joined;
    };
    if worst.address != OWN {
        joined.message = format!("replica {}: {}", worst.address, worst.message);
    }
    joined.met = false;
    joined.state = worst.state;
    joined
}

fn replica(address: &str, answer: &InForce) -> Replica {
    Replica {
        address: address.to_owned(),
        state: answer.state,
        met: answer.met,
        have: answer.have,
        of: answer.of,
        message: answer.message.clone(),
    }
}
