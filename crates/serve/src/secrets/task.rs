//! Asks again whether a gateway's account may have Secrets, as often as an answer is good: a right that is given works without a restart,
//! and one that is taken back ends.

use std::sync::Arc;
use std::time::Instant;

use meltemi_model::proxy::Proxy;
use meltemi_names::SpiffeId;
use meltemi_views::ProxyId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Standing;
use crate::identity::Readers;
use crate::streams::Revise;

/// What is known of a stream's proxy, kept up to date until this is dropped.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) now: watch::Receiver<Standing>,
    _task: JoinSet<()>,
}

impl Following {
    /// Of one whose standing does not change.
    pub(crate) fn nothing(standing: Standing) -> Self {
        Self { now: watch::channel(standing).1, _task: JoinSet::new() }
    }

    /// Follows what the API server says; `until` then its first answer is good.
    pub(crate) fn start(
        readers: Readers,
        identity: Arc<SpiffeId>,
        (id, proxy): (ProxyId, Arc<Proxy>),
        (first, until): (Standing, Instant),
        revisions: mpsc::Sender<Revise>,
    ) -> Self {
        let (sender, now) = watch::channel(first);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut until = until;
            loop {
                tokio::time::sleep_until(until.into()).await;
                let answer = readers.may(&identity).await;
                until = answer.until;
                let next = Standing::by(&answer);
                let before = sender.send_replace(next.clone());
                if before.access == next.access {
                    continue;
                }
                let revised = Proxy { secrets: next.access, ..(*proxy).clone() };
                if revisions.send(Revise { id, proxy: Arc::new(revised) }).await.is_err() {
                    return;
                }
            }
        });
        Self { now, _task: task }
    }
}
