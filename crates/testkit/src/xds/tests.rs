//! The client against a server that says what the test tells it to.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::{
    self as discovery, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_proto::google::protobuf::Any;
use meltemi_proto::json;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// The test's end of one stream.
struct Peer<Q, A> {
    requests: Streaming<Q>,
    answers: mpsc::Sender<Result<A, Status>>,
}

/// A server that hands each stream to the test.
struct Server<Q, A> {
    address: SocketAddr,
    peers: mpsc::Receiver<Peer<Q, A>>,
    task: JoinHandle<()>,
}

impl<Q, A> Server<Q, A>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
{
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, peers) = mpsc::channel(4);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let service = hyper::service::service_fn(move |request| answer(sender.clone(), request));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { address, peers, task })
    }

    async fn peer(&mut self) -> Result<Peer<Q, A>> {
        self.peers.recv().await.context("the server ended")
    }
}

impl<Q, A> Drop for Server<Q, A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer<Q, A>(
    peers: mpsc::Sender<Peer<Q, A>>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<tonic::body::Body>, std::convert::Infallible>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
{
    let handler = tower::service_fn(move |request: tonic::Request<Streaming<Q>>| {
        let peers = peers.clone();
        async move {
            let (answers, receiver) = mpsc::channel(16);
            let peer = Peer { requests: request.into_inner(), answers };
            peers.send(peer).await.map_err(|_| Status::unavailable("the test is over"))?;
            Ok::<_, Status>(tonic::Response::new(ReceiverStream::new(receiver)))
        }
    });
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<A, Q>::default());
    Ok(grpc.streaming(handler, request).await)
}

impl<Q, A> Peer<Q, A> {
    async fn request(&mut self) -> Result<Q> {
        Ok(self.requests.next().await.context("the client ended the stream")??)
    }

    async fn answer(&self, answer: A) -> Result<()> {
        self.answers.send(Ok(answer)).await.ok().context("the client is gone")
    }
}

fn any(kind: TypeUrl, body: &Value) -> Result<Any> {
    let value = json::from_json(kind.as_str(), body)?.into();
    Ok(Any { type_url: kind.as_str().to_owned(), value })
}

fn delta(kind: TypeUrl, nonce: &str, resources: &[(&str, Value)]) -> Result<DeltaDiscoveryResponse> {
    let resources = resources
        .iter()
        .map(|(name, body)| {
            let version = format!("{name}@{nonce}");
            Ok(discovery::Resource {
                name: (*name).to_owned(),
                version,
                resource: Some(any(kind, body)?),
                ..discovery::Resource::default()
            })
        })
        .collect::<Result<_>>()?;
    Ok(DeltaDiscoveryResponse {
        type_url: kind.as_str().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..DeltaDiscoveryResponse::default()
    })
}

fn cluster(name: &str, policy: &str) -> Value {
    json!({"name": name, "type": "EDS", "lb_policy": policy, "eds_cluster_config": {"eds_config": {"ads": {}}}})
}

fn listener(route: &str) -> Value {
    json!({"name": "80", "filter_chains": [{"filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "80",
            "rds": {"route_config_name": route, "config_source": {"ads": {}}},
        },
    }]}]})
}

fn virtual_host(cluster: &str) -> Value {
    json!({"name": "80/a", "domains": ["a"], "routes": [{
        "match": {"prefix": "/"},
        "route": {"weighted_clusters": {"clusters": [{"name": cluster, "weight": 1}]}},
    }]})
}

/// The next request must be of that type and subscribe to these names; returns it.
async fn expect_subscription(
    peer: &mut Peer<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
    kind: TypeUrl,
    names: &[&str],
) -> Result<DeltaDiscoveryRequest> {
    let request = peer.request().await?;
    assert_eq!(TypeUrl::parse(&request.type_url), Some(kind), "{request:?}");
    assert_eq!(request.resource_names_subscribe, names, "{request:?}");
    assert_eq!(request.response_nonce, "", "{request:?}");
    Ok(request)
}

/// The next request must be the ACK of that nonce.
async fn expect_ack(
    peer: &mut Peer<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
    nonce: &str,
) -> Result<()> {
    let request = peer.request().await?;
    assert_eq!((request.response_nonce.as_str(), request.error_detail), (nonce, None));
    Ok(())
}

/// Brings a client to hold cluster `a`, its assignment, listener `80`, route configuration `80` and virtual host `80/a`.
async fn settled(
    server: &mut Server<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
) -> Result<(Sidecar, Peer<DeltaDiscoveryRequest, DeltaDiscoveryResponse>)> {
    let node = Node::sidecar("client", "default").metadata("INTERCEPTION_MODE", "NONE");
    let (client, peer) = tokio::join!(Sidecar::connect(server.address, node, Form::Delta), server.peer());
    let (mut client, mut peer) = (client?, peer?);

    let first = expect_subscription(&mut peer, TypeUrl::Cluster, &[]).await?;
    assert_eq!(
        first.node.map(|node| node.id).as_deref(),
        Some("sidecar~127.0.0.1~client.default~default.svc.cluster.local")
    );
    peer.answer(delta(TypeUrl::Cluster, "1", &[("a", cluster("a", "RANDOM"))])?).await?;
    client.step().await?;
    assert!(client.held().warming().contains("a"));
    expect_ack(&mut peer, "1").await?;
    expect_subscription(&mut peer, TypeUrl::Endpoint, &["a"]).await?;

    peer.answer(delta(TypeUrl::Endpoint, "2", &[("a", json!({"cluster_name": "a"}))])?).await?;
    client.step().await?;
    assert!(client.held().warming().is_empty());
    expect_ack(&mut peer, "2").await?;
    expect_subscription(&mut peer, TypeUrl::Listener, &[]).await?;

    peer.answer(delta(TypeUrl::Listener, "3", &[("80", listener("80"))])?).await?;
    client.step().await?;
    expect_ack(&mut peer, "3").await?;
    expect_subscription(&mut peer, TypeUrl::Route, &["80"]).await?;

    let vhds = json!({"name": "80", "vhds": {"config_source": {"ads": {}}}});
    peer.answer(delta(TypeUrl::Route, "4", &[("80", vhds)])?).await?;
    client.step().await?;
    expect_ack(&mut peer, "4").await?;
    expect_subscription(&mut peer, TypeUrl::VirtualHost, &[]).await?;

    peer.answer(delta(TypeUrl::VirtualHost, "5", &[("80/a", virtual_host("a"))])?).await?;
    client.step().await?;
    expect_ack(&mut peer, "5").await?;
    Ok((client, peer))
}

#[tokio::test]
async fn a_delta_client_learns_names_in_envoys_order() -> Result<()> {
    let mut server = Server::start().await?;
    let (client, _peer) = settled(&mut server).await?;
    assert_eq!(client.held().names(TypeUrl::VirtualHost), ["80/a"]);
    assert_eq!(client.held().json(TypeUrl::VirtualHost, "80/a")?["domains"], json!(["a"]));
    assert!(client.held().missing_clusters()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_changed_cluster_warms_until_its_endpoints_come_again() -> Result<()> {
    let mut server = Server::start().await?;
    let (mut client, peer) = settled(&mut server).await?;
    peer.answer(delta(TypeUrl::Cluster, "6", &[("a", cluster("a", "ROUND_ROBIN"))])?).await?;
    client.step().await?;
    assert!(client.held().warming().contains("a"));
    peer.answer(delta(TypeUrl::Endpoint, "7", &[("a", json!({"cluster_name": "a"}))])?).await?;
    let steps = client.until(LIMIT, |held| held.warming().is_empty()).await?;
    assert_eq!(steps.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_removed_cluster_takes_its_assignment_along_and_is_missed_by_its_route() -> Result<()> {
    let mut server = Server::start().await?;
    let (mut client, mut peer) = settled(&mut server).await?;
    let removal = DeltaDiscoveryResponse {
        removed_resources: vec!["a".to_owned()],
        ..delta(TypeUrl::Cluster, "6", &[])?
    };
    peer.answer(removal).await?;
    let step = client.step().await?;
    assert_eq!((step.kind, step.removed), (TypeUrl::Cluster, vec!["a".to_owned()]));
    expect_ack(&mut peer, "6").await?;
    let request = peer.request().await?;
    assert_eq!(request.resource_names_unsubscribe, ["a"]);
    assert!(client.held().names(TypeUrl::Endpoint).is_empty());
    assert_eq!(client.held().missing_clusters()?.into_iter().collect::<Vec<_>>(), ["a"]);
    Ok(())
}

#[tokio::test]
async fn a_refused_answer_changes_nothing_that_is_held() -> Result<()> {
    let mut server = Server::start().await?;
    let (mut client, mut peer) = settled(&mut server).await?;
    client.refuse(|_, name| (name == "bad").then(|| "no such policy".to_owned()));
    let both = [("good", cluster("good", "RANDOM")), ("bad", cluster("bad", "RANDOM"))];
    peer.answer(delta(TypeUrl::Cluster, "6", &both)?).await?;
    let step = client.step().await?;
    assert_eq!(step.refused.as_deref(), Some("Error adding/updating bad: no such policy"));
    assert_eq!(client.held().names(TypeUrl::Cluster), ["a"]);
    let request = peer.request().await?;
    assert_eq!(request.response_nonce, "6");
    assert_eq!(request.error_detail.map(|error| error.code), Some(3));
    Ok(())
}

#[tokio::test]
async fn a_delta_client_comes_back_with_the_versions_it_holds() -> Result<()> {
    let mut server = Server::start().await?;
    let (mut client, _old) = settled(&mut server).await?;
    let (again, peer) = tokio::join!(client.reconnect(), server.peer());
    again?;
    let mut peer = peer?;
    let expected = [
        (TypeUrl::Cluster, vec![], ("a", "a@1")),
        (TypeUrl::Endpoint, vec!["a"], ("a", "a@2")),
        (TypeUrl::Listener, vec![], ("80", "80@3")),
        (TypeUrl::Route, vec!["80"], ("80", "80@4")),
        (TypeUrl::VirtualHost, vec![], ("80/a", "80/a@5")),
    ];
    for (kind, names, (name, version)) in expected {
        let request = expect_subscription(&mut peer, kind, &names).await?;
        assert_eq!(request.node.is_some(), kind == TypeUrl::Cluster);
        let versions: Vec<_> = request.initial_resource_versions.into_iter().collect();
        assert_eq!(versions, [(name.to_owned(), version.to_owned())]);
    }
    Ok(())
}

#[tokio::test]
async fn a_state_of_the_world_client_drops_what_a_complete_answer_leaves_out() -> Result<()> {
    let mut server = Server::<DiscoveryRequest, DiscoveryResponse>::start().await?;
    let node = Node::sidecar("client", "default");
    let (client, peer) = tokio::join!(Sidecar::connect(server.address, node, Form::Sotw), server.peer());
    let (mut client, mut peer) = (client?, peer?);
    let clusters = |version: &str, names: &[&str]| -> Result<DiscoveryResponse> {
        let resources = names
            .iter()
            .map(|name| any(TypeUrl::Cluster, &cluster(name, "RANDOM")))
            .collect::<Result<_>>()?;
        Ok(DiscoveryResponse {
            type_url: TypeUrl::Cluster.as_str().to_owned(),
            version_info: version.to_owned(),
            nonce: format!("n{version}"),
            resources,
            ..DiscoveryResponse::default()
        })
    };
    assert!(peer.request().await?.node.is_some());
    peer.answer(clusters("1", &["a", "b"])?).await?;
    client.step().await?;
    let ack = peer.request().await?;
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "n1"));
    assert_eq!(peer.request().await?.resource_names, ["a", "b"]);

    peer.answer(clusters("2", &["b"])?).await?;
    client.step().await?;
    assert_eq!(client.held().names(TypeUrl::Cluster), ["b"]);
    assert_eq!(peer.request().await?.version_info, "2");
    assert_eq!(peer.request().await?.resource_names, ["b"]);
    Ok(())
}
