//! The loop around the engine. It decides nothing: the debounce says when, the engine says what.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Instant;

use meltemi_catalog::{Generation, View};
use meltemi_model::debounce::{Debounce, Patience, Verdict};
use meltemi_model::{Entry, Mesh as Published, is_settings, reference};
use meltemi_names::{Kind, Namespace, ObjectKey};
use meltemi_sources::kube::Written;
use meltemi_sources::{Batch, Source};
use meltemi_views::{Applied, Engine, Options, ProxyId, Trial};
use tokio::sync::{mpsc, watch};

use crate::findings::Findings;
use crate::identity::Domains;
use crate::metrics::Metrics;
use crate::pace::until;
use crate::propagation::Book;
use crate::status::Ledger;
use crate::streams::{Connect, Departures, Report, Revise, Streams};

/// What the task is given.
pub(crate) struct Mesh {
    pub(crate) options: Options,
    /// Which revision's objects count.
    pub(crate) revision: String,
    pub(crate) patience: Patience,
    pub(crate) source: Source,
    pub(crate) connects: mpsc::Receiver<Connect>,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) revisions: mpsc::Receiver<Revise>,
    /// To ask who has accepted what; weak, since the task ends when the registry does.
    pub(crate) streams: Weak<Streams>,
    pub(crate) departures: Arc<Departures>,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) generation: watch::Sender<Generation>,
    /// How many events wait for what they refer to.
    pub(crate) waiting: watch::Sender<usize>,
    /// Is told of the settings.
    pub(crate) domains: Domains,
    pub(crate) findings: Findings,
    pub(crate) metrics: Metrics,
    /// What of it all can be asked about single objects.
    pub(crate) book: Arc<Book>,
    /// What is to be written into the objects of a cluster.
    pub(crate) ledger: Option<Arc<Ledger>>,
    /// The namespaces that there are and that count.
    pub(crate) namespaces: watch::Sender<Arc<BTreeSet<Namespace>>>,
    /// For those who ask about single objects.
    pub(crate) mesh: watch::Sender<Arc<Published>>,
}

/// Starts the task; it ends when nobody can connect any more.
pub(crate) fn spawn(mesh: Mesh) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let Mesh {
            options,
            revision,
            patience,
            mut source,
            mut connects,
            reports,
            revisions,
            streams,
            departures,
            ready,
            generation,
            waiting,
            domains,
            findings,
            metrics,
            book,
            ledger,
            namespaces,
            mesh: published,
        } = mesh;
        let mut writer = Writer {
            engine: Engine::of_revision(options, &revision),
            debounce: Debounce::new(patience),
            pending: None,
            views: HashMap::new(),
            streams,
            generation,
            waiting,
            domains,
            findings,
            metrics,
            book,
            ledger,
            namespaces,
            published,
        };
        let first = tokio::select! {
            first = source.next() => first,
            // Nobody connects before it is ready: this is the end, before the beginning.
            _ = connects.recv() => return,
        };
        if let Some(first) = first {
            writer.note(first.written);
            writer.findings.replace(first.findings, first.places);
            writer.book.read(&first.events);
            let started = Instant::now();
            let mut trial = writer.engine.attempt();
            trial.take(first.events);
            writer.publish(trial, started);
        }
        ready.send_replace(true);
        writer.run(source, connects, reports, revisions, &departures).await;
    })
}

/// Whether other namespaces may be there, or count, after these changes.
fn is_of_namespaces(entry: &Entry) -> bool {
    match entry {
        Entry::Object(key) => key.kind == Kind::Namespace || is_settings(key),
        Entry::Index(_) => false,
        Entry::Defaults => true,
    }
}

struct Writer {
    engine: Engine,
    debounce: Debounce,
    /// What waits for what it refers to, and how many events that is.
    pending: Option<(Trial, usize)>,
    views: HashMap<ProxyId, watch::Sender<View>>,
    streams: Weak<Streams>,
    generation: watch::Sender<Generation>,
    waiting: watch::Sender<usize>,
    domains: Domains,
    findings: Findings,
    metrics: Metrics,
    book: Arc<Book>,
    ledger: Option<Arc<Ledger>>,
    namespaces: watch::Sender<Arc<BTreeSet<Namespace>>>,
    published: watch::Sender<Arc<Published>>,
}

impl Writer {
    async fn run(
        &mut self,
        mut source: Source,
        mut connects: mpsc::Receiver<Connect>,
        mut reports: mpsc::Receiver<Report>,
        mut revisions: mpsc::Receiver<Revise>,
        departures: &Departures,
    ) {
        let mut sources_live = true;
        loop {
            let deadline = self.debounce.deadline();
            tokio::select! {
                batch = source.next(), if sources_live => match batch {
                    Some(batch) => self.take(batch),
                    // What is in force stays in force.
                    None => sources_live = false,
                },
                connect = connects.recv() => match connect {
                    Some(connect) => {
                        // What is known to be refused is looked at before a new proxy gets it.
                        while let Ok(report) = reports.try_recv() {
                            self.refused(report);
                        }
                        self.connect(connect);
                    }
                    None => return,
                },
                Some(report) = reports.recv() => self.refused(report),
                Some(Revise { id, proxy }) = revisions.recv() => {
                    if self.engine.revise(id, proxy) {
                        self.send_views(&[id]);
                        self.generation.send_replace(self.engine.generation());
                        self.metrics.layers(self.engine.layer_count());
                    }
                }
                () = departures.notify.notified() => {
                    for proxy in departures.take() {
                        self.views.remove(&proxy);
                        self.engine.disconnect(proxy);
                    }
                    self.metrics.layers(self.engine.layer_count());
                }
                () = until(deadline), if deadline.is_some() => {
                    if self.debounce.on_tick(Instant::now())
                        && let Some((pending, _)) = self.pending.take()
                    {
                        self.publish(pending, Instant::now());
                    }
                }
            }
        }
    }

    /// Hands on what the API server has beside the specs.
    fn note(&self, written: Vec<(ObjectKey, Option<Written>)>) {
        if let Some(ledger) = &self.ledger {
            ledger.wrote(written);
        }
    }

    /// Publishes a batch at once, or lets it wait for what it refers to.
    fn take(&mut self, batch: Batch) {
        self.note(batch.written);
        self.findings.replace(batch.findings, batch.places);
        if batch.events.is_empty() {
            self.findings.say(self.ledger.as_deref());
            return;
        }
        let started = Instant::now();
        self.book.read(&batch.events);
        let (mut trial, waiting) = self.pending.take().unwrap_or_else(|| (self.engine.attempt(), 0));
        let waiting = waiting + batch.events.len();
        trial.take(batch.events);
        let verdict = reference::judge(self.engine.mesh(), trial.mesh(), trial.changes());
        if verdict == Verdict::Dangling {
            tracing::debug!("a change refers to what is not there yet; it waits");
        }
        if self.debounce.on_change(verdict, started) {
            self.publish(trial, started);
        } else {
            self.pending = Some((trial, waiting));
            self.waiting.send_replace(waiting);
            self.book.waits();
        }
    }

    /// Puts what was tried into force; `started`: when the work on it began.
    fn publish(&mut self, trial: Trial, started: Instant) {
        let of_namespaces = trial.changes().entries().any(is_of_namespaces);
        let applied = self.engine.adopt(trial);
        if of_namespaces {
            let now: BTreeSet<Namespace> = self.engine.store().selected_namespaces().collect();
            self.namespaces.send_if_modified(|before| {
                let differs = **before != now;
                if differs {
                    *before = Arc::new(now);
                }
                differs
            });
        }
        self.domains.follow(&self.engine.mesh().settings());
        // All but the change is shared.
        self.published.send_replace(Arc::new(self.engine.mesh().clone()));
        self.send_views(&applied.proxies);
        self.book.published(&applied, &self.engine);
        let Applied { generation, changes, proxies, findings, .. } = applied;
        self.waiting.send_replace(0);
        self.generation.send_replace(generation);
        let cost = self.engine.take_cost();
        self.metrics.published(started.elapsed(), generation, &cost);
        tracing::debug!(
            generation = generation.0,
            entries = changes.entries().count(),
            proxies = proxies.len(),
            micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "published"
        );
        // Asked for only when they differ: to gather them costs the size of the mesh.
        if findings {
            self.findings.semantic(self.engine.findings());
        }
        self.findings.say(self.ledger.as_deref());
    }

    fn send_views(&self, proxies: &[ProxyId]) {
        for proxy in proxies {
            let Some(sender) = self.views.get(proxy) else { continue };
            let view = self.engine.view(*proxy);
            let left = sender.borrow().clone();
            // A proxy whose labels or ports changed is served from other layers now; its stream is told what differs.
            let moved = !view.continues(&left.position());
            sender.send_replace(if moved { view.coming_from(left) } else { view });
        }
    }

    /// A proxy refused a resource alone: if it is not the proxy's fault, its build gets the last good state from now on.
    fn refused(&mut self, report: Report) {
        let Report { proxy, build, refused } = report;
        let accepted = self.streams.upgrade().is_some_and(|streams| streams.accepted_by(&build, &refused));
        let name = refused.name.clone();
        let moved = self.engine.refused(proxy, refused, accepted);
        if moved.is_empty() {
            return;
        }
        tracing::warn!(
            resource = %name,
            %build,
            proxies = moved.len(),
            "proxies of this build refused the resource and none accepted it: it is set aside for the build, whose proxies keep its last \
             good state, or have it without the patches of EnvoyFilters"
        );
        self.send_views(&moved);
        self.book.withheld(self.engine.withheld());
        self.generation.send_replace(self.engine.generation());
    }

    fn connect(&mut self, connect: Connect) {
        let id = self.engine.connect(connect.proxy);
        let (sender, receiver) = watch::channel(self.engine.view(id));
        self.metrics.layers(self.engine.layer_count());
        if connect.reply.send((id, receiver)).is_err() {
            // The client went away while it was let in.
            self.engine.disconnect(id);
        } else {
            self.views.insert(id, sender);
        }
        self.book.withheld(self.engine.withheld());
    }
}
