//! Asks every replica for its report, all at once.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use hyper::StatusCode;
use meltemi_ca::Replicas;
use meltemi_ca::rotate::{Report as Reported, World};
use tokio::sync::watch;

use super::{PATH, Report, parse};
use crate::client;
use crate::propagation::Propagation;

/// A replica that takes longer has reported nothing.
const ANSWER: Duration = Duration::from_secs(5);

/// The replicas as Kubernetes lists them, and this one.
pub(crate) struct PeerReplicas {
    propagation: Arc<Propagation>,
    own: String,
    epoch: watch::Receiver<u64>,
}

impl PeerReplicas {
    /// `own` names this one; `epoch` is what it answers by.
    pub(crate) fn new(propagation: Arc<Propagation>, own: String, epoch: watch::Receiver<u64>) -> Self {
        Self { propagation, own, epoch }
    }

    async fn ask(address: String) -> (String, Option<Reported>) {
        let report = match client::get(&address, PATH, ANSWER).await {
            Ok((StatusCode::OK, body)) => parse(&body).map(Reported::from),
            Ok(_) | Err(_) => None,
        };
        (address, report)
    }
}

impl Replicas for PeerReplicas {
    fn world(&self) -> BoxFuture<'_, World> {
        Box::pin(async move {
            let others = join_all(self.propagation.replicas().into_iter().map(Self::ask)).await;
            let own = Report { epoch: *self.epoch.borrow() };
            others.into_iter().chain([(self.own.clone(), Some(own.into()))]).collect()
        })
    }
}
