//! What callers share, and what a change costs: counted.

use std::sync::Arc;

use super::super::ListenersKey;
use super::{Bench, mesh_settings, redirected, service};

const HTTP: &str = "{name: http, port: 80}";

fn of_namespace(namespace: &str) -> ListenersKey {
    ListenersKey { namespace: namespace.into(), ..redirected() }
}

#[test]
fn callers_of_many_namespaces_share_every_listener() {
    let bench = Bench::of(
        &[service("a", None, HTTP), service("db", Some("10.96.0.1"), "{name: tcp, port: 1}")].concat(),
    );
    let all: Vec<_> = (0..200).map(|at| bench.outbound(of_namespace(&format!("ns-{at}")))).collect();
    for one in &all {
        assert_eq!(one.len(), 3);
        for (name, listener) in one {
            assert!(Arc::ptr_eq(listener, &all[0][name]), "{name}");
        }
    }
    let cost = bench.0.memo.take_cost();
    assert_eq!((cost.made("listener"), cost.made("outbound listeners")), (3, 1));
}

#[test]
fn a_namespace_with_a_service_of_its_own_still_shares_what_is_equal() {
    let private = "---\napiVersion: v1\nkind: Service\nmetadata: {name: own, namespace: shop, annotations: {networking.istio.io/exportTo: .}}\nspec: {ports: [{name: http, port: 81}]}\n";
    let bench = Bench::of(&[&service("a", None, HTTP), private].concat());
    let (other, shop) = (bench.outbound(of_namespace("other")), bench.outbound(of_namespace("shop")));
    assert_eq!(other.keys().collect::<Vec<_>>(), ["0.0.0.0_80", "virtualOutbound"]);
    assert_eq!(shop.keys().collect::<Vec<_>>(), ["0.0.0.0_80", "0.0.0.0_81", "virtualOutbound"]);
    assert!(Arc::ptr_eq(&other["0.0.0.0_80"], &shop["0.0.0.0_80"]));
}

#[test]
fn another_http_service_on_a_port_makes_no_listener() {
    let mut bench = Bench::of(&service("a", None, HTTP));
    let before = bench.outbound(redirected());
    let cost = bench.apply(&service("b", None, HTTP));
    assert_eq!(cost.changed("outbound listeners"), 0);
    assert_eq!(cost.made("part: listeners"), 0);
    assert_eq!(cost.made("listener"), 0);
    assert!(Arc::ptr_eq(&before["0.0.0.0_80"], &bench.outbound(redirected())["0.0.0.0_80"]));
}

#[test]
fn a_setting_that_listeners_do_not_read_makes_no_listener() {
    let mut bench = Bench::of(&[service("a", None, HTTP), mesh_settings("connectTimeout: 1s")].concat());
    bench.outbound(redirected());
    let cost = bench.apply(&mesh_settings("connectTimeout: 2s"));
    assert_eq!((cost.made("settings of listeners"), cost.changed("settings of listeners")), (1, 0));
    assert_eq!(cost.made("listener"), 0);
    assert_eq!(bench.apply(&mesh_settings("accessLogFile: /dev/stdout")).changed("listener"), 2);
}

#[test]
fn workloads_of_one_class_share_the_inbound_listener() {
    let bench = Bench::of(&service("a", None, HTTP));
    assert!(Arc::ptr_eq(&bench.inbound("a"), &bench.inbound("a")));
    assert_eq!(bench.0.memo.take_cost().made("listener"), 1);
}

#[test]
fn a_rule_that_says_nothing_of_connections_makes_no_listener() {
    let rule = |policy: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: db}}\nspec: {{host: db, {policy}}}\n"
        )
    };
    let mut bench = Bench::of(&service("db", Some("10.96.0.1"), "{name: tcp, port: 5432}"));
    bench.outbound(redirected());
    let cost = bench.apply(&rule("trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}"));
    assert_eq!((cost.changed("part: listeners"), cost.made("listener")), (0, 0));
}

#[test]
fn an_endpoint_that_is_no_longer_ready_makes_no_listener() {
    let slice = |ready: bool| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: db-1, labels: {{kubernetes.io/service-name: db}}}}\naddressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], conditions: {{ready: {ready}, serving: true, terminating: false}}}}]\nports: [{{name: tcp, port: 5432}}]\n"
        )
    };
    let mut bench =
        Bench::of(&[service("db", Some("None"), "{name: tcp, port: 5432}"), slice(true)].concat());
    assert!(bench.outbound(redirected()).contains_key("10.0.0.1_5432"));
    let cost = bench.apply(&slice(false));
    assert_eq!((cost.made("addresses of endpoints"), cost.changed("addresses of endpoints")), (1, 0));
    assert_eq!((cost.made("part: listeners"), cost.made("listener")), (0, 0));
}
