//! The secret discovery service on a unix socket.
//!
//! Knows: tonic, the socket. Must not know: the protocol's rules ([`super::Machine`]).   Start at [`listen`] and [`serve`].
//! Invariant: only this process's user can connect; at most [`MAX_STREAMS`] streams are served, and each holds one response at most
//! that was not yet taken from it.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, ready};
use futures::{Stream, StreamExt as _};
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use nix::sys::stat::{Mode, umask};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::Server;
use tonic::{Response as Answer, Status};
use tonic_prost::ProstCodec;

use super::machine::{Close, Event, Form, Machine, Response};
use super::name::Name;
use super::request::{MAX_MESSAGE_BYTES, Request};
use super::secrets::Secrets;
use super::watch::Wish;
use crate::metrics::{Metrics, Taken};

/// The most streams at a time; Envoy opens one for each secret.
pub const MAX_STREAMS: usize = 1024;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers there.
    #[error("another process serves secrets at {}; end it, or choose another socket", .0.display())]
    Taken(PathBuf),
    /// The system says no.
    #[error("cannot listen on the socket {}: {reason}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// Opens the socket, for this user alone (mode 0600). One that a dead process left is replaced.
///
/// # Errors
/// When a process serves there, or the socket cannot be made.
pub(crate) async fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |reason| ListenError::Io { path: path.to_owned(), reason };
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    match tokio::fs::symlink_metadata(path).await {
        Ok(found) if found.file_type().is_socket() => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(ListenError::Taken(path.to_owned()));
            }
            tokio::fs::remove_file(path).await.map_err(failed)?;
        }
        Ok(_) => return Err(failed(io::Error::other("something else is there"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // The mode must be right from the first moment on, and `bind` takes it from the mask alone.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener.map_err(failed)
}

/// Serves until this is dropped.
///
/// # Errors
/// When the socket breaks.
pub(crate) async fn serve(
    listener: UnixListener,
    secrets: watch::Receiver<Secrets>,
    wishes: mpsc::Sender<Wish>,
    metrics: Metrics,
) -> Result<(), tonic::transport::Error> {
    let shared = Shared { secrets, wishes, metrics, streams: Arc::default() };
    let service = SecretServer { shared: Arc::new(shared) };
    Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener)).await
}

struct Shared {
    secrets: watch::Receiver<Secrets>,
    wishes: mpsc::Sender<Wish>,
    metrics: Metrics,
    streams: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct SecretServer {
    shared: Arc<Shared>,
}

impl NamedService for SecretServer {
    const NAME: &'static str = "envoy.service.secret.v3.SecretDiscoveryService";
}

impl<B> tower::Service<http::Request<B>> for SecretServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        match request.uri().path() {
            "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets" => Box::pin(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE_BYTES);
                Ok(grpc.streaming(Sotw(shared), request).await)
            }),
            "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets" => Box::pin(async move {
                let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE_BYTES);
                Ok(grpc.streaming(Delta(shared), request).await)
            }),
            // As Istio's agent: Envoy fetches only what it was told to poll, and nothing here tells it.
            path => {
                let status = Status::unimplemented(format!("no method {path}"));
                Box::pin(ready(Ok(status.into_http())))
            }
        }
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Sotw(Arc<Shared>);

impl StreamingService<DiscoveryRequest> for Sotw {
    type Response = DiscoveryResponse;
    type ResponseStream = Responses<DiscoveryResponse>;
    type Future = std::future::Ready<Result<Answer<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let requests = request.into_inner().map(|message| message.map(Request::sotw));
        std::future::ready(open(&self.0, Form::Sotw, requests).map(|responses| {
            let responses = responses.map(|response| match response? {
                Response::Sotw(message) => Ok(message),
                Response::Delta(_) => Err(Status::internal("the other spelling")),
            });
            Answer::new(Box::pin(responses) as Self::ResponseStream)
        }))
    }
}

struct Delta(Arc<Shared>);

impl StreamingService<DeltaDiscoveryRequest> for Delta {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = Responses<DeltaDiscoveryResponse>;
    type Future = std::future::Ready<Result<Answer<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let requests = request.into_inner().map(|message| message.map(Request::delta));
        std::future::ready(open(&self.0, Form::Delta, requests).map(|responses| {
            let responses = responses.map(|response| match response? {
                Response::Delta(message) => Ok(message),
                Response::Sotw(_) => Err(Status::internal("the other spelling")),
            });
            Answer::new(Box::pin(responses) as Self::ResponseStream)
        }))
    }
}

/// One open stream, counted, with the files that it wants.
struct Open {
    shared: Arc<Shared>,
    files: std::collections::BTreeSet<Name>,
}

impl Open {
    fn new(shared: &Arc<Shared>) -> Result<Self, Status> {
        let open = shared.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let opened = Self { shared: Arc::clone(shared), files: std::collections::BTreeSet::new() };
        if open > MAX_STREAMS {
            return Err(Status::resource_exhausted(format!("more than {MAX_STREAMS} streams")));
        }
        shared.metrics.streams(open);
        Ok(opened)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.shared.streams.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        self.shared.metrics.streams(left);
        let (wishes, files) = (self.shared.wishes.clone(), std::mem::take(&mut self.files));
        if !files.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Waits for room, which a drop cannot.
            runtime.spawn(async move {
                for name in files {
                    drop(wishes.send(Wish::Drops(name)).await);
                }
            });
        }
    }
}

fn open<S>(
    shared: &Arc<Shared>,
    form: Form,
    requests: S,
) -> Result<ReceiverStream<Result<Response, Status>>, Status>
where
    S: Stream<Item = Result<Result<Request, Close>, Status>> + Send + 'static,
{
    let open = Open::new(shared)?;
    // One: what waits is taken back by nothing, so it must not be old when it is read.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let closed = sender.clone();
        tokio::select! {
            () = closed.closed() => {}
            end = stream(open, form, requests, &sender) => if let Err(status) = end {
                // Nobody reads on if this fails.
                drop(sender.send(Err(status)).await);
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn stream<S>(
    mut open: Open,
    form: Form,
    requests: S,
    sender: &mpsc::Sender<Result<Response, Status>>,
) -> Result<(), Status>
where
    S: Stream<Item = Result<Result<Request, Close>, Status>> + Send,
{
    let mut requests = std::pin::pin!(requests);
    let mut machine = Machine::new(form);
    let mut secrets = open.shared.secrets.clone();
    loop {
        tokio::select! {
            request = requests.next() => {
                let Some(request) = request else { return Ok(()) };
                let events = request?.and_then(|request| machine.request(request)).map_err(closing)?;
                told(&events, &open.shared.metrics);
                wish(&mut open, &machine).await;
            }
            changed = secrets.changed() => {
                changed.map_err(|_| Status::unavailable("the agent stops"))?;
            }
        }
        // Room first: what is made after it is the latest.
        let Ok(room) = sender.reserve().await else { return Ok(()) };
        let response = machine.next(&secrets.borrow_and_update());
        if let Some(response) = response {
            open.shared.metrics.sent();
            room.send(Ok(response));
        }
    }
}

/// Tells the keeper which files are wanted, and which no longer.
async fn wish(open: &mut Open, machine: &Machine) {
    let wanted: std::collections::BTreeSet<Name> = machine.files().cloned().collect();
    let dropped: Vec<Name> = open.files.difference(&wanted).cloned().collect();
    let added: Vec<Name> = wanted.difference(&open.files).cloned().collect();
    open.files = wanted;
    for name in dropped {
        drop(open.shared.wishes.send(Wish::Drops(name)).await);
    }
    for name in added {
        drop(open.shared.wishes.send(Wish::Wants(name)).await);
    }
}

fn told(events: &[Event], metrics: &Metrics) {
    for event in events {
        match event {
            Event::Ack => metrics.answered(Taken::Ack),
            Event::Nack(words) => {
                metrics.answered(Taken::Nack);
                tracing::warn!("Envoy refuses a secret, and keeps the one before: {words}");
            }
            Event::Unknown(names) => {
                tracing::warn!(?names, "nobody serves these secrets here; what needs them stays without");
            }
        }
    }
}

fn closing(close: Close) -> Status {
    match close {
        Close::Invalid(words) => Status::invalid_argument(words),
        Close::Exhausted(words) => Status::resource_exhausted(words),
    }
}
