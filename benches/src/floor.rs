//! The machine's floor: a server that sends bytes made beforehand to each stream and reads the acknowledgement.
//!
//! Knows: tonic, as little of discovery as lets a sidecar settle. Must not know: any mesh.
//! It is what one step to N streams costs on this machine when nothing has to be decided: the same HTTP/2 stack, decoder
//! and wake-up as a real server's, and nothing else. It runs in a process of its own (`meltemi-bench floor`): a line on its
//! standard input is a step.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::future::{Ready, ready};
use http::header::CONTENT_TYPE;
use http_body::Frame;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use meltemi_proto::google::protobuf::Any;
use meltemi_proto::meltemi::envelope::{DeltaDiscoveryResponse, Resource};
use prost::Message;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder, Streaming};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::frames;

/// Serves until standard input ends; a line there is a step. Prints its address first.
///
/// # Errors
/// When the address is taken.
pub async fn serve(address: SocketAddr, bytes: usize) -> Result<()> {
    let (steps, stepped) = watch::channel(0u64);
    let incoming = TcpIncoming::bind(address)
        .with_context(|| format!("the floor cannot listen at {address}"))?
        .with_nodelay(Some(true));
    let mut out = std::io::stdout();
    writeln!(out, "{}", incoming.local_addr()?)?;
    out.flush()?;
    let read_steps = async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while lines.next_line().await?.is_some() {
            steps.send_modify(|steps| *steps += 1);
        }
        Ok(())
    };
    let server = Server::builder().add_service(Floor::new(stepped, bytes)).serve_with_incoming(incoming);
    tokio::select! {
        end = read_steps => end,
        end = server => Ok(end?),
    }
}

/// The service. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct Floor {
    steps: watch::Receiver<u64>,
    ready: Bytes,
}

impl Floor {
    /// Sends about `bytes` bytes to every stream whenever `steps` changes.
    pub fn new(steps: watch::Receiver<u64>, bytes: usize) -> Self {
        let kind = TypeUrl::VirtualHost.as_str();
        let any = Any { type_url: kind.to_owned(), value: vec![b'x'; bytes].into() };
        let resource = Resource {
            name: "floor".to_owned(),
            version: "1".to_owned(),
            resource: any.encode_to_vec().into(),
            ..Resource::default()
        };
        Self { steps, ready: answer(kind, vec![resource]) }
    }
}

impl NamedService for Floor {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B> tower::Service<http::Request<B>> for Floor
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let body = FloorBody {
            requests: Streaming::new_request(Requests, request.into_body(), None, None),
            steps: WatchStream::from_changes(self.steps.clone()),
            ready: self.ready.clone(),
        };
        let mut response = http::Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, tonic::metadata::GRPC_CONTENT_TYPE);
        ready(Ok(response))
    }
}

struct FloorBody {
    requests: Streaming<DeltaDiscoveryRequest>,
    steps: WatchStream<u64>,
    ready: Bytes,
}

impl http_body::Body for FloorBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            match Pin::new(&mut self.requests).poll_next(cx) {
                // An acknowledgement is read and forgotten; a first request is answered with nothing.
                Poll::Ready(Some(Ok(request))) => {
                    if request.response_nonce.is_empty() {
                        let empty = answer(&request.type_url, Vec::new());
                        return Poll::Ready(Some(Ok(Frame::data(empty))));
                    }
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                // The client is gone, and hears of no status.
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        match Pin::new(&mut self.steps).poll_next(cx) {
            Poll::Ready(Some(_)) => Poll::Ready(Some(Ok(Frame::data(self.ready.clone())))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// An encoded response in gRPC's frame.
fn answer(kind: &str, resources: Vec<Resource>) -> Bytes {
    let answer = DeltaDiscoveryResponse {
        type_url: kind.to_owned(),
        nonce: "1".to_owned(),
        resources,
        ..DeltaDiscoveryResponse::default()
    };
    let mut out = BytesMut::new();
    frames::put(&answer, &mut out);
    out.freeze()
}

#[derive(Debug)]
struct Requests;

impl Decoder for Requests {
    type Item = DeltaDiscoveryRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<DeltaDiscoveryRequest>, Status> {
        DeltaDiscoveryRequest::decode(bytes)
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
