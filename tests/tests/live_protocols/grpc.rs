//! A gRPC service `test.Greeter`, with a unary call and a conversation, and its client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const LIMIT: Duration = Duration::from_secs(60);

/// Texts both ways.
type Codec = ProstCodec<String, String>;

#[derive(Default)]
struct State {
    calls: AtomicU64,
    failing: AtomicU64,
    held: AtomicBool,
}

/// The server; it ends with this value.
pub(crate) struct Greeter {
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Greeter {
    pub(crate) async fn start(version: &'static str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let service = Service { version, state: Arc::clone(&state) };
        let serving = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            drop(Server::builder().add_service(service).serve_with_incoming(incoming).await);
        });
        Ok(Self { address, state, serving })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Unary calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// So many of the next calls are answered `UNAVAILABLE`.
    pub(crate) fn fail_next(&self, count: u64) {
        self.state.failing.store(count, Ordering::SeqCst);
    }

    /// From now on no call is answered.
    pub(crate) fn hold(&self) {
        self.state.held.store(true, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Service {
    version: &'static str,
    state: Arc<State>,
}

impl NamedService for Service {
    const NAME: &'static str = "test.Greeter";
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/test.Greeter/Greet" => grpc.unary(service, request).await,
                "/test.Greeter/Converse" => grpc.streaming(service, request).await,
                _ => Status::unimplemented("no such call").into_http(),
            })
        })
    }
}

impl UnaryService<String> for Service {
    type Response = String;
    type Future = BoxFuture<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let Self { version, state } = self.clone();
        Box::pin(async move {
            state.calls.fetch_add(1, Ordering::SeqCst);
            if state.held.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let fails =
                state.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if fails.is_ok() {
                return Err(Status::unavailable("on purpose"));
            }
            Ok(Response::new(format!("{version}: {}", request.into_inner())))
        })
    }
}

impl StreamingService<String> for Service {
    type Response = String;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;
    type Future = BoxFuture<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let version = self.version;
        Box::pin(async move {
            let said = request.into_inner();
            let answers = said.map(move |text| text.map(|text| format!("{version}: {text}")));
            Ok(Response::new(Box::pin(answers) as Self::ResponseStream))
        })
    }
}

/// A client on one connection.
pub(crate) struct Caller(Client<Channel>);

impl Caller {
    /// Calls a host, through what listens at that address.
    pub(crate) async fn connect(address: SocketAddr, host: &str) -> Result<Self> {
        let endpoint =
            Endpoint::from_shared(format!("http://{address}"))?.origin(format!("http://{host}").parse()?);
        let channel = timeout(LIMIT, endpoint.connect()).await.context("no connection in time")??;
        Ok(Self(Client::new(channel)))
    }

    /// A unary call: the version that answered, and its text.
    pub(crate) async fn unary(
        &mut self,
        text: &str,
        header: Option<(&'static str, &'static str)>,
    ) -> Result<(String, String), Status> {
        let mut request = Request::new(text.to_owned());
        if let Some((name, value)) = header {
            request.metadata_mut().insert(name, value.parse().map_err(|_| Status::internal("a header"))?);
        }
        let exchange = async {
            self.0.ready().await.map_err(|error| Status::internal(error.to_string()))?;
            let path = PathAndQuery::from_static("/test.Greeter/Greet");
            self.0.unary(request, path, Codec::default()).await
        };
        let answer = timeout(LIMIT, exchange).await.map_err(|_| Status::internal("no answer in time"))??;
        let answer: String = answer.into_inner();
        let (version, text) = answer.split_once(": ").unwrap_or_default();
        Ok((version.to_owned(), text.to_owned()))
    }

    /// Begins a conversation.
    pub(crate) async fn converse(&mut self) -> Result<Conversation> {
        let (say, said) = mpsc::channel(1);
        let exchange = async {
            self.0.ready().await?;
            let path = PathAndQuery::from_static("/test.Greeter/Converse");
            let request = Request::new(ReceiverStream::new(said));
            anyhow::Ok(self.0.streaming(request, path, Codec::default()).await?.into_inner())
        };
        let answers = timeout(LIMIT, exchange).await.context("no stream in time")??;
        Ok(Conversation { say, answers })
    }
}

/// A stream of texts both ways.
pub(crate) struct Conversation {
    say: mpsc::Sender<String>,
    answers: Streaming<String>,
}

impl Conversation {
    /// What comes back for a text.
    pub(crate) async fn say(&mut self, text: &str) -> Result<String> {
        self.say.send(text.to_owned()).await?;
        let answer = timeout(LIMIT, self.answers.message()).await.context("no answer in time")?;
        answer?.context("the other side ended it")
    }

    /// Ends it, as both sides agreed.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.say);
        let last = timeout(LIMIT, self.answers.message()).await.context("it does not end")??;
        anyhow::ensure!(last.is_none(), "{last:?}");
        Ok(())
    }
}
