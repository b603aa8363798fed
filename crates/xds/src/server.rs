//! The aggregated discovery service over gRPC: paths, and a body per stream.
//!
//! Knows: tonic, HTTP. Must not know: the protocol's rules. Start at [`DiscoveryServer`].

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::{Ready, ready};
use http::header::CONTENT_TYPE;
use meltemi_catalog::Form;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::{Status, body::Body};

use crate::admission::{Admission, UNIT};
use crate::body::{Requests, Shared, StreamBody};
use crate::incoming::Incoming;
use crate::limits::Limits;
use crate::machine::{Close, CloseCode, Machine};
use crate::metrics::Metrics;
use crate::peer::{Directory, Peer, StreamHandle};
use crate::request::Request;

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of each stream.
    pub limits: Limits,
    /// Bytes of first answers in flight, over all streams.
    pub first_answer_bytes: usize,
    /// New streams whose first request is read and looked at, at one time.
    pub introductions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            // Keeps a socket of 10 Gbit/s busy for 50 ms, and a hundred proxies of a small mesh at once.
            first_answer_bytes: 64 << 20,
            // A sidecar of 1,000 services that comes back says 300 kB in its first request. Enough to hide a look at a token's
            // review, and 40 MB however many come at once.
            introductions: 128,
        }
    }
}

/// The service. Clones share everything; mount one in each listener.
#[derive(Clone)]
pub struct DiscoveryServer {
    shared: Arc<Shared>,
    streams: Arc<AtomicU64>,
    salt: u64,
}

impl std::fmt::Debug for DiscoveryServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiscoveryServer").field("streams", &self.streams).finish_non_exhaustive()
    }
}

impl DiscoveryServer {
    /// Serves what `directory` says. When `drain` becomes true, each stream finishes the response under way and ends with
    /// OK, and new ones are refused, so that clients go to another replica. `salt` tells this process's nonces from those
    /// of other replicas (any number will do).
    pub fn new(
        directory: Arc<dyn Directory>,
        settings: Settings,
        metrics: Metrics,
        drain: watch::Receiver<bool>,
        salt: u64,
    ) -> Self {
        let admission = Admission::new(settings.first_answer_bytes, metrics.answers.clone());
        let introductions = Admission::new(settings.introductions * UNIT, metrics.introductions.clone());
        let shared =
            Shared { directory, limits: Arc::new(settings.limits), admission, introductions, metrics, drain };
        Self { shared: Arc::new(shared), streams: Arc::new(AtomicU64::new(0)), salt }
    }

    fn open<B>(&self, form: Form, request: http::Request<B>) -> Body
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<tonic::codegen::StdError>,
    {
        let (parts, body) = request.into_parts();
        let limit = self.shared.limits.request_bytes;
        let limits = Arc::clone(&self.shared.limits);
        let requests: Requests = Incoming::new(body, limit, self.shared.introductions.clone())
            .map(move |message| {
                message.and_then(|message| Request::read(form, &message, &limits).map_err(refuse))
            })
            .boxed();
        let id = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let machine = Machine::new(form, (*self.shared.limits).clone(), self.salt.wrapping_add(id));
        let handle = Arc::new(StreamHandle::new(id, machine));
        let peer = Peer { form, headers: parts.headers, extensions: parts.extensions };
        Body::new(StreamBody::new(Arc::clone(&self.shared), requests, handle, peer))
    }
}

impl NamedService for DiscoveryServer {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B> tower::Service<http::Request<B>> for DiscoveryServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let form = match request.uri().path() {
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources" => Form::Delta,
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources" => Form::Sotw,
            path => {
                let status = Status::unimplemented(format!("no method {path}"));
                return ready(Ok(status.into_http()));
            }
        };
        if *self.shared.drain.borrow() {
            return ready(Ok(Status::unavailable("this replica drains").into_http()));
        }
        let mut response = http::Response::new(self.open(form, request));
        response.headers_mut().insert(CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
        ready(Ok(response))
    }
}

fn refuse(close: Close) -> Status {
    match close.code {
        CloseCode::InvalidArgument => Status::invalid_argument(close.message),
        CloseCode::ResourceExhausted => Status::resource_exhausted(close.message),
        CloseCode::Unavailable => Status::unavailable(close.message),
    }
}
