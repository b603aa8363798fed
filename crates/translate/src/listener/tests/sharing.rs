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
    let cost = bench.memo.take_cost();
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
    bench.memo.take_cost();
    bench.apply(&service("b", None, HTTP));
    let cost = bench.memo.take_cost();
    assert_eq!(cost.changed("outbound listeners"), 0);
    assert_eq!(cost.made("part: listeners"), 0);
    assert_eq!(cost.made("listener"), 0);
    assert!(Arc::ptr_eq(&before["0.0.0.0_80"], &bench.outbound(redirected())["0.0.0.0_80"]));
}

#[test]
fn a_setting_that_listeners_do_not_read_makes_no_listener() {
    let mut bench = Bench::of(&[service("a", None, HTTP), mesh_settings("trustDomain: one")].concat());
    bench.outbound(redirected());
    bench.memo.take_cost();
    bench.apply(&mesh_settings("trustDomain: two"));
    let cost = bench.memo.take_cost();
    assert_eq!((cost.made("settings of listeners"), cost.changed("settings of listeners")), (1, 0));
    assert_eq!(cost.made("listener"), 0);
    bench.apply(&mesh_settings("accessLogFile: /dev/stdout"));
    assert_eq!(bench.memo.take_cost().changed("listener"), 2);
}

#[test]
fn workloads_of_one_class_share_the_inbound_listener() {
    let bench = Bench::of(&service("a", None, HTTP));
    assert!(Arc::ptr_eq(&bench.inbound("a"), &bench.inbound("a")));
    assert_eq!(bench.memo.take_cost().made("listener"), 1);
}
