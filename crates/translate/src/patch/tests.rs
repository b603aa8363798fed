//! Names of what patches match, and of what they add.

use std::sync::Arc;

use meltemi_api::envoy_filter::{Context, PatchMatch};
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use serde_json::json;

use super::is_reserved;
use super::routes::ConfigName;
use super::written::Written;

fn meant(traffic: Context, name: &str, wanted: serde_json::Value) -> bool {
    let matching: PatchMatch = serde_json::from_value(json!({ "routeConfiguration": wanted })).unwrap();
    let patch = Arc::new(Written {
        object: ObjectKey::new(Kind::EnvoyFilter, "shop", "a"),
        apply_to: meltemi_api::envoy_filter::ApplyTo::HttpRoute,
        operation: meltemi_api::envoy_filter::Operation::Merge,
        matching,
        value: bytes::Bytes::new(),
    });
    ConfigName { name, traffic, port: None }.is_meant(&patch)
}

#[test]
fn a_port_is_the_one_that_the_name_of_a_route_configuration_says() {
    let (out, inbound) = (Context::SidecarOutbound, Context::SidecarInbound);
    assert!(meant(out, "80", json!({"portNumber": 80})));
    assert!(!meant(out, "81", json!({"portNumber": 80})));
    assert!(!meant(out, "reviews.shop.svc.cluster.local:80", json!({"portNumber": 80})), "as in Istio");
    assert!(meant(inbound, "inbound|8080||", json!({"portNumber": 8080})));
    assert!(meant(inbound, "inbound|8080||", json!({})));
}

#[test]
fn a_gateways_routes_are_matched_by_port_server_and_gateway() {
    let name = "https.443.https-web.edge.istio-ingress";
    assert!(meant(
        Context::Gateway,
        name,
        json!({"portNumber": 443, "portName": "https-web", "gateway": "istio-ingress/edge"})
    ));
    assert!(!meant(Context::Gateway, name, json!({"gateway": "istio-ingress/other"})));
    assert!(!meant(Context::Gateway, name, json!({"portName": "other"})));
    assert!(meant(Context::Gateway, "http.8080", json!({"portNumber": 8080})));
    assert!(!meant(Context::Gateway, "http.8080", json!({"gateway": "istio-ingress/edge"})));
}

#[test]
fn names_of_the_meshs_own_are_not_given_to_what_is_added() {
    for name in ["outbound|80||a", "inbound|80||", "PassthroughCluster", "BlackHoleCluster"] {
        assert!(is_reserved(TypeUrl::Cluster, name), "{name}");
    }
    for name in ["0.0.0.0_80", "10.0.0.1_9000", "::_80", "virtualInbound", "virtualOutbound"] {
        assert!(is_reserved(TypeUrl::Listener, name), "{name}");
    }
    assert!(!is_reserved(TypeUrl::Cluster, "checker") && !is_reserved(TypeUrl::Listener, "echo_1"));
}
