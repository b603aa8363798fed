//! The live streams: who is connected, served from what, and how far each has come. The only registry of clients.
//!
//! Invariant: an entry lives exactly as long as its stream; its view is sent to it and to nobody else.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use futures::future::BoxFuture;
use meltemi_catalog::{Generation, View};
use meltemi_model::proxy::{Proxy, ProxyKind, SecretAccess};
use meltemi_names::{SpiffeId, TypeUrl};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::google::protobuf::value::Kind;
use meltemi_views::{ProxyId, Refused};
use meltemi_xds::{Connection, Directory, Form, Page, Peer, Refusal, StreamHandle, Watcher};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tonic::Status;

use crate::debug::Debug;
use crate::debug::access::Caller;
use crate::identity::gate::needs_identity;
use crate::identity::{Gate, Readers};
use crate::propagation::Book;
use crate::secrets::Standing;
use crate::secrets::task::Following;

/// A live stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Who is on it.
    pub proxy: Arc<Proxy>,
    /// By what name it was authenticated; none on the plain port.
    pub identity: Option<Arc<SpiffeId>>,
    /// Its state.
    pub handle: Arc<StreamHandle>,
    /// What else it said of itself.
    pub(crate) said: Arc<Said>,
    /// What it is served from. The stream itself may not have looked at the latest yet.
    pub(crate) views: watch::Receiver<View>,
    /// What it may have of Secrets.
    pub(crate) secrets: watch::Receiver<Standing>,
}

/// What a client says of itself that makes no difference to what it is served.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Metadata `CLUSTER_ID`.
    pub(crate) cluster_id: String,
    /// Metadata `ISTIO_VERSION`, else which build it is.
    pub(crate) version: String,
    /// The first part of its ID.
    pub(crate) kind: String,
    /// It asks for pages alone: Istio's tools, by metadata `GENERATOR`.
    is_tool: bool,
}

impl Said {
    fn by(node: &Node, proxy: &Proxy) -> Self {
        let text = |key: &str| match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
            Kind::StringValue(text) => Some(text.clone()),
            _ => None,
        };
        Self {
            cluster_id: text("CLUSTER_ID").unwrap_or_default(),
            version: text("ISTIO_VERSION").unwrap_or_else(|| proxy.build.to_string()),
            kind: node.id.split('~').next().unwrap_or_default().to_owned(),
            is_tool: text("GENERATOR").is_some_and(|generator| generator == "event"),
        }
    }
}

/// Asks the mesh's task to serve a proxy.
#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) reply: oneshot::Sender<(ProxyId, watch::Receiver<View>)>,
}

/// Something else is known of a proxy that is served already.
#[derive(Debug)]
pub(crate) struct Revise {
    pub(crate) id: ProxyId,
    pub(crate) proxy: Arc<Proxy>,
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
    revisions: mpsc::Sender<Revise>,
    departures: Arc<Departures>,
    ready: watch::Receiver<bool>,
    max_age: Option<Duration>,
    /// Is told that a stream has moved.
    book: Arc<Book>,
}

impl Streams {
    pub(crate) fn new(
        (connects, reports, revisions): (mpsc::Sender<Connect>, mpsc::Sender<Report>, mpsc::Sender<Revise>),
        departures: Arc<Departures>,
        ready: watch::Receiver<bool>,
        max_age: Option<Duration>,
        book: Arc<Book>,
    ) -> Arc<Self> {
        Arc::new(Self {
            live: DashMap::new(),
            connects,
            reports,
            revisions,
            departures,
            ready,
            max_age,
            book,
        })
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
    pub(crate) debug: Arc<Debug>,
    /// Who may have the Secrets of a cluster; none: whoever is verified may have what there is.
    pub(crate) readers: Option<Readers>,
}

impl Directory for Registry {
    fn connect(
        &self,
        node: Node,
        peer: Peer,
        stream: Arc<StreamHandle>,
    ) -> BoxFuture<'static, Result<Connection, Status>> {
        let (streams, gate, debug) = (Arc::clone(&self.streams), self.gate.clone(), Arc::clone(&self.debug));
        let readers = self.readers.clone();
        Box::pin(async move {
            let mut proxy = Proxy::parse(&node, peer.form == Form::Delta)
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            let identity = gate.admit(&node, &proxy, &peer).await?;
            // Of an identity that was verified, and so of that namespace.
            let mut standing = Standing::of(proxy.kind, identity.is_some());
            let asked = readers.zip(identity.clone()).filter(|_| standing.access == SecretAccess::All);
            let mut until = None;
            if let Some((readers, identity)) = &asked {
                let answer = readers.may(identity).await;
                standing = Standing::by(&answer);
                until = Some(answer.until);
            }
            proxy.secrets = standing.access;
            if proxy.kind == ProxyKind::Router && identity.is_none() {
                tracing::warn!(
                    proxy = %proxy.id,
                    "a gateway without an identity gets no secrets, and none of the servers that name one by credentialName: let it \
                     connect to the port with TLS, by `meltemi agent`"
                );
            }
            let said = Said::by(&node, &proxy);
            let pages = Pages { identity: identity.clone(), gate, debug };
            if said.is_tool {
                // It is no proxy: it is served nothing, and counts for nothing.
                let (none, views) = watch::channel(View::default());
                return Ok(Connection {
                    views,
                    watcher: Box::new(Tool { pages, _views: none }),
                    max_age: streams.age(),
                });
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
            let secrets = match asked.zip(until) {
                Some(((readers, identity), until)) => Following::start(
                    readers,
                    identity,
                    (id, Arc::clone(&proxy)),
                    (standing, until),
                    streams.revisions.clone(),
                ),
                None => Following::nothing(standing),
            };
            tracing::info!(proxy = %proxy.id, stream = stream.id(), form = peer.form.as_str(), "proxy connected");
            let live = Stream {
                proxy: Arc::clone(&proxy),
                identity: identity.clone(),
                handle: Arc::clone(&stream),
                said: Arc::new(said),
                views: views.clone(),
                secrets: secrets.now.clone(),
            };
            streams.live.insert(stream.id(), live);
            streams.book.moved();
            let watcher = Box::new(Departure {
                id,
                stream: stream.id(),
                proxy,
                pages,
                secrets,
                told: Arc::default(),
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
    pages: Pages,
    secrets: Following,
    /// Why it gets no keys, as that was told last.
    told: Arc<str>,
    streams: Arc<Streams>,
}

/// What a client may ask beside what it is served.
struct Pages {
    /// None: it was not authenticated.
    identity: Option<Arc<SpiffeId>>,
    gate: Gate,
    debug: Arc<Debug>,
}

impl Pages {
    fn may_ask(&self, type_url: &str) -> bool {
        let may = self.identity.is_some() || !needs_identity(type_url);
        if !may {
            self.gate.needs_identity();
        }
        may
    }

    fn page(&self, type_url: &str, names: &[String]) -> Option<Result<Page, Status>> {
        let caller = Caller::Verified(Arc::clone(self.identity.as_ref()?));
        self.debug.over_xds(type_url, names, &caller)
    }
}

/// A client that asks for pages alone.
struct Tool {
    pages: Pages,
    /// What it is served from is as long as it is.
    _views: watch::Sender<View>,
}

impl Watcher for Tool {
    fn refused(&mut self, _refusal: &Refusal) {}

    fn progressed(&mut self, _watermark: Generation) {}

    fn may_ask(&mut self, type_url: &str) -> bool {
        self.pages.may_ask(type_url)
    }

    fn page(&mut self, type_url: &str, names: &[String]) -> Option<Result<Page, Status>> {
        self.pages.page(type_url, names)
    }
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
        let may = self.pages.may_ask(type_url);
        if may && TypeUrl::parse(type_url) == Some(TypeUrl::Secret) {
            self.tell_secrets();
        }
        may
    }

    fn page(&mut self, type_url: &str, names: &[String]) -> Option<Result<Page, Status>> {
        self.pages.page(type_url, names)
    }

    fn moved(&mut self) {
        self.streams.book.moved();
    }
}

impl Departure {
    /// It asks for Secrets: if it may not have them its operator is told, once.
    fn tell_secrets(&mut self) {
        let standing = self.secrets.now.borrow().clone();
        if standing.access != SecretAccess::Roots || standing.why == self.told {
            return;
        }
        self.told = standing.why;
        let account = self.pages.identity.as_ref().map_or("", |identity| identity.service_account());
        let namespace = self.proxy.namespace.as_str();
        tracing::warn!(
            proxy = %self.proxy.id,
            account,
            "a gateway gets no keys of Secrets (credentialName), and keeps those that it has: its service account {account} may not list Secrets of \
             namespace {namespace}: {}. Give it a Role with the verb list on secrets there, and a RoleBinding",
            self.told
        );
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
