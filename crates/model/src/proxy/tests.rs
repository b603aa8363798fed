//! Nodes as agents write them.

use meltemi_api::mesh_config::ForwardClientCert;
use meltemi_proto::envoy::config::core::v3::{Extension, Node};
use meltemi_proto::google::protobuf::{Struct, Value, value};

use super::{Interception, IpFamily, Proxy, ProxyError, ProxyKind};

fn text(text: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.to_owned())) }
}

fn node(id: &str, metadata: &[(&str, Value)]) -> Node {
    let fields = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Node {
        id: id.to_owned(),
        user_agent_name: "envoy".to_owned(),
        metadata: Some(Struct { fields }),
        ..Node::default()
    }
}

#[test]
fn an_envoy_that_can_count_says_so_in_its_list_of_extensions() {
    let id = "sidecar~10.0.0.7~cart-1.shop~shop.svc.cluster.local";
    let mut node = node(id, &[("WORKLOAD_NAME", text("cart"))]);
    assert!(!Proxy::parse(&node, true).unwrap().metrics);
    node.extensions = ["envoy.access_loggers.file", "envoy.access_loggers.stats"]
        .map(|name| Extension { name: name.to_owned(), ..Extension::default() })
        .to_vec();
    let proxy = Proxy::parse(&node, true).unwrap();
    assert!(proxy.metrics);
    assert_eq!(&*proxy.workload, "cart");
}

#[test]
fn what_stands_before_a_gateway_is_read_of_its_agents_words() {
    let nested = |fields: Vec<(&str, Value)>| Value {
        kind: Some(value::Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        })),
    };
    let says = |topology: Vec<(&str, Value)>| {
        let config = nested(vec![("gatewayTopology", nested(topology))]);
        let node = node("router~10.0.0.7~edge-1.shop~shop.svc.cluster.local", &[("PROXY_CONFIG", config)]);
        Proxy::parse(&node, true).unwrap().topology
    };
    let two = Value { kind: Some(value::Kind::NumberValue(2.0)) };
    let said = says(vec![
        ("numTrustedProxies", two.clone()),
        ("forwardClientCertDetails", text("SANITIZE")),
        ("proxyProtocol", nested(Vec::new())),
    ])
    .unwrap();
    assert_eq!((said.num_trusted_proxies, said.proxy_protocol.is_some()), (2, true));
    assert_eq!(said.forward_client_cert_details, ForwardClientCert::Sanitize);
    assert_eq!(says(vec![("numTrustedProxies", text("many"))]), None, "what cannot be read says nothing");
    let node =
        node("router~10.0.0.7~edge-1.shop~shop.svc.cluster.local", &[("PROXY_CONFIG", nested(Vec::new()))]);
    assert_eq!(Proxy::parse(&node, true).unwrap().topology, None);
}

#[test]
fn a_sidecar_is_read_from_its_node() {
    let labels = Value {
        kind: Some(value::Kind::StructValue(Struct {
            fields: [("app".to_owned(), text("cart")), ("odd".to_owned(), Value { kind: None })].into(),
        })),
    };
    let node = node(
        "sidecar~10.0.0.7~cart-1.shop~shop.svc.cluster.local",
        &[
            ("NAMESPACE", text("shop")),
            ("LABELS", labels),
            ("INSTANCE_IPS", text("10.0.0.7,fd00::7")),
            ("UNKNOWN", text("is tolerated")),
        ],
    );
    let proxy = Proxy::parse(&node, true).unwrap();
    assert_eq!((proxy.kind, &*proxy.id, &*proxy.name), (ProxyKind::Sidecar, "cart-1.shop", "cart-1"));
    assert_eq!(proxy.namespace.as_str(), "shop");
    assert_eq!(proxy.labels, [("app", "cart")].into_iter().collect());
    assert_eq!(proxy.family(), IpFamily::Dual);
    assert_eq!(proxy.interception, Interception::Redirect);
    assert_eq!(proxy.cluster_domain(), Some("cluster.local"));
    assert!(proxy.takes_virtual_hosts);
    assert!(!Proxy::parse(&node, false).unwrap().takes_virtual_hosts, "not on a state-of-the-world stream");
}

#[test]
fn without_metadata_the_id_tells_address_and_namespace() {
    let proxy =
        Proxy::parse(&node("sidecar~127.0.0.1~client.default~default.svc.cluster.local", &[]), true).unwrap();
    assert_eq!(proxy.namespace.as_str(), "default");
    assert_eq!(proxy.family(), IpFamily::V4);
}

#[test]
fn what_is_no_node_of_a_mesh_is_refused_with_what_to_do() {
    let refused = |id: &str| Proxy::parse(&node(id, &[]), true).unwrap_err();
    assert!(matches!(refused("client"), ProxyError::Id(_)));
    assert!(matches!(refused("ztunnel~10.0.0.1~a.b~b.svc.cluster.local"), ProxyError::Kind(_)));
    assert!(matches!(refused("sidecar~~a.b~b.svc.cluster.local"), ProxyError::Address(_)));
}
