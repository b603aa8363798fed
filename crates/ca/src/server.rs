//! Istio's certificate service over gRPC: who asks, what for, and an answer or a code that Istio's agents act on rightly.
//!
//! Knows: tonic, the blocking pool. Must not know: how somebody is authenticated ([`Authenticate`]), where keys are kept.
//! Start at [`CertificateServer`].
//! Invariant: at most [`Limits::signing`] requests sign at a time and [`Limits::waiting`] wait, whoever asks. Trouble that
//! passes is never `Unauthenticated` nor `InvalidArgument`: Istio's agents do not ask again after those.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures::future::BoxFuture;
use http::{Extensions, HeaderMap};
use meltemi_names::SpiffeId;
use meltemi_proto::google::protobuf::value::Kind;
use meltemi_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::authority::Authority;
use crate::csr::{self, Csr};
use crate::entitlement::{Caller, Pods, Rules};
use crate::issue::{self, Lifetimes};
use crate::limits::{Limits, Rate};
use crate::time::Time;

const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// The longest message that is read: the longest CSR, and as much for the rest.
pub const MAX_MESSAGE_BYTES: usize = 2 * csr::MAX_BYTES;

/// What is known of a request before its message is read.
#[derive(Debug)]
pub struct Peer {
    /// As sent.
    pub headers: HeaderMap,
    /// What the listener knows of the connection, its certificate above all.
    pub extensions: Extensions,
}

/// Why nobody was authenticated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Nothing proves who asks. The reason is for our log only: who is refused learns nothing from it.
    #[error("{0}")]
    Nobody(String),
    /// It cannot be found out now; whoever asks is to ask again.
    #[error("{0}")]
    Later(String),
}

/// Finds out who asks.
pub trait Authenticate: Send + Sync {
    /// Who asks. Dropped when whoever asks goes away.
    fn caller<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Caller, Unknown>>;
}

/// Makes sure that what is signed is known to end by then ([`crate::Rotation::reserve`]), before it is signed.
pub trait Reserve: Send + Sync {
    /// Returns when a certificate of `authority` that ends at `not_after` may be signed; an error is for our log.
    fn reserve<'a>(&'a self, authority: &'a Authority, not_after: Time) -> BoxFuture<'a, Result<(), String>>;
}

/// Is told what became of each request; must not block.
pub trait Observe: Send + Sync {
    /// An answer left, or a refusal, so long after the request was read.
    fn answered(&self, code: Code, took: Duration);
}

/// Looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observe for NoObserver {
    fn answered(&self, _: Code, _: Duration) {}
}

/// The rules of the service.
pub struct Settings {
    /// Whose names there are; the latest count.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Is told what becomes of requests.
    pub observe: Arc<dyn Observe>,
    /// How long certificates live.
    pub lifetimes: Lifetimes,
    /// Bounds.
    pub limits: Limits,
}

struct Shared {
    authenticate: Arc<dyn Authenticate>,
    reserve: Arc<dyn Reserve>,
    pods: Arc<dyn Pods>,
    observe: Arc<dyn Observe>,
    rules: watch::Receiver<Arc<Rules>>,
    lifetimes: Lifetimes,
    authority: watch::Receiver<Option<Arc<Authority>>>,
    rate: Mutex<Rate>,
    signing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The service. Clones share everything; mount one in each listener.
#[derive(Clone)]
pub struct CertificateServer {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for CertificateServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateServer").finish_non_exhaustive()
    }
}

impl CertificateServer {
    /// Signs with the latest `authority`; without one, whoever asks is told to ask again.
    pub fn new(
        authenticate: Arc<dyn Authenticate>,
        reserve: Arc<dyn Reserve>,
        pods: Arc<dyn Pods>,
        authority: watch::Receiver<Option<Arc<Authority>>>,
        settings: Settings,
    ) -> Self {
        let Settings { rules, observe, lifetimes, limits } = settings;
        let shared = Shared {
            authenticate,
            reserve,
            pods,
            observe,
            rules,
            lifetimes,
            authority,
            rate: Mutex::new(Rate::new(limits)),
            signing: Arc::new(Semaphore::new(limits.signing.max(1))),
            waiting: Arc::new(Semaphore::new(limits.waiting.max(1))),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    async fn create(&self, peer: Peer, request: IstioCertificateRequest) -> Result<Vec<String>, Status> {
        let _place = self.waiting.try_acquire().map_err(|_| {
            Status::resource_exhausted("too many certificates are being asked for; ask again")
        })?;
        let caller = self.authenticate.caller(&peer).await.map_err(unknown)?;
        let wanted = metadata(&request, "ImpersonatedIdentity").unwrap_or_default();
        let rules = Arc::clone(&self.rules.borrow());
        let id = rules.entitled(&caller, wanted, &*self.pods).map_err(|error| {
            tracing::warn!(target: "ca", caller = %caller.identity, %error, "no certificate: not entitled");
            refused()
        })?;
        // By who asks: one node speaks for many, and each of them has its own bound when it asks itself.
        let bound = if wanted.is_empty() { &id } else { &caller.identity };
        self.admit(bound)?;
        let life = self.lifetimes.of(request.validity_duration).map_err(invalid)?;
        let authority = self.authority.borrow().clone();
        let authority =
            authority.ok_or_else(|| Status::internal("the certificate authority is not ready"))?;
        let not_after = Time::from(SystemTime::now()).after(life + SLACK).min(authority.not_after());
        self.reserve.reserve(&authority, not_after).await.map_err(|error| {
            tracing::warn!(target: "ca", %error, "no certificate: its end cannot be kept");
            Status::unavailable("the certificate authority cannot keep its state now; ask again")
        })?;
        self.sign(authority, request.csr, id, life, not_after).await
    }

    fn admit(&self, id: &SpiffeId) -> Result<(), Status> {
        // A panic while it was held leaves counts that are whole at every moment.
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.admit(id, Instant::now()).map_err(|error| {
            tracing::warn!(target: "ca", %id, %error, "no certificate: too often");
            Status::resource_exhausted(error.to_string())
        })
    }

    /// Verifies and signs, on the blocking pool: both take the processor for up to a millisecond, and pushes go first.
    async fn sign(
        &self,
        authority: Arc<Authority>,
        csr: String,
        id: SpiffeId,
        life: Duration,
        reserved: Time,
    ) -> Result<Vec<String>, Status> {
        let signing = Arc::clone(&self.signing).acquire_owned().await;
        let permit = signing.map_err(|_| Status::unavailable("this replica stops"))?;
        let work = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, even when nobody waits for it any longer.
            let _permit = permit;
            let csr = Csr::from_pem(&csr).map_err(invalid)?;
            let now = Time::from(SystemTime::now());
            // What waited for long gets what is left of what was reserved.
            let life = life.min(now.until(reserved));
            if life.is_zero() && now < authority.not_after() {
                return Err(Status::resource_exhausted(
                    "the certificate would have expired while it waited; ask again",
                ));
            }
            let issued = issue::issue(&authority, &csr, &id, life, now).map_err(|error| {
                tracing::error!(target: "ca", %id, %error, "no certificate");
                Status::internal(error.to_string())
            })?;
            tracing::debug!(target: "ca", %id, serial = issued.serial, not_after = %issued.not_after, "certificate");
            Ok(authority.answer(&issued.certificate))
        });
        work.await.map_err(|_| Status::internal("signing failed"))?
    }
}

/// How long a request may wait between reservation and signature without losing of its life.
const SLACK: Duration = Duration::from_secs(60);

impl NamedService for CertificateServer {
    const NAME: &'static str = "istio.v1.auth.IstioCertificateService";
}

impl<B> tower::Service<http::Request<B>> for CertificateServer
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != PATH {
            let status = Status::unimplemented(format!("no method {}", request.uri().path()));
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let method = Create(Arc::clone(&self.shared));
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE_BYTES);
            Ok(grpc.unary(method, request).await)
        })
    }
}

struct Create(Arc<Shared>);

impl UnaryService<IstioCertificateRequest> for Create {
    type Response = IstioCertificateResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<IstioCertificateRequest>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let (headers, extensions, message) = request.into_parts();
        let peer = Peer { headers: headers.into_headers(), extensions };
        Box::pin(async move {
            let asked = Instant::now();
            let answer = shared.create(peer, message).await;
            let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
            shared.observe.answered(code, asked.elapsed());
            Ok(Response::new(IstioCertificateResponse { cert_chain: answer? }))
        })
    }
}

/// A text of the request's metadata.
fn metadata<'a>(request: &'a IstioCertificateRequest, key: &str) -> Option<&'a str> {
    match request.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn unknown(error: Unknown) -> Status {
    match error {
        Unknown::Nobody(reason) => {
            tracing::warn!(target: "ca", reason, "no certificate: nobody is authenticated");
            refused()
        }
        Unknown::Later(reason) => {
            tracing::warn!(target: "ca", reason, "no certificate: cannot authenticate now");
            Status::unavailable("who asks cannot be authenticated now; ask again")
        }
    }
}

/// The same words for whoever is refused: they tell an attacker nothing.
fn refused() -> Status {
    Status::unauthenticated("request authenticate failure")
}

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

#[cfg(test)]
mod tests;
