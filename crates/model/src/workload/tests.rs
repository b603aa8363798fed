//! A proxy finds its workload, and the services that lead to it.

use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_memo::Memo;
use meltemi_proto::envoy::config::core::v3::{Locality, Node};
use meltemi_proto::google::protobuf::{Struct, Value, value};

use super::{Workload, WorkloadLocality};
use crate::proxy::Proxy;
use crate::{Event, Store};

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: by-hand, namespace: shop}
spec: {clusterIP: None, ports: [{name: grpc, port: 9000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-1, namespace: shop, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: grpc, port: 9090}]
endpoints: [{addresses: [10.2.0.1]}]
---
";

fn pod(labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: cart-1, namespace: shop, labels: {{{labels}}}}}\nspec: {{nodeName: n1, containers: [{{name: c, ports: [{{name: web, containerPort: 8081}}]}}]}}\nstatus: {{podIP: 10.2.0.1}}\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}}}\n---\n"
    )
}

fn proxy(label: (&str, &str), metadata: &[(&str, &str)]) -> Arc<Proxy> {
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
    let labels = Struct { fields: [(label.0.to_owned(), text(label.1))].into() };
    let labels = Value { kind: Some(value::Kind::StructValue(labels)) };
    let more = metadata.iter().map(|(key, value)| ((*key).to_owned(), text(value)));
    let fields = more.chain([("LABELS".to_owned(), labels)]).collect();
    let node = Node {
        id: "sidecar~10.2.0.1~cart-1.shop~shop.svc.cluster.local".to_owned(),
        metadata: Some(Struct { fields }),
        locality: Some(Locality { region: "own".to_owned(), ..Locality::default() }),
        ..Node::default()
    };
    Arc::new(Proxy::parse(&node, true).unwrap())
}

/// `target service:port` for each port that services lead to.
fn ports(yaml: &str, proxy: Arc<Proxy>) -> Vec<String> {
    let mut store = Store::new();
    store.apply(parse_all(yaml).unwrap().into_iter().map(|object| Event::Upsert(Arc::new(object))));
    let (_, facts) = Memo::new().observe(Workload(proxy), store.mesh());
    facts.ports.iter().map(|port| format!("{} {}:{}", port.target, port.service.name(), port.port)).collect()
}

fn locality(yaml: &str, proxy: Arc<Proxy>) -> String {
    let mut store = Store::new();
    store.apply(parse_all(yaml).unwrap().into_iter().map(|object| Event::Upsert(Arc::new(object))));
    Memo::new().observe(WorkloadLocality(proxy), store.mesh()).1.to_string()
}

#[test]
fn the_pods_labels_and_ports_win_over_what_the_proxy_says() {
    let stale = proxy(("app", "other"), &[("POD_PORTS", r#"[{"name": "web", "containerPort": 1}]"#)]);
    assert_eq!(ports(&format!("{CART}{}", pod("app: cart")), stale), ["8081 cart:80"]);
}

#[test]
fn while_the_pod_is_not_known_the_proxy_speaks_for_itself() {
    let named = r#"[{"name": "web", "containerPort": 8082, "protocol": "TCP"}, {"containerPort": 15090}]"#;
    assert_eq!(ports(CART, proxy(("app", "cart"), &[("POD_PORTS", named)])), ["8082 cart:80"]);
    assert_eq!(ports(CART, proxy(("app", "cart"), &[("POD_PORTS", "no list")])), [""; 0]);
}

#[test]
fn a_service_without_a_selector_is_found_by_address_where_no_other_leads_here() {
    let client = || proxy(("app", "client"), &[]);
    assert_eq!(ports(&format!("{CART}{}", pod("app: client")), client()), ["9090 by-hand:9000"]);
    assert_eq!(ports(&format!("{CART}{}", pod("app: cart")), client()), ["8081 cart:80"]);
    let elsewhere = CART.replace("10.2.0.1", "10.2.0.2");
    assert_eq!(ports(&format!("{elsewhere}{}", pod("app: client")), client()), [""; 0]);
    // The slice of a service with a selector names pods that once carried its labels.
    let selected = CART.replace("{clusterIP: None, ports", "{clusterIP: None, selector: {app: x}, ports");
    assert_eq!(ports(&format!("{selected}{}", pod("app: client")), client()), [""; 0]);
}

#[test]
fn a_workload_runs_where_its_pod_says_then_its_node_then_the_proxy() {
    let client = || proxy(("app", "client"), &[]);
    assert_eq!(locality(&pod("app: client"), client()), "eu/eu-1");
    assert_eq!(locality(&pod("app: client, topology.istio.io/locality: us/us-2"), client()), "us/us-2");
    assert_eq!(locality(CART, client()), "own");
    assert_eq!(locality(CART, proxy(("istio-locality", "asia.asia-1"), &[])), "asia/asia-1");
    let entry = "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: vm, namespace: shop}, spec: {address: 10.2.0.1, labels: {app: vm}, locality: eu/eu-7}}";
    assert_eq!(locality(entry, client()), "eu/eu-7");
}
