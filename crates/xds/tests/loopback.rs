//! The real server over a real socket, with a client that is nothing but tonic and prost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use meltemi_catalog::{Body, Generation, Layer, Resource, View};
use meltemi_names::{TypeUrl, Version};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::metrics::Ended;
use meltemi_xds::{
    Connection, Directory, DiscoveryServer, Metrics, Peer, Refusal, Settings, StreamHandle, Watcher,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Everyone gets the same view.
struct OneView {
    views: watch::Receiver<View>,
    handles: Mutex<Vec<Arc<StreamHandle>>>,
    events: mpsc::Sender<Event>,
}

#[derive(Debug, PartialEq)]
enum Event {
    Progressed(Generation),
    Refused(String),
    Ended(Ended),
    Gone,
}

struct Reporter(mpsc::Sender<Event>);

impl Watcher for Reporter {
    fn refused(&mut self, refusal: &Refusal) {
        let _ = self.0.try_send(Event::Refused(refusal.message.clone()));
    }
    fn progressed(&mut self, watermark: Generation) {
        let _ = self.0.try_send(Event::Progressed(watermark));
    }
    fn ended(&mut self, reason: Ended) {
        let _ = self.0.try_send(Event::Ended(reason));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let _ = self.0.try_send(Event::Gone);
    }
}

impl Directory for OneView {
    fn connect(
        &self,
        node: Node,
        peer: Peer,
        stream: Arc<StreamHandle>,
    ) -> BoxFuture<'static, Result<Connection, Status>> {
        assert!(peer.address().is_some(), "tonic tells the peer's address");
        if node.id == "stranger" {
            return Box::pin(async { Err(Status::permission_denied("not of this mesh")) });
        }
        self.handles.lock().unwrap().push(stream);
        let connection = Connection {
            views: self.views.clone(),
            watcher: Box::new(Reporter(self.events.clone())),
            max_age: (node.id == "old").then_some(std::time::Duration::from_millis(1)),
        };
        Box::pin(async move { Ok(connection) })
    }
}

struct Rig {
    views: watch::Sender<View>,
    layer: Layer,
    directory: Arc<OneView>,
    events: mpsc::Receiver<Event>,
    drain: watch::Sender<bool>,
    channel: Channel,
    metrics: Metrics,
}

async fn rig(resources: &[(TypeUrl, &str, &str)]) -> Rig {
    let (views, receiver) = watch::channel(View::default());
    let (events_in, events) = mpsc::channel(64);
    let directory = Arc::new(OneView { views: receiver, handles: Mutex::default(), events: events_in });
    let (drain, drained) = watch::channel(false);
    let metrics = Metrics::default();
    let server = DiscoveryServer::new(directory.clone(), Settings::default(), metrics.clone(), drained, 7);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(server).serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut rig = Rig { views, layer: Layer::empty(), directory, events, drain, channel, metrics };
    rig.put(resources);
    rig
}

impl Rig {
    fn put(&mut self, resources: &[(TypeUrl, &str, &str)]) {
        let mut edit = self.layer.edit(Generation(self.layer.generation().0 + 1));
        for (type_url, name, body) in resources {
            edit.put(Arc::new(Resource::new(
                *type_url,
                (*name).into(),
                Version::of(body.as_bytes()),
                Body::from(body.as_bytes().to_vec()),
            )));
        }
        if let Some(layer) = edit.finish() {
            self.layer = layer;
            self.views.send_replace(View::new([Arc::new(self.layer.clone())]));
        }
    }

    async fn delta(&self) -> (mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>) {
        let mut client = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        client.ready().await.unwrap();
        let (sender, receiver) = mpsc::channel(8);
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let request = tonic::Request::new(ReceiverStream::new(receiver));
        let response = client.streaming(request, DELTA.parse().unwrap(), codec).await.unwrap();
        (sender, response.into_inner())
    }
}

fn node(id: &str) -> Option<Node> {
    Some(Node { id: id.to_owned(), ..Default::default() })
}

fn first(type_url: TypeUrl) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node("sidecar~10.0.0.1~a.default~default.svc.cluster.local"),
        type_url: type_url.as_str().to_owned(),
        ..Default::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_delta_client_gets_all_then_what_changes() {
    let mut rig = rig(&[(TypeUrl::Cluster, "a", "a1"), (TypeUrl::Cluster, "b", "b1")]).await;
    let (sender, mut responses) = rig.delta().await;
    sender.send(first(TypeUrl::Cluster)).await.unwrap();
    let response = responses.message().await.unwrap().expect("an answer");
    let names: Vec<_> = response.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let any = response.resources[0].resource.as_ref().expect("an Any");
    assert_eq!(any.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_eq!(&any.value[..], b"a1");
    sender.send(ack(&response)).await.unwrap();
    assert_eq!(rig.events.recv().await, Some(Event::Progressed(Generation(1))));

    rig.put(&[(TypeUrl::Cluster, "b", "b2")]);
    let response = responses.message().await.unwrap().expect("a change");
    assert_eq!(response.resources.len(), 1);
    assert_eq!(response.resources[0].name, "b");
    sender.send(ack(&response)).await.unwrap();
    assert_eq!(rig.events.recv().await, Some(Event::Progressed(Generation(2))));

    let handle = rig.directory.handles.lock().unwrap()[0].clone();
    let status = handle.status();
    assert_eq!(status.watermark, Generation(2));
    assert!(status.types[0].in_sync());
    drop(sender);
    assert!(responses.message().await.unwrap().is_none(), "a half-closed stream ends with OK");
    assert_eq!(rig.events.recv().await, Some(Event::Ended(Ended::Client)));
    assert_eq!(rig.events.recv().await, Some(Event::Gone));

    let mut registry = prometheus_client::registry::Registry::default();
    rig.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("meltemi_xds_responses_total{type=\"CDS\"} 2"), "{text}");
    assert!(text.contains("meltemi_xds_resources_sent_total{type=\"CDS\"} 3"), "{text}");
    assert!(text.contains("meltemi_xds_acks_total{type=\"CDS\"} 2"), "{text}");
}

#[tokio::test]
async fn a_state_of_the_world_client_gets_everything_again() {
    let mut rig = rig(&[(TypeUrl::Cluster, "a", "a1"), (TypeUrl::Cluster, "b", "b1")]).await;
    let mut client = tonic::client::Grpc::new(rig.channel.clone());
    client.ready().await.unwrap();
    let (sender, receiver) = mpsc::channel(8);
    let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
    let request = tonic::Request::new(ReceiverStream::new(receiver));
    let mut responses = client.streaming(request, SOTW.parse().unwrap(), codec).await.unwrap().into_inner();
    let mut ask = DiscoveryRequest {
        node: node("n"),
        type_url: TypeUrl::Cluster.as_str().to_owned(),
        ..Default::default()
    };
    sender.send(ask.clone()).await.unwrap();
    let response = responses.message().await.unwrap().expect("an answer");
    assert_eq!(response.resources.len(), 2);
    ask.node = None;
    ask.response_nonce = response.nonce;
    ask.version_info = response.version_info;
    sender.send(ask).await.unwrap();
    rig.put(&[(TypeUrl::Cluster, "b", "b2")]);
    let response = responses.message().await.unwrap().expect("a change");
    let bodies: Vec<_> = response.resources.iter().map(|any| any.value.to_vec()).collect();
    assert_eq!(bodies, [b"a1".to_vec(), b"b2".to_vec()]);
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let big = "x".repeat(70_000);
    let resources: Vec<(TypeUrl, String, String)> = (0..300)
        .map(|n| {
            (TypeUrl::Cluster, format!("c{n:04}"), if n % 7 == 0 { big.clone() } else { format!("b{n}") })
        })
        .collect();
    let borrowed: Vec<(TypeUrl, &str, &str)> =
        resources.iter().map(|(t, n, b)| (*t, n.as_str(), b.as_str())).collect();
    let rig = rig(&borrowed).await;
    let (sender, mut responses) = rig.delta().await;
    sender.send(first(TypeUrl::Cluster)).await.unwrap();
    let response = responses.message().await.unwrap().expect("an answer");
    assert_eq!(response.resources.len(), 300);
    for (resource, (_, name, body)) in response.resources.iter().zip(&resources) {
        assert_eq!(&resource.name, name);
        assert_eq!(resource.resource.as_ref().unwrap().value, body.as_bytes());
    }
}

#[tokio::test]
async fn refusals_have_their_code_and_words() {
    let rig = rig(&[]).await;
    let (sender, mut responses) = rig.delta().await;
    sender.send(DeltaDiscoveryRequest { node: None, ..first(TypeUrl::Cluster) }).await.unwrap();
    let status = responses.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "missing node information"));

    let (sender, mut responses) = rig.delta().await;
    sender.send(DeltaDiscoveryRequest { node: node("stranger"), ..first(TypeUrl::Cluster) }).await.unwrap();
    let status = responses.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "not of this mesh"));
}

#[tokio::test]
async fn a_drain_ends_streams_kindly_and_refuses_new_ones() {
    let mut rig = rig(&[(TypeUrl::Cluster, "a", "a1")]).await;
    let (sender, mut responses) = rig.delta().await;
    sender.send(first(TypeUrl::Cluster)).await.unwrap();
    let response = responses.message().await.unwrap().expect("an answer");
    sender.send(ack(&response)).await.unwrap();
    assert_eq!(rig.events.recv().await, Some(Event::Progressed(Generation(1))));
    rig.drain.send_replace(true);
    assert!(responses.message().await.unwrap().is_none(), "ends with OK");
    assert_eq!(rig.events.recv().await, Some(Event::Ended(Ended::Drained)));
    let mut client = tonic::client::Grpc::new(rig.channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let request = tonic::Request::new(tokio_stream::iter([first(TypeUrl::Cluster)]));
    let status = client.streaming(request, DELTA.parse().unwrap(), codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_request_of_16_mib_is_taken_and_a_larger_one_is_refused() {
    let rig = rig(&[(TypeUrl::Cluster, "a", "a1")]).await;
    let (sender, mut responses) = rig.delta().await;
    let mut request = first(TypeUrl::Cluster);
    // About 1,000 bytes each.
    let filler = |len: usize| (0..len / 1_000).map(|n| (format!("{n:0>974}"), "v".repeat(20))).collect();
    request.initial_resource_versions = filler(16_500_000);
    let size = prost::Message::encoded_len(&request);
    assert!((16_000_000..=16 << 20).contains(&size), "{size}");
    sender.send(request).await.unwrap();
    let response = responses.message().await.unwrap().expect("an answer");
    assert_eq!(response.resources.len(), 1);

    let (sender, mut responses) = rig.delta().await;
    let mut request = first(TypeUrl::Cluster);
    request.initial_resource_versions = filler(17_500_000);
    assert!(prost::Message::encoded_len(&request) > 16 << 20);
    sender.send(request).await.unwrap();
    let status = responses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_stream_of_age_ends_kindly() {
    let mut rig = rig(&[(TypeUrl::Cluster, "a", "a1")]).await;
    let (sender, mut responses) = rig.delta().await;
    sender.send(DeltaDiscoveryRequest { node: node("old"), ..first(TypeUrl::Cluster) }).await.unwrap();
    while let Some(response) = responses.message().await.unwrap() {
        sender.send(ack(&response)).await.unwrap();
    }
    while let Some(event) = rig.events.recv().await {
        if let Event::Ended(reason) = event {
            assert_eq!(reason, Ended::Aged);
            return;
        }
    }
    panic!("told that it ended");
}

#[tokio::test]
async fn a_client_that_does_not_read_skips_what_it_missed_and_nothing_queues() {
    let body = |n: usize| format!("{n:06} {}", "x".repeat(60_000));
    let mut rig = rig(&[]).await;
    let start: Vec<(String, String)> = (0..100).map(|n| (format!("c{n}"), body(0))).collect();
    let put: Vec<(TypeUrl, &str, &str)> =
        start.iter().map(|(name, body)| (TypeUrl::Endpoint, name.as_str(), body.as_str())).collect();
    rig.put(&put);
    let (sender, mut responses) = rig.delta().await;
    let mut request = first(TypeUrl::Endpoint);
    request.resource_names_subscribe = vec!["*".into()];
    sender.send(request).await.unwrap();
    let handle = loop {
        if let Some(handle) = rig.directory.handles.lock().unwrap().first().cloned() {
            break handle;
        }
        tokio::task::yield_now().await;
    };
    // The first answer, 6 MB, is larger than the windows of the connection: it is not read yet.
    for n in 1..=200 {
        let changed = body(n);
        rig.put(&[(TypeUrl::Endpoint, "c0", &changed)]);
        tokio::task::yield_now().await;
    }
    assert!(handle.status().types[0].unanswered <= 2, "{:?}", handle.status());
    let response = responses.message().await.unwrap().expect("the first answer");
    assert_eq!(response.resources.len(), 100);
    let mut versions = 0;
    loop {
        let response = responses.message().await.unwrap().expect("what it missed");
        assert_eq!(response.resources.len(), 1);
        versions += 1;
        if response.resources[0].resource.as_ref().unwrap().value.starts_with(b"000200") {
            break;
        }
    }
    assert!(versions <= 3, "{versions} of 200 versions were sent");
}
