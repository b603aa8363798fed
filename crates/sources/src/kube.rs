//! A Kubernetes API server as the source: one follower for each kind, one stream of batches.
//!
//! Knows: which kinds there are, how lists and watches fail, what an answer means. Must not know: what the objects mean to each other, who
//! is served.   Start at [`KubeSource`]. The parts that decide are pure: [`mod@follow`] what is believed of a kind, [`gather`] what a batch is,
//! [`trouble`] what an error means; [`client`] and [`watch`] touch the world.
//! Invariants: the first batch is complete: before every first list has arrived there is none, however long that takes; an answer that is
//! no answer takes nothing away; one object that cannot be read spares its neighbours, and its deletion counts.

mod client;
mod definitions;
mod follow;
mod gather;
mod kinds;
mod metrics;
mod named;
mod read;
mod secrets;
mod slim;
mod substance;
mod trouble;
mod watch;

use std::time::{Instant, SystemTime};

use meltemi_api::Finding;
use tokio::sync::mpsc;
use tokio::sync::watch as value;
use tokio::task::JoinSet;

pub use client::{Access, Cluster, ConnectError};
pub use metrics::Metrics;
pub use named::{ConfigMap, Named, Told};
pub use read::{Resource, Written};
pub use secrets::Secrets;

use crate::batch::Batch;
use definitions::Definitions;
use gather::Gather;
use kinds::{DEFINITIONS, Part, SECRETS, WATCHED};
use read::Read;
use watch::{Followed, Heard, Target, follow};

/// How many tellings may wait to be taken; each holds a page of a list at most, or what a watch had ready. A reader that is slow lets the
/// followers wait, and those the API server.
const WAITING: usize = 64;

/// How many tellings become one batch at most, when they are there.
const GATHERED: usize = 64;

/// What is waited for before the first batch, in words; empty when nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The plurals of the kinds that were not listed yet.
    pub kinds: Vec<&'static str>,
    /// What stands in the way.
    pub troubles: Vec<Finding>,
}

/// The objects of a cluster, followed until this is dropped.
#[derive(Debug)]
pub struct KubeSource {
    heard: mpsc::Receiver<Heard<Read>>,
    gather: Gather,
    waiting: value::Sender<Waiting>,
    began: Instant,
    is_synced: bool,
    _followers: JoinSet<()>,
}

impl KubeSource {
    /// Begins to follow everything. The mesh's settings are the ConfigMap of that name in that namespace; of Secrets those are followed that
    /// may be gateways' certificates, where `secrets` says.
    ///
    /// Must be called within a Tokio runtime that has its timers.
    pub fn start(
        cluster: &Cluster,
        namespace: &str,
        settings: &str,
        secrets: &Secrets,
        metrics: &Metrics,
    ) -> Self {
        let (sender, heard) = mpsc::channel(WAITING);
        let mut followers = JoinSet::new();
        let (definition_sender, definition_heard) = mpsc::channel(WAITING);
        let (known, definitions) = value::channel(Definitions::default());
        let target = Target {
            followed: (&DEFINITIONS).into(),
            fields: String::new(),
            read: |_, _, _, _| Some(()),
            each_version: false,
        };
        spawn(&mut followers, target, cluster, definition_sender, None, metrics);
        followers.spawn(definitions::keep(definition_heard, known));
        let mut all = Vec::new();
        for watched in WATCHED {
            let of_settings = watched.part == Part::Data;
            let followed = Followed { watched, namespace: of_settings.then(|| namespace.into()) };
            let fields = if of_settings { watch::named(settings) } else { String::new() };
            all.push((followed, fields));
        }
        let namespaces = secrets.namespaces().into_iter();
        all.extend(
            namespaces.map(|namespace| (Followed { watched: &SECRETS, namespace }, secrets::fields())),
        );
        let gather = Gather::new(all.iter().map(|(followed, _)| followed));
        for (followed, fields) in all {
            // Who writes a status must know what it would be written over.
            let each_version = followed.watched.part == Part::SpecAndStatus;
            let target = Target { followed, fields, read: read::read, each_version };
            spawn(&mut followers, target, cluster, sender.clone(), Some(definitions.clone()), metrics);
        }
        let waiting = value::Sender::new(Waiting::default());
        let source = Self {
            heard,
            gather,
            waiting,
            #[allow(clippy::disallowed_methods, reason = "only to say how long it took")]
            began: Instant::now(),
            is_synced: false,
            _followers: followers,
        };
        source.tell_waiting();
        source
    }

    /// What is waited for before the first batch.
    pub fn waiting(&self) -> value::Receiver<Waiting> {
        self.waiting.subscribe()
    }

    /// The next change; first of all, everything there is. None never comes but when the followers are gone.
    ///
    /// Cancel safe: what was heard is kept for the next call.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            let heard = self.heard.recv().await?;
            let mut differs = self.gather.on(heard);
            for _ in 1..GATHERED {
                let Ok(heard) = self.heard.try_recv() else { break };
                differs |= self.gather.on(heard);
            }
            let batch = self.gather.batch(SystemTime::now());
            if differs && !self.is_synced {
                self.tell_waiting();
            }
            if let Some(batch) = batch {
                if !self.is_synced {
                    self.is_synced = true;
                    tracing::info!(
                        objects = batch.status.objects,
                        refused = batch.status.rejected,
                        seconds = self.began.elapsed().as_secs_f64(),
                        "everything that the API server has was read"
                    );
                }
                return Some(batch);
            }
        }
    }

    /// Says what is waited for to who asks, and new troubles to the log: before the first batch no finding is told otherwise.
    fn tell_waiting(&self) {
        let mut kinds: Vec<&'static str> = self.gather.waits_for().collect();
        kinds.dedup();
        let now = Waiting { kinds, troubles: self.gather.obstacles() };
        let before = self.waiting.send_replace(now.clone());
        for trouble in now.troubles.iter().filter(|trouble| !before.troubles.contains(trouble)) {
            tracing::warn!(
                code = trouble.code,
                "{}: {}",
                trouble.message,
                trouble.hint.as_deref().unwrap_or_default()
            );
        }
        if now.kinds != before.kinds {
            tracing::debug!(kinds = now.kinds.join(", "), "waiting for the first lists");
        }
    }
}

/// Starts the follower that keeps the part of the objects that the kind asks for.
fn spawn<T: Send + 'static>(
    followers: &mut JoinSet<()>,
    target: Target<T>,
    cluster: &Cluster,
    heard: mpsc::Sender<Heard<T>>,
    definitions: Option<value::Receiver<Definitions>>,
    metrics: &Metrics,
) {
    let (client, metrics) = (cluster.client(), metrics.clone());
    match target.followed.watched.part {
        Part::Metadata => {
            followers.spawn(follow::<slim::MetadataOnly, T>(target, client, heard, definitions, metrics))
        }
        Part::Spec => {
            followers.spawn(follow::<slim::SpecOnly, T>(target, client, heard, definitions, metrics))
        }
        Part::SpecAndStatus => {
            followers.spawn(follow::<slim::WithStatus, T>(target, client, heard, definitions, metrics))
        }
        Part::Slice => followers.spawn(follow::<slim::Slice, T>(target, client, heard, definitions, metrics)),
        Part::Data => followers.spawn(follow::<slim::Data, T>(target, client, heard, definitions, metrics)),
        Part::Pod => {
            followers.spawn(follow::<slim::PodParts, T>(target, client, heard, definitions, metrics))
        }
        Part::Certificate => {
            followers.spawn(follow::<slim::CertificateParts, T>(target, client, heard, definitions, metrics))
        }
    };
}
