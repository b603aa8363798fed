//! One bare stream of the aggregated discovery service: what is sent is what was asked for, and nothing is acknowledged.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// Requests that wait for the connection; a client of the protocol has a handful under way.
const QUEUE: usize = 64;

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Requests one way, answers the other. Dropping it resets the stream.
pub struct Stream<Q, A> {
    requests: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

/// The incremental form.
pub type DeltaStream = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/// The state-of-the-world form.
pub type SotwStream = Stream<DiscoveryRequest, DiscoveryResponse>;

/// A connection to a server without TLS.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(address: SocketAddr) -> Result<Channel> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await
        .with_context(|| format!("connecting to the xDS server at {address}"))
}

impl DeltaStream {
    /// Opens a stream with its first request.
    ///
    /// # Errors
    /// When the server refuses it: the gRPC status.
    pub async fn delta(channel: Channel, first: DeltaDiscoveryRequest) -> Result<Self> {
        Self::open(channel, DELTA, first).await
    }
}

impl SotwStream {
    /// Opens a stream with its first request.
    ///
    /// # Errors
    /// When the server refuses it: the gRPC status.
    pub async fn sotw(channel: Channel, first: DiscoveryRequest) -> Result<Self> {
        Self::open(channel, SOTW, first).await
    }
}

impl<Q, A> Stream<Q, A>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    async fn open(channel: Channel, path: &'static str, first: Q) -> Result<Self> {
        let (requests, receiver) = mpsc::channel(QUEUE);
        // Some servers send their head only with the first answer, so the first request cannot wait for it.
        requests.send(first).await?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
        grpc.ready().await?;
        let request = tonic::Request::new(ReceiverStream::new(receiver));
        let codec = ProstCodec::<Q, A>::default();
        let answers = grpc.streaming(request, PathAndQuery::from_static(path), codec).await?.into_inner();
        Ok(Self { requests, answers })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the stream has ended; [`Stream::receive`] says why.
    pub async fn send(&self, request: Q) -> Result<()> {
        self.requests.send(request).await.ok().context("the xDS stream has ended")
    }

    /// Waits for the next answer; `None` when the server ended the stream well.
    ///
    /// Safe to cancel: an answer is not lost.
    ///
    /// # Errors
    /// The status with which the server ended the stream.
    pub async fn receive(&mut self) -> Result<Option<A>, tonic::Status> {
        self.answers.message().await
    }
}
