//! The sidecars against real servers over real sockets: Meltemi's stream server with a view of its own, and the floor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use meltemi_benches::fleet::{Fleet, Target};
use meltemi_benches::floor::Floor;
use meltemi_benches::mesh::{Mesh, Shape};
use meltemi_benches::meter::Counts;
use meltemi_benches::node::node;
use meltemi_catalog::{Body, Generation, Layer, Resource, View};
use meltemi_names::{TypeUrl, Version};
use meltemi_proto::any;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, Vhds};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
};
use meltemi_xds::{
    Connection, Directory, DiscoveryServer, Metrics, Peer, Refusal, Settings, StreamHandle, Watcher,
};
use prost::Message;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

const QUIET: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(60);
const SIDECARS: usize = 8;

/// Everyone gets the same view.
struct OneView(watch::Receiver<View>);

struct Deaf;

impl Watcher for Deaf {
    fn refused(&mut self, refusal: &Refusal) {
        panic!("no sidecar refuses: {refusal:?}");
    }
    fn progressed(&mut self, _: Generation) {}
}

impl Directory for OneView {
    fn connect(
        &self,
        _: Node,
        _: Peer,
        _: Arc<StreamHandle>,
    ) -> BoxFuture<'static, Result<Connection, Status>> {
        let views = self.0.clone();
        Box::pin(async move { Ok(Connection { views, watcher: Box::new(Deaf), max_age: None }) })
    }
}

struct Rig {
    layer: Layer,
    views: watch::Sender<View>,
    address: SocketAddr,
    drain: watch::Sender<bool>,
}

impl Rig {
    async fn start() -> Self {
        let (views, receiver) = watch::channel(View::default());
        let (drain, drained) = watch::channel(false);
        let directory = Arc::new(OneView(receiver));
        let server = DiscoveryServer::new(directory, Settings::default(), Metrics::default(), drained, 7);
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        tokio::spawn(Server::builder().add_service(server).serve_with_incoming(incoming));
        Self { layer: Layer::empty(), views, address, drain }
    }

    fn put(&mut self, resources: Vec<Resource>) {
        let mut edit = self.layer.edit(Generation(self.layer.generation().0 + 1));
        for resource in resources {
            edit.put(Arc::new(resource));
        }
        self.layer = edit.finish().expect("a change");
        self.views.send_replace(View::new([Arc::new(self.layer.clone())]));
    }
}

fn resource(kind: TypeUrl, name: &str, message: &impl Message) -> Resource {
    let bytes = message.encode_to_vec();
    Resource::new(kind, name.into(), Version::of(&bytes), Body::from(bytes))
}

/// A mesh of `services`: a cluster, its endpoints and a virtual host each, one listener, one route configuration.
fn mesh(services: usize) -> Vec<Resource> {
    let mut resources = Vec::new();
    for service in 0..services {
        let name = format!("outbound|80||s{service}");
        let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
        let cluster = Cluster { name: name.clone(), cluster_discovery_type: Some(eds), ..Cluster::default() };
        resources.push(resource(TypeUrl::Cluster, &name, &cluster));
        resources.push(resource(TypeUrl::Endpoint, &name, &cluster));
        resources.push(virtual_host(service, "first"));
    }
    let rds = Rds { route_config_name: "80".to_owned(), ..Rds::default() };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        ..HttpConnectionManager::default()
    };
    let config = filter::ConfigType::TypedConfig(any::pack(&manager));
    let filters = vec![Filter { config_type: Some(config), ..Filter::default() }];
    let listener = Listener {
        filter_chains: vec![FilterChain { filters, ..FilterChain::default() }],
        ..Listener::default()
    };
    resources.push(resource(TypeUrl::Listener, "0.0.0.0_80", &listener));
    let routes =
        RouteConfiguration { name: "80".to_owned(), vhds: Some(Vhds::default()), ..Default::default() };
    resources.push(resource(TypeUrl::Route, "80", &routes));
    resources
}

fn virtual_host(service: usize, body: &str) -> Resource {
    resource(TypeUrl::VirtualHost, &format!("80/s{service}"), &body.to_owned()).belonging_to("80".into())
}

fn fleet(address: SocketAddr, connections: usize) -> Fleet {
    let mesh = Mesh::named(Shape { services: 3, namespaces: 2, ..Shape::default() });
    let nodes: Vec<Node> = mesh.pods().take(SIDECARS).map(|pod| node(&pod)).collect();
    Fleet::start(Target { connections, ..Target::plain(address) }, nodes)
}

fn since(fleet: &Fleet, before: &[Counts]) -> Vec<Counts> {
    fleet.meter().counts().iter().zip(before).map(|(now, before)| now.since(before)).collect()
}

async fn everyone_gets_the_mesh_then_one_resource(connections: usize) {
    let mut rig = Rig::start().await;
    rig.put(mesh(50));
    let fleet = fleet(rig.address, connections);
    fleet.settle(QUIET, LIMIT).await.unwrap();
    let first = fleet.meter().counts();
    for counts in &first {
        assert_eq!(counts.resources, [50, 50, 1, 1, 50]);
    }

    let start = Instant::now();
    let goal = fleet.meter().acknowledged() + SIDECARS as u64;
    rig.put(vec![virtual_host(7, "second")]);
    fleet.during(fleet.meter().until_acknowledged(goal, LIMIT)).await.unwrap();
    let times = fleet.meter().last_after(start);
    assert_eq!(times.len(), SIDECARS);
    assert!(times[0] > Duration::ZERO, "nobody acknowledged before the change: {times:?}");
    fleet.meter().until_quiet(QUIET).await;
    for counts in since(&fleet, &first) {
        assert_eq!((counts.answers, counts.resources), (1, [0, 0, 0, 0, 1]));
        assert!(counts.bytes > 0);
    }

    let before = fleet.meter().counts();
    fleet.cut();
    fleet.settle(QUIET, LIMIT).await.unwrap();
    for counts in since(&fleet, &before) {
        assert_eq!(counts.resources, [0; 5], "each told what it holds: nothing is sent again");
        assert_eq!(counts.answers, 5, "and yet each type is answered");
    }
    assert_eq!(fleet.stop().await.unwrap(), [[50, 50, 1, 1, 50]; SIDECARS]);
}

#[tokio::test]
async fn sidecars_with_connections_of_their_own_get_the_mesh_then_one_resource() {
    everyone_gets_the_mesh_then_one_resource(0).await;
}

#[tokio::test]
async fn sidecars_that_share_connections_get_the_mesh_then_one_resource() {
    everyone_gets_the_mesh_then_one_resource(3).await;
}

#[tokio::test]
async fn the_floor_sends_one_answer_to_each_for_each_step() {
    let (steps, stepped) = watch::channel(0);
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(Floor::new(stepped, 1000)).serve_with_incoming(incoming));
    let fleet = fleet(address, 0);
    fleet.settle(QUIET, LIMIT).await.unwrap();
    let before = fleet.meter().counts();
    for step in 1..=3 {
        let goal = fleet.meter().acknowledged() + SIDECARS as u64;
        steps.send_replace(step);
        fleet.during(fleet.meter().until_acknowledged(goal, LIMIT)).await.unwrap();
    }
    fleet.meter().until_quiet(QUIET).await;
    for counts in since(&fleet, &before) {
        assert_eq!((counts.answers, counts.resources), (3, [0, 0, 0, 0, 3]));
        assert!((3000..3900).contains(&counts.bytes), "{}", counts.bytes);
    }
}

#[tokio::test]
async fn a_server_that_goes_away_fails_the_run() {
    let mut rig = Rig::start().await;
    rig.put(mesh(2));
    let fleet = fleet(rig.address, 0);
    fleet.settle(QUIET, LIMIT).await.unwrap();
    rig.drain.send_replace(true);
    let error = fleet.during(std::future::pending::<anyhow::Result<()>>()).await.unwrap_err();
    assert!(format!("{error:#}").contains("gRPC status `0`"), "{error:#}");
}
