//! Writes the objects' status while this replica leads: looks at what changed, plans, patches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::jiff::Timestamp;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams};
use meltemi_names::{Kind, ObjectKey};
use meltemi_sources::kube::Written;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ledger::Ledger;
use super::plan::{Facts, plan};
use super::queue::Queue;
use crate::metrics::StatusMetrics;
use crate::pace::until;
use crate::propagation::{Ask, Changes, InForce, Propagation, Scope, State, Want};

/// How many objects are worked at at a time; each is a request or two under way.
const AT_ONCE: usize = 16;

/// How many objects are followed at a time that are in force here and not yet at another replica.
const FOLLOWED: usize = 16;

/// For so long another replica is listened to in one go.
const FOLLOW: Duration = Duration::from_secs(30);

/// A patch that takes longer is tried again later.
const ANSWER: Duration = Duration::from_secs(10);

/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// What the writer works with.
pub(crate) struct Writer {
    pub(crate) client: kube::Client,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) propagation: Arc<Propagation>,
    /// Until when this replica leads.
    pub(crate) leads: watch::Receiver<Option<Instant>>,
    pub(crate) metrics: StatusMetrics,
}

/// Writes until `stop`.
pub(crate) fn spawn(
    writer: Writer,
    stop: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let writer = Arc::new(writer);
        let work = Work {
            leads: writer.leads.clone(),
            writer,
            queue: Queue::new(now()),
            changes: None,
            under_way: FuturesUnordered::new(),
            followed: BTreeSet::new(),
            following: FuturesUnordered::new(),
            told: BTreeSet::new(),
        };
        tokio::select! {
            () = work.run() => {}
            () = stop => {}
        }
    })
}

/// What became of an object.
enum Outcome {
    /// Its status says what it should.
    Same,
    /// It was written.
    Written,
    /// Somebody else wrote first: the API server will tell, and it is looked at then.
    Overtaken,
    /// It is to be tried again.
    Failed(String),
}

struct Work {
    writer: Arc<Writer>,
    leads: watch::Receiver<Option<Instant>>,
    queue: Queue,
    /// While this replica leads.
    changes: Option<Changes>,
    under_way: FuturesUnordered<BoxFuture<'static, (ObjectKey, Outcome, bool)>>,
    /// In force here, not known to be so elsewhere.
    followed: BTreeSet<ObjectKey>,
    following: FuturesUnordered<BoxFuture<'static, ObjectKey>>,
    /// Failures that were told.
    told: BTreeSet<String>,
}

impl Work {
    async fn run(mut self) {
        let ledger = Arc::clone(&self.writer.ledger);
        loop {
            self.take_office();
            let is_leader = self.changes.is_some();
            let next = self.queue.next().filter(|_| is_leader && self.under_way.len() < AT_ONCE);
            tokio::select! {
                elected = self.leads.changed() => if elected.is_err() { return },
                () = ledger.noted() => {
                    let stirred = ledger.take();
                    if is_leader {
                        self.push(stirred);
                    }
                }
                changed = changed(&mut self.changes) => self.push(changed),
                () = until(next) => self.begin(),
                Some((key, outcome, is_open)) = self.under_way.next() => self.done(&key, outcome, is_open),
                Some(key) = self.following.next() => {
                    self.followed.remove(&key);
                    self.queue.push(key, now());
                }
            }
        }
    }

    /// Begins when this replica came to lead, and stops when it leads no more.
    fn take_office(&mut self) {
        let is_leader = self.writer.is_leader();
        match (is_leader, &self.changes) {
            (true, None) => {
                self.changes = Some(self.writer.propagation.changes());
                let all = self.writer.ledger.all();
                tracing::info!(objects = all.len(), "this replica writes the objects' status from now on");
                self.push(all);
            }
            (false, Some(_)) => {
                tracing::info!("this replica writes no status any more");
                self.changes = None;
                self.queue.clear();
                self.followed.clear();
                self.following.clear();
            }
            _ => {}
        }
    }

    fn push(&mut self, keys: impl IntoIterator<Item = ObjectKey>) {
        let now = now();
        for key in keys {
            self.queue.push(key, now);
        }
    }

    fn begin(&mut self) {
        while self.under_way.len() < AT_ONCE
            && let Some(key) = self.queue.pop(now())
        {
            let writer = Arc::clone(&self.writer);
            self.under_way.push(Box::pin(async move {
                let (outcome, is_open) = writer.bring_up_to_date(&key).await;
                (key, outcome, is_open)
            }));
        }
    }

    fn done(&mut self, key: &ObjectKey, outcome: Outcome, is_open: bool) {
        match outcome {
            Outcome::Same => {}
            Outcome::Written => {
                self.queue.wrote();
                self.writer.metrics.written();
            }
            Outcome::Overtaken => self.queue.wrote(),
            Outcome::Failed(why) => {
                self.queue.wrote();
                self.writer.metrics.failed();
                self.queue.push_at(key.clone(), now() + AGAIN);
                if self.told.len() < 100 && self.told.insert(why.clone()) {
                    tracing::warn!(object = %key, "its status cannot be written, and is tried again: {why}");
                }
            }
        }
        if !is_open || self.followed.contains(key) {
            return;
        }
        if self.followed.len() >= FOLLOWED {
            self.queue.push_at(key.clone(), now() + AGAIN);
            return;
        }
        self.followed.insert(key.clone());
        let (writer, key) = (Arc::clone(&self.writer), key.clone());
        self.following.push(Box::pin(async move {
            // Whatever the answer is: it is looked at again then.
            let ask = Ask { timeout: Some(FOLLOW), scope: Scope::Mesh, ..Ask::latest(key.clone()) };
            if writer.propagation.ask(&ask).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            key
        }));
    }
}

impl Writer {
    fn is_leader(&self) -> bool {
        self.leads.borrow().is_some_and(|until| now() < until)
    }

    /// Looks at an object, and writes what differs. True: it is in force here, and not (known to be) so elsewhere, so that nothing here will
    /// tell when it is.
    async fn bring_up_to_date(&self, key: &ObjectKey) -> (Outcome, bool) {
        // Before what is written: a change that comes meanwhile stirs the object again.
        let in_force = if has_effect(key.kind) { self.in_force(key).await } else { None };
        let Some((written, findings)) = self.ledger.find(key) else { return (Outcome::Same, false) };
        // Not read yet, or none of this mesh: nothing is known that could be said.
        if has_effect(key.kind) && in_force.as_ref().is_none_or(|(found, _)| found.state == State::NotSeen) {
            return (Outcome::Same, false);
        }
        let refers = matches!(key.kind, Kind::VirtualService | Kind::DestinationRule | Kind::Gateway);
        let (in_force, is_open) = in_force.unzip();
        // What stands there of an earlier generation is no news of this one; of a refused one the latest that can be used is earlier.
        let is_news = |found: &InForce| {
            found.state == State::Refused || found.generation.is_none_or(|seen| seen >= written.generation)
        };
        let (in_force, is_open) = (in_force.filter(is_news), is_open.unwrap_or_default());
        let facts = Facts { findings: &findings, in_force: in_force.as_ref(), refers };
        match plan(facts, &written, Timestamp::now()) {
            None => (Outcome::Same, is_open),
            Some(_) if !self.is_leader() => (Outcome::Same, false),
            Some(patch) => (self.patch(key, &written, &patch).await, is_open),
        }
    }

    async fn in_force(&self, key: &ObjectKey) -> Option<(InForce, bool)> {
        let here = self.propagation.state(key);
        if here.state != State::InForce {
            return Some((here, false));
        }
        let want = here.generation.map_or(Want::Latest, Want::Generation);
        let ask = Ask { want, scope: Scope::Mesh, ..Ask::latest(key.clone()) };
        match self.propagation.ask(&ask).await {
            Ok(everywhere) => {
                let is_open = !everywhere.met;
                Some((everywhere, is_open))
            }
            Err(_) => None,
        }
    }

    async fn patch(&self, key: &ObjectKey, written: &Written, patch: &Value) -> Outcome {
        let resource = written.resource;
        let collection = format!(
            "/apis/{}/{}/namespaces/{}/{}",
            resource.group,
            resource.version,
            key.namespace.as_str(),
            resource.plural
        );
        let request = Request::new(collection).patch_subresource(
            "status",
            key.name.as_str(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        );
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        match timeout(ANSWER, self.client.request_text(request)).await {
            Ok(Ok(_)) => Outcome::Written,
            // Another version, or gone.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Outcome::Overtaken,
            Ok(Err(kube::Error::Api(status))) => Outcome::Failed(status.message.clone()),
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed("the API server does not answer".to_owned()),
        }
    }
}

/// Whether anything follows from a kind of which the objects have a status of ours.
fn has_effect(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::VirtualService
            | Kind::DestinationRule
            | Kind::WorkloadEntry
            | Kind::Gateway
            | Kind::ServiceEntry
            | Kind::EnvoyFilter
            | Kind::PeerAuthentication
    )
}

async fn changed(changes: &mut Option<Changes>) -> BTreeSet<ObjectKey> {
    match changes {
        Some(changes) => {
            changes.changed().await;
            changes.take()
        }
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    Instant::now()
}
