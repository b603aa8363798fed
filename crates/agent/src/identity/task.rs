//! Gets the first certificate, and renews it for as long as this runs.
//!
//! Start at [`renew_forever`].
//! Invariant: what is published is replaced only by something newer; a failure takes nothing away.

use std::sync::Arc;
use std::time::SystemTime;

use meltemi_names::SpiffeId;
use tokio::sync::watch;
use tokio::time::sleep;

use super::answer::Credential;
use super::client::{AskError, Settings, ask};
use super::renew::{Grace, Renewal, Step};
use super::time::Time;
use crate::metrics::{Metrics, Outcome};

/// After so many failures in a row only every so many-th is a warning; the others are for who looks closely.
const TOLD: u32 = 5;

/// Asks, publishes, waits, and so on. Ends only by being dropped.
pub(crate) async fn renew_forever(
    settings: Settings,
    id: SpiffeId,
    grace: Grace,
    latest: watch::Sender<Option<Arc<Credential>>>,
    metrics: Metrics,
) {
    let mut renewal = Renewal::new(grace, fastrand::u64(..));
    loop {
        let present = match renewal.step(now()) {
            Step::Wait(wait) => {
                sleep(wait).await;
                continue;
            }
            Step::Ask { present } => present,
        };
        let held = latest.borrow().clone();
        match ask(&settings, &id, held.as_deref().filter(|_| present)).await {
            Ok(credential) => {
                renewal.came(credential.created, credential.not_after, fastrand::f64());
                metrics.asked(Outcome::Issued);
                metrics.expires(credential.not_after.unix());
                tracing::info!(
                    %id, serial = credential.serial, until = %credential.not_after,
                    "certificate: {}", if held.is_some() { "renewed" } else { "the first one is there" }
                );
                latest.send_replace(Some(Arc::new(credential)));
            }
            Err(error) => failed(&mut renewal, &error, held.as_deref(), &metrics),
        }
    }
}

fn failed(renewal: &mut Renewal, error: &AskError, held: Option<&Credential>, metrics: &Metrics) {
    metrics.asked(if matches!(error, AskError::Wrong(_)) { Outcome::Wrong } else { Outcome::Failed });
    let again_in = renewal.failed(now());
    let failures = renewal.failures();
    let stays = match held {
        Some(held) if now() < held.not_after => format!("the present one goes on until {}", held.not_after),
        Some(held) => format!("the present one EXPIRED at {}, and peers refuse it", held.not_after),
        None => "there is none yet, and Envoy waits for it".to_owned(),
    };
    if failures <= TOLD || failures.is_multiple_of(TOLD) {
        tracing::warn!(failures, ?again_in, "no new certificate: {error}; {stays}; it is tried again");
    } else {
        tracing::debug!(failures, ?again_in, "no new certificate: {error}; {stays}");
    }
}

fn now() -> Time {
    Time::from(SystemTime::now())
}
