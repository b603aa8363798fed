//! What a change costs: counted.

use meltemi_memo::Cost;
use meltemi_model::Event;
use serde_json::json;

use super::{Routes, RoutesKey, caller, selector, service, virtual_service};
use crate::key::PartKey;

fn canary(at: usize, v2: u32) -> Event {
    virtual_service(
        &format!("n{}/s{at}", at % 10),
        json!({"hosts": [format!("s{at}")], "http": [{"route": [
            {"destination": {"host": format!("s{at}"), "subset": "v1"}, "weight": 100 - v2},
            {"destination": {"host": format!("s{at}"), "subset": "v2"}, "weight": v2},
        ]}]}),
    )
}

/// A mesh of that many services in ten namespaces, each with a VirtualService.
fn mesh(services: usize) -> impl Iterator<Item = Event> {
    (0..services).flat_map(|at| [service(&format!("n{}/s{at}", at % 10), 80, "http"), canary(at, 10)])
}

/// The cost of one weight change, with callers in all ten namespaces and in both modes.
fn one_weight(services: usize) -> Cost {
    let mut routes = Routes::of(caller("n0"), mesh(services));
    for namespace in 1..10 {
        for virtual_hosts in [true, false] {
            let key = PartKey::Routes(RoutesKey { virtual_hosts, ..caller(&format!("n{namespace}")) });
            let (_, members) = key.observe(&routes.memo, routes.store.mesh());
            for member in members.iter() {
                member.observe(&routes.memo, routes.store.mesh());
            }
        }
    }
    routes.memo.take_cost();
    let changes = routes.store.apply([canary(7, 50)]);
    routes.memo.apply(routes.store.mesh(), changes.entries());
    routes.memo.take_cost()
}

#[test]
fn a_weight_remakes_one_body_whatever_the_size_of_the_mesh() {
    let cost = one_weight(100);
    assert_eq!(cost.made("virtual host body"), 1);
    assert_eq!(cost.made("part: routes"), 0);
    assert_eq!(cost.made("route configuration"), 0);
    // Near and far, alone and in a whole configuration: four spellings of its name and domains over one body.
    assert_eq!(cost.made("virtual host"), 4);
    assert_eq!(cost.changed("virtual service outline"), 0);
    let all: usize = cost.made.values().sum();
    assert_eq!(all, 1 + 4 + 1, "{:?}", cost.made);
    assert_eq!(one_weight(1_000), cost);
}

#[test]
fn callers_of_all_namespaces_share_one_body() {
    let routes = Routes::of(caller("n0"), mesh(20));
    for namespace in ["n1", "elsewhere", "nowhere"] {
        routes.memo.take_cost();
        let key = PartKey::Routes(caller(namespace));
        let (_, members) = key.observe(&routes.memo, routes.store.mesh());
        for member in members.iter() {
            member.observe(&routes.memo, routes.store.mesh());
        }
        assert_eq!(routes.memo.take_cost().made("virtual host body"), 0, "{namespace}");
    }
}

#[test]
fn labels_make_bodies_only_of_the_virtual_services_that_ask_for_them() {
    let asks = virtual_service(
        "n0/s0",
        json!({"hosts": ["s0"], "http": [
            {"match": [{"sourceLabels": {"app": "batch"}}], "directResponse": {"status": 201}},
            {"directResponse": {"status": 202}},
        ]}),
    );
    let mut routes = Routes::of(caller("n0"), mesh(20));
    routes.apply([asks]);
    routes.memo.take_cost();
    let key =
        RoutesKey { selectors: [selector("app", "batch"), selector("app", "other")].into(), ..caller("n0") };
    let (_, members) = PartKey::Routes(key).observe(&routes.memo, routes.store.mesh());
    for member in members.iter() {
        member.observe(&routes.memo, routes.store.mesh());
    }
    assert_eq!(routes.memo.take_cost().made("virtual host body"), 1);
}

#[test]
fn an_unrelated_service_remakes_no_body() {
    let mut routes = Routes::of(caller("n0"), mesh(50));
    routes.memo.take_cost();
    routes.apply([service("n3/another", 80, "http")]);
    let cost = routes.memo.take_cost();
    assert_eq!((cost.made("virtual host body"), cost.made("virtual host")), (1, 1), "its own");
}
