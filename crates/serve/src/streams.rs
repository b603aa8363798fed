//! The live streams: who is connected, served from what, and how far each has come. The only registry of clients.
//!
//! Invariant: an entry lives exactly as long as its stream; its view is sent to it and to nobody else.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use futures::future::BoxFuture;
use meltemi_catalog::{Generation, View};
use meltemi_model::proxy::{Proxy, ProxyKind};
use meltemi_names::SpiffeId;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::{ProxyId, Refused};
use meltemi_xds::{Connection, Directory, Form, Peer, Refusal, StreamHandle, Watcher};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tonic::Status;

use crate::identity::Gate;
use crate::identity::gate::needs_identity;
use crate::propagation::Book;

/// A live stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Who is on it.
    pub proxy: Arc<Proxy>,
    /// By what name it was authenticated; none on the plain port.
    pub identity: Option<Arc<SpiffeId>>,
    /// Its state.
    pub handle: Arc<StreamHandle>,
    /// What it is served from. The stream itself may not have looked at the latest yet.
    pub(crate) views: watch::Receiver<View>,
}

/// Asks the mesh's task to serve a proxy.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) reply: oneshot::Sender<(ProxyId, watch::Receiver<View>)>,
}

/// A resource that a proxy refused alone.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) proxy: ProxyId,
    pub(crate) build: Arc<str>,
    pub(crate) refused: Refused,
}

/// The proxies that left since the mesh's task last looked: at most as many as are connected.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    gone: Mutex<Vec<ProxyId>>,
    pub(crate) notify: Notify,
}

impl Departures {
    fn leave(&self, proxy: ProxyId) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(proxy);
        self.notify.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<ProxyId> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every live stream, by its number.
#[derive(Debug)]
pub struct Streams {
    live: DashMap<u64, Stream>,
    connects: mpsc::Sender<Connect>,
    reports: mpsc::Sender<Report>,
    departures: Arc<Departures>,
    ready: watch::Receiver<bool>,
    max_age: Option<Duration>,
    /// Is told that a stream has moved.
    book: Arc<Book>,
}

impl Streams {
    pub(crate) fn new(
        connects: mpsc::Sender<Connect>,
        reports: mpsc::Sender<Report>,
        departures: Arc<Departures>,
        ready: watch::Receiver<bool>,
        max_age: Option<Duration>,
        book: Arc<Book>,
    ) -> Arc<Self> {
        Arc::new(Self { live: DashMap::new(), connects, reports, departures, ready, max_age, book })
    }

    /// How long a new stream may live: less up to half, by chance, so that those that came together do not go together.
    fn age(&self) -> Option<Duration> {
        self.max_age.map(|age| age.mul_f64(1.0 - fastrand::f64() / 2.0))
    }

    /// Whether any live proxy of that build has accepted those bytes.
    pub(crate) fn accepted_by(&self, build: &str, refused: &Refused) -> bool {
        self.all()
            .iter()
            .filter(|stream| *stream.proxy.build == *build)
            .any(|stream| stream.handle.has_accepted(refused.type_url, &refused.name, refused.version))
    }

    /// All live streams, by proxy and then by age.
    pub fn all(&self) -> Vec<Stream> {
        let mut all: Vec<Stream> = self.live.iter().map(|entry| entry.value().clone()).collect();
        all.sort_by(|a, b| (&a.proxy.id, a.handle.id()).cmp(&(&b.proxy.id, b.handle.id())));
        all
    }
}

/// The registry as the discovery server asks it.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) streams: Arc<Streams>,
    pub(crate) gate: Gate,
}

impl Directory for Registry {
    fn connect(
        &self,
        node: Node,
        peer: Peer,
        stream: Arc<StreamHandle>,
    ) -> BoxFuture<'static, Result<Connection, Status>> {
        let (streams, gate) = (Arc::clone(&self.streams), self.gate.clone());
        Box::pin(async move {
            let mut proxy = Proxy::parse(&node, peer.form == Form::Delta)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let identity = gate.admit(&node, &proxy, &peer).await?;
            // Of an identity that was verified, and so of that namespace.
            proxy.reads_secrets = identity.is_some();
            if proxy.kind == ProxyKind::Router && identity.is_none() {
                tracing::warn!(
                    proxy = %proxy.id,
                    "a gateway without an identity gets no secrets, and none of the servers that name one by credentialName: let it \
                     connect to the port with TLS, by `meltemi agent`"
                );
            }
            let proxy = Arc::new(proxy);
            // Nobody is served from half a mesh: an answer before the first snapshot would take working routes away.
            let mut ready = streams.ready.clone();
            ready.wait_for(|ready| *ready).await.map_err(|_| {
                Status::unavailable("the control plane is stopping; connect to another replica")
            })?;
            let (reply, answer) = oneshot::channel();
            let stopping =
                || Status::unavailable("the control plane is stopping; connect to another replica");
            let connect = Connect { proxy: Arc::clone(&proxy), reply };
            streams.connects.send(connect).await.map_err(|_| stopping())?;
            let (id, views) = answer.await.map_err(|_| stopping())?;
            tracing::info!(proxy = %proxy.id, stream = stream.id(), form = peer.form.as_str(), "proxy connected");
            let live = Stream {
                proxy: Arc::clone(&proxy),
                identity: identity.clone(),
                handle: Arc::clone(&stream),
                views: views.clone(),
            };
            streams.live.insert(stream.id(), live);
            streams.book.moved();
            let watcher = Box::new(Departure {
                id,
                stream: stream.id(),
                proxy,
                known: identity.is_some(),
                gate,
                streams: Arc::clone(&streams),
            });
            Ok(Connection { views, watcher, max_age: streams.age() })
        })
    }
}

/// Refusals that say something of the proxy's own machine: a port that is taken, a file that is not there. Another proxy may do well
/// with the same bytes.
fn is_the_proxys_own(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "bind",
        "address already in use",
        "permission denied",
        "no such file",
        "unable to read file",
        "failed to load",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Takes a stream out of the registry when it ends.
struct Departure {
    id: ProxyId,
    stream: u64,
    proxy: Arc<Proxy>,
    /// It was authenticated.
    known: bool,
    gate: Gate,
    streams: Arc<Streams>,
}

impl Watcher for Departure {
    fn refused(&mut self, refusal: &Refusal) {
        let names: Vec<&str> = refusal.resources.iter().map(|(name, _)| name.as_str()).collect();
        let origins: Vec<String> = refusal.origins.iter().map(ToString::to_string).collect();
        tracing::warn!(
            proxy = %self.proxy.id,
            r#type = refusal.type_url.short(),
            alone = refusal.alone,
            resources = names.join(", "),
            made_from = origins.join(", "),
            "the proxy refused a response and keeps its last good state: {}",
            refusal.message
        );
        self.streams.book.refused(&refusal.origins);
        if !refusal.alone || is_the_proxys_own(&refusal.message) {
            return;
        }
        for (name, version) in &refusal.resources {
            let refused = Refused { type_url: refusal.type_url, name: name.clone(), version: *version };
            let report = Report { proxy: self.id, build: Arc::clone(&self.proxy.build), refused };
            // Where there is no room so many refuse that one more tells nothing new.
            let _ = self.streams.reports.try_send(report);
        }
    }

    fn progressed(&mut self, _watermark: Generation) {}

    fn may_ask(&mut self, type_url: &str) -> bool {
        let may = self.known || !needs_identity(type_url);
        if !may {
            self.gate.needs_identity();
        }
        may
    }

    fn moved(&mut self) {
        self.streams.book.moved();
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.streams.live.remove(&self.stream);
        self.streams.departures.leave(self.id);
        self.streams.book.moved();
        tracing::info!(proxy = %self.proxy.id, stream = self.stream, "proxy gone");
    }
}
