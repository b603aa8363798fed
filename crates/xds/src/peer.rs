//! Between the server and who knows the proxies: the server asks what a client may have, and tells what became of it.
//!
//! Knows: nodes, views. Must not know: how a view is made, how a peer is authenticated (that is the directory's).
//! Invariant: a [`Watcher`] lives exactly as long as its stream.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use meltemi_catalog::{Form, Generation, ResourceName, View};
use meltemi_names::{TypeUrl, Version};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::google::protobuf::Any;
use tokio::sync::watch;

use crate::machine::Machine;
use crate::machine::standing::Lacking;
use crate::metrics::Ended;
use crate::status::{Refusal, StreamStatus};

/// Tells what each client may have.
pub trait Directory: Send + Sync + 'static {
    /// A client has introduced itself. The future may wait (until the first snapshot is there), refuse (`Unavailable`,
    /// `Unauthenticated`, `PermissionDenied`), or say what the client is served from. It is dropped if the client goes.
    fn connect(
        &self,
        node: Node,
        peer: Peer,
        stream: Arc<StreamHandle>,
    ) -> BoxFuture<'static, Result<Connection, tonic::Status>>;
}

/// What a client is served from.
pub struct Connection {
    /// What it may have, now and later. May be moved to a view of other layers at any time.
    pub views: watch::Receiver<View>,
    /// Is told what becomes of it; dropped when the stream ends, which is how the directory learns of that.
    pub watcher: Box<dyn Watcher>,
    /// After this the stream ends kindly, so that the client may come to another replica; none for never.
    pub max_age: Option<Duration>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

/// What a directory answers of its own.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Name and content of each resource.
    pub resources: Vec<(String, Any)>,
    /// Who answers (`control_plane.identifier`); empty: nothing is said.
    pub control_plane: String,
}

/// Hears of one stream. Called from the stream's own task: must not block.
pub trait Watcher: Send + 'static {
    /// The client refused a response. Reported when it comes, and once more when the resource stands alone.
    fn refused(&mut self, refusal: &Refusal);

    /// The client has acknowledged everything up to this generation.
    fn progressed(&mut self, watermark: Generation);

    /// Whether the client may ask for that type. If not, its stream ends with `PermissionDenied`.
    fn may_ask(&mut self, _type_url: &str) -> bool {
        true
    }

    /// The answer to a first request for a type that is none of Envoy's: pages of the directory's own. None for a type that it does not
    /// know either: then the answer is empty. An error ends the stream.
    fn page(&mut self, _type_url: &str, _names: &[String]) -> Option<Result<Page, tonic::Status>> {
        None
    }

    /// Note was taken of what the client said (an acknowledgement, a refusal, a subscription), of a newer view, or of time: what
    /// [`StreamHandle::lacks`] says may differ.
    fn moved(&mut self) {}

    /// The stream ends, for this reason; dropped right after. Not called if the connection breaks.
    fn ended(&mut self, _reason: Ended) {}
}

/// Who is on the other side of a stream, as far as the connection tells.
pub struct Peer {
    /// How it speaks: a directory gives virtual hosts as resources of their own to [`Form::Delta`] only.
    pub form: Form,
    /// The request's headers; `authorization` may be among them.
    pub headers: http::HeaderMap,
    /// What the listener put beside the request: addresses, the client's certificate.
    pub extensions: http::Extensions,
}

impl Peer {
    /// The address of the other side, for plain TCP as tonic serves it.
    pub fn address(&self) -> Option<SocketAddr> {
        let info = self.extensions.get::<tonic::transport::server::TcpConnectInfo>()?;
        info.remote_addr()
    }
}

/// Without headers, which hold credentials.
impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("form", &self.form)
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// A live stream, as others may look at it. Looking locks the stream for the time of a copy.
#[derive(Debug)]
pub struct StreamHandle {
    id: u64,
    form: Form,
    machine: Mutex<Machine>,
    views: OnceLock<watch::Receiver<View>>,
}

impl StreamHandle {
    pub(crate) fn new(id: u64, machine: Machine) -> Self {
        Self { id, form: machine.form, machine: Mutex::new(machine), views: OnceLock::new() }
    }

    pub(crate) fn serve_from(&self, views: watch::Receiver<View>) {
        let _ = self.views.set(views);
    }

    /// Counts the streams of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How the client speaks.
    pub fn form(&self) -> Form {
        self.form
    }

    /// What the client was sent and acknowledged, as it stands.
    pub fn status(&self) -> StreamStatus {
        let view = self.views.get().map(|views| views.borrow().clone()).unwrap_or_default();
        self.with(|machine| machine.status(&view))
    }

    /// The last generation whose effects the client has acknowledged.
    pub fn watermark(&self) -> Generation {
        self.with(|machine| machine.watermark())
    }

    /// Whether the client has acknowledged these very bytes, and has them still.
    pub fn has_accepted(&self, type_url: TypeUrl, name: &ResourceName, version: Version) -> bool {
        let view = self.view();
        let offered =
            view.find(type_url, name.as_str()).is_some_and(|live| live.resource.version() == version);
        offered && self.with(|machine| machine.has_settled(type_url, name))
    }

    /// Whether the client has acknowledged all that its view holds now, and all that it must drop. Costs the same however much
    /// that is.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.looking(|machine, view| machine.is_settled(view, now))
    }

    /// Whether the client came with something from another stream, and has not got all of its first answers: it may hold what no
    /// view has any more.
    pub fn may_hold_more(&self, now: Instant) -> bool {
        self.looking(|machine, view| machine.may_hold_more(view, now))
    }

    /// What the client lacks of these resources, in their order. One that it did not ask for, and will not, it does not lack.
    pub fn lacks(&self, wanted: &[(TypeUrl, ResourceName)], now: Instant) -> Vec<Lacking> {
        self.looking(|machine, view| {
            wanted.iter().filter_map(|(type_url, name)| machine.lacks(*type_url, name, view, now)).collect()
        })
    }

    /// The first of all that the client lacks of its view, if there is any.
    pub fn lacks_anything(&self, now: Instant) -> Option<Lacking> {
        self.looking(|machine, view| machine.lacks_anything(view, now))
    }

    /// With the view as it is while the machine is locked: never an older one than the machine has seen.
    fn looking<T>(&self, look: impl FnOnce(&Machine, &View) -> T) -> T {
        self.with(|machine| look(machine, &self.view()))
    }

    /// What the client may have now.
    pub fn view(&self) -> View {
        self.views.get().map(|views| views.borrow().clone()).unwrap_or_default()
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Machine) -> T) -> T {
        // A panic in the machine ends its own stream; what others read of it is still well formed.
        f(&mut self.machine.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
