//! The sidecar as Envoy: what it asks, when, and when it acknowledges.

use meltemi_proto::any;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, Vhds};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
};
use meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use meltemi_proto::google::protobuf::Any;
use meltemi_proto::meltemi::envelope::{DeltaDiscoveryResponse, Resource};
use prost::{Message as _, Name};

use super::*;
use crate::frames::Frames;

fn sidecar() -> Sidecar {
    let node = Node { id: "n".to_owned(), ..Node::default() };
    let mut sidecar = Sidecar::new(Arc::new(node), Catalogue::default());
    let requests = read(sidecar.open());
    assert_eq!(said(&requests), ["CDS"]);
    assert_eq!(requests[0].node.as_ref().unwrap().id, "n");
    sidecar
}

/// Requests as prost reads them.
fn read(requests: Requests) -> Vec<DeltaDiscoveryRequest> {
    let mut frames = Frames::default();
    frames.push(requests.into_bytes().freeze());
    let next = || frames.message().unwrap().map(|message| DeltaDiscoveryRequest::decode(message).unwrap());
    std::iter::from_fn(next).collect()
}

/// Requests in short: type, names asked, names given up, whether it acknowledges.
fn said(requests: &[DeltaDiscoveryRequest]) -> Vec<String> {
    let short = |request: &DeltaDiscoveryRequest| {
        let mut text = TypeUrl::parse(&request.type_url).unwrap().short().to_owned();
        for name in &request.resource_names_subscribe {
            text += &format!(" +{name}");
        }
        for name in &request.resource_names_unsubscribe {
            text += &format!(" -{name}");
        }
        for (name, version) in &request.initial_resource_versions {
            text += &format!(" {name}={version}");
        }
        if !request.response_nonce.is_empty() {
            text += &format!(" ack {}", request.response_nonce);
        }
        text
    };
    requests.iter().map(short).collect()
}

fn take(sidecar: &mut Sidecar, kind: TypeUrl, nonce: &str, resources: Vec<Resource>) -> Vec<String> {
    let answer = DeltaDiscoveryResponse {
        type_url: kind.as_str().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..Default::default()
    };
    tell(sidecar, &answer).1
}

/// What it says to an answer that prost wrote.
fn tell(sidecar: &mut Sidecar, answer: &DeltaDiscoveryResponse) -> (Brought, Vec<String>) {
    let mut requests = Requests::default();
    let bytes = answer.encode_to_vec();
    let brought = sidecar.take(&Answer::read(&bytes).unwrap(), &mut requests).unwrap();
    (brought, said(&read(requests)))
}

fn resource(name: &str, version: &str, message: &impl Name) -> Resource {
    let any = Any { type_url: String::new(), value: message.encode_to_vec().into() };
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: any.encode_to_vec().into(),
        ..Resource::default()
    }
}

fn cluster(name: &str, version: &str) -> Resource {
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
    let cluster = Cluster { name: name.to_owned(), cluster_discovery_type: Some(eds), ..Cluster::default() };
    resource(name, version, &cluster)
}

fn plain(name: &str) -> Resource {
    Resource { name: name.to_owned(), version: "1".to_owned(), ..Resource::default() }
}

fn listener(name: &str, version: &str, route: &str) -> Resource {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: route.to_owned(),
            ..Rds::default()
        })),
        ..HttpConnectionManager::default()
    };
    let config = filter::ConfigType::TypedConfig(any::pack(&manager));
    let filter = Filter { config_type: Some(config), ..Filter::default() };
    let chain = FilterChain { filters: vec![filter], ..FilterChain::default() };
    resource(name, version, &Listener { filter_chains: vec![chain], ..Listener::default() })
}

fn routes(name: &str) -> Resource {
    let configuration =
        RouteConfiguration { name: name.to_owned(), vhds: Some(Vhds::default()), ..Default::default() };
    resource(name, "1", &configuration)
}

/// One that holds a cluster, its endpoints, a listener, its routes and a virtual host.
fn settled() -> Sidecar {
    let mut sidecar = sidecar();
    assert_eq!(take(&mut sidecar, TypeUrl::Cluster, "1", vec![cluster("a", "1")]), ["EDS +a"]);
    assert_eq!(
        take(&mut sidecar, TypeUrl::Endpoint, "2", vec![plain("a")]),
        ["EDS ack 2", "CDS ack 1", "LDS"],
        "clusters are acknowledged when they are warm, and listeners come after them"
    );
    assert_eq!(
        take(&mut sidecar, TypeUrl::Listener, "3", vec![listener("l", "1", "80")]),
        ["LDS ack 3", "RDS +80"]
    );
    assert_eq!(take(&mut sidecar, TypeUrl::Route, "4", vec![routes("80")]), ["RDS ack 4", "VHDS"]);
    assert!(!sidecar.is_settled(), "the virtual hosts are missing");
    assert_eq!(take(&mut sidecar, TypeUrl::VirtualHost, "5", vec![plain("80/a")]), ["VHDS ack 5"]);
    assert!(sidecar.is_settled());
    sidecar
}

#[test]
fn it_asks_in_envoys_order_and_only_for_what_it_learnt() {
    assert_eq!(settled().counts(), [1; KINDS]);
}

#[test]
fn a_changed_cluster_warms_until_its_endpoints_come_unasked() {
    let mut sidecar = settled();
    assert_eq!(take(&mut sidecar, TypeUrl::Cluster, "6", vec![cluster("a", "2")]), [""; 0]);
    assert_eq!(
        take(&mut sidecar, TypeUrl::Endpoint, "7", vec![plain("a")]),
        ["EDS ack 7", "CDS ack 6"],
        "equal endpoints warm it too"
    );
}

#[test]
fn an_equal_cluster_does_not_warm() {
    let mut sidecar = settled();
    assert_eq!(take(&mut sidecar, TypeUrl::Cluster, "6", vec![cluster("a", "1")]), ["CDS ack 6"]);
}

#[test]
fn what_a_removed_cluster_named_is_given_up() {
    let mut sidecar = settled();
    let answer = DeltaDiscoveryResponse {
        type_url: TypeUrl::Cluster.as_str().to_owned(),
        nonce: "6".to_owned(),
        removed_resources: vec!["a".to_owned()],
        ..Default::default()
    };
    let (brought, requests) = tell(&mut sidecar, &answer);
    assert_eq!(brought, Brought { kind: 0, resources: 0, removed: 1, names: Vec::new() });
    assert_eq!(requests, ["EDS -a", "CDS ack 6"]);
    assert_eq!(sidecar.counts(), [0, 0, 1, 1, 1]);
}

#[test]
fn a_listener_that_names_other_routes_asks_for_those_instead() {
    let mut sidecar = settled();
    assert_eq!(
        take(&mut sidecar, TypeUrl::Listener, "6", vec![listener("l", "2", "81")]),
        ["LDS ack 6", "RDS +81 -80"]
    );
    assert!(!sidecar.is_settled());
    take(&mut sidecar, TypeUrl::Route, "7", vec![routes("81")]);
    assert!(sidecar.is_settled());
}

#[test]
fn a_reconnect_tells_all_it_holds() {
    let mut sidecar = settled();
    let requests = read(sidecar.open());
    assert_eq!(
        said(&requests),
        ["CDS a=1", "EDS +a a=1", "LDS l=1", "RDS +80 80=1", "VHDS 80/a=1"],
        "in the order in which it subscribed"
    );
    assert!(requests[0].node.is_some() && requests[1].node.is_none());
    assert!(!sidecar.is_settled(), "until each is answered");
}

#[test]
fn two_sidecars_share_what_they_learn_and_not_what_they_hold() {
    let catalogue = Catalogue::default();
    let node = Arc::new(Node::default());
    let mut one = Sidecar::new(Arc::clone(&node), catalogue.clone());
    let mut other = Sidecar::new(node, catalogue);
    one.open();
    other.open();
    assert_eq!(
        take(&mut one, TypeUrl::Cluster, "1", vec![cluster("a", "1"), cluster("b", "1")]),
        ["EDS +a +b"]
    );
    assert_eq!(take(&mut other, TypeUrl::Cluster, "1", vec![cluster("b", "1")]), ["EDS +b"]);
    assert_eq!((one.counts()[0], other.counts()[0]), (2, 1));
}

#[test]
fn bodies_without_a_version_are_told_apart_by_their_bytes() {
    let mut sidecar = sidecar();
    take(&mut sidecar, TypeUrl::Cluster, "1", vec![cluster("a", "")]);
    take(&mut sidecar, TypeUrl::Endpoint, "2", vec![plain("a")]);
    assert_eq!(take(&mut sidecar, TypeUrl::Cluster, "3", vec![cluster("a", "")]), ["CDS ack 3"]);
    let changed = resource("a", "", &Cluster { name: "a".to_owned(), ..Cluster::default() });
    assert_eq!(take(&mut sidecar, TypeUrl::Cluster, "4", vec![changed]), ["EDS -a", "CDS ack 4"]);
}

#[test]
fn a_type_that_nobody_asked_for_is_an_error() {
    let mut sidecar = sidecar();
    let answer = Answer { type_url: "x", ..Answer::default() };
    assert!(sidecar.take(&answer, &mut Requests::default()).is_err());
}
