//! Renews the certificate of the TLS port: at half of its life, and at once when what signs or what is trusted changes.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::entitlement::Rules;
use meltemi_ca::server::Reserve;
use meltemi_ca::{Authority, ForServer, Time};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::config;
use crate::identity::clock::Clock;
use crate::identity::keeper::Keeper;
use crate::identity::metrics::IdentityMetrics;
use crate::wire::Failure;

/// After a failure it is tried again after so long; at half life there is time.
const AGAIN: Duration = Duration::from_secs(5);

/// What the task is given.
pub(in crate::identity) struct Task {
    pub(in crate::identity) keeper: Arc<Keeper>,
    /// DNS names and addresses.
    pub(in crate::identity) names: Vec<String>,
    pub(in crate::identity) life: Duration,
    pub(in crate::identity) clock: Arc<dyn Clock>,
    pub(in crate::identity) domains: watch::Receiver<Arc<Rules>>,
    pub(in crate::identity) metrics: IdentityMetrics,
}

/// Starts the task.
pub(in crate::identity) fn start(
    task: Task,
    mut stopped: watch::Receiver<bool>,
    tasks: &mut JoinSet<Result<(), Failure>>,
) -> watch::Receiver<Option<Arc<ServerConfig>>> {
    let (sender, receiver) = watch::channel(None);
    tasks.spawn(async move {
        let running = Running { task, shown: None, sender };
        tokio::select! {
            () = running.run() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        Ok(())
    });
    receiver
}

struct Running {
    task: Task,
    /// The last certificate that was made.
    shown: Option<Arc<ForServer>>,
    sender: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl Running {
    async fn run(mut self) {
        let mut authority = self.task.keeper.authority();
        loop {
            let current = authority.borrow_and_update().clone();
            let next = match &current {
                None => None,
                Some(authority) => Some(match self.renew(authority).await {
                    Ok(next) => next,
                    Err(error) => {
                        self.task.metrics.serving_failed();
                        tracing::error!(
                            target: "ca", error,
                            "the certificate of the TLS port cannot be renewed; the last one stays, and it is tried again"
                        );
                        self.keep_up(authority);
                        self.task.clock.now().after(AGAIN)
                    }
                }),
            };
            tokio::select! {
                changed = authority.changed() => if changed.is_err() { return },
                () = self.come(next), if next.is_some() => {}
            }
        }
    }

    async fn come(&self, time: Option<Time>) {
        let Some(time) = time else { return };
        while self.task.clock.now() < time {
            self.task.clock.at(time).await;
        }
    }

    /// Makes a new one; when it is to be renewed.
    async fn renew(&mut self, authority: &Arc<Authority>) -> Result<Time, String> {
        let now = self.task.clock.now();
        let not_after = now.after(self.task.life).min(authority.not_after());
        self.task.keeper.reserve(authority, not_after).await?;
        let (signer, names, life) = (Arc::clone(authority), self.task.names.clone(), self.task.life);
        let domains = self.task.domains.clone();
        let made = tokio::task::spawn_blocking(move || {
            let shown =
                meltemi_ca::for_server(&signer, &names, life, now).map_err(|error| error.to_string())?;
            let config = config(&shown, signer.bundle(), domains)?;
            Ok::<_, String>((shown, config))
        });
        let (shown, config) = made.await.map_err(|_| "signing failed".to_owned())??;
        tracing::info!(
            target: "ca",
            serial = shown.serial, not_after = %shown.not_after, names = self.task.names.join(","),
            "the TLS port has a new certificate"
        );
        self.task.metrics.serving(shown.not_after);
        let next = now.after(now.until(shown.not_after) / 2);
        self.shown = Some(Arc::new(shown));
        self.sender.send_replace(Some(Arc::new(config)));
        Ok(next)
    }

    /// With the last certificate, at least what clients are verified by is up to date.
    fn keep_up(&self, authority: &Authority) {
        let Some(shown) = &self.shown else { return };
        match config(shown, authority.bundle(), self.task.domains.clone()) {
            Ok(config) => {
                self.sender.send_replace(Some(Arc::new(config)));
            }
            Err(error) => tracing::error!(target: "ca", error, "the roots of the TLS port stay as they were"),
        }
    }
}
