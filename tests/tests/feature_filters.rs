//! EnvoyFilters: both forms of routes, what stays shared, what comes back, and what Envoy refuses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper may panic as the test may")]

use std::sync::Arc;

use meltemi_catalog::View;
use meltemi_model::Event;
use meltemi_model::proxy::Proxy;
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_tests::mesh::{engine, large, proxy, route, service, sidecar, upserts};
use meltemi_tests::served::{decoded, names, served};
use meltemi_views::{Engine, Options, ProxyId, Refused, Withholding};
use serde_json::{Value, json};

const HOST: &str = "80/s0.shop.svc.cluster.local";
const CLUSTER: &str = "outbound|80|v1|s0.shop.svc.cluster.local";

fn filter(name: &str, patches: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: shop}}
spec:
  configPatches:
{patches}"
    )
}

/// Patches of all that routes are made of.
const ROUTES: &str = "
  - applyTo: ROUTE_CONFIGURATION
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: '80'}}
    patch: {operation: MERGE, value: {response_headers_to_remove: [x-head]}}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 's0.shop.svc.cluster.local:80'}}}
    patch: {operation: MERGE, value: {response_headers_to_remove: [x-host]}}
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 's0.shop.svc.cluster.local:80', route: {action: ROUTE}}}}
    patch: {operation: MERGE, value: {response_headers_to_remove: [x-route]}}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 's1.shop.svc.cluster.local:80'}}}
    patch: {operation: REMOVE}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: '80'}}
    patch: {operation: ADD, value: {name: new, domains: [new.example], routes: [{match: {prefix: /}, route: {cluster: 'outbound|80|v1|s0.shop.svc.cluster.local'}}]}}
";

/// A cluster that Envoy refuses for what is in it.
const BAD: &str = "
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: s0.shop.svc.cluster.local, subset: v1}}
    patch: {operation: MERGE, value: {connect_timeout: 0s}}
";

fn sotw() -> Arc<Proxy> {
    proxy("b.shop", &[], "REDIRECT", false)
}

/// The virtual hosts of port 80 without their names, by their first domain.
fn hosts(view: &View) -> Vec<Value> {
    let mut hosts: Vec<Value> = if view.count(TypeUrl::VirtualHost) > 0 {
        let named = names(view, TypeUrl::VirtualHost).into_iter().filter(|name| name.starts_with("80/"));
        named.map(|name| decoded(view, TypeUrl::VirtualHost, &name)).collect()
    } else {
        decoded(view, TypeUrl::Route, "80")["virtual_hosts"].as_array().unwrap().clone()
    };
    for host in &mut hosts {
        host.as_object_mut().unwrap().remove("name");
    }
    hosts.sort_by_key(|host| host["domains"][0].to_string());
    hosts
}

#[test]
fn routes_are_patched_alike_as_virtual_hosts_of_their_own_and_in_whole_route_configurations() {
    let mut engine = engine(Options::default(), &format!("{}{}", large(3), filter("routes", ROUTES)));
    let delta = engine.connect(sidecar("a.shop", &[]));
    let whole = engine.connect(sotw());
    let (delta, whole) = (engine.view(delta), engine.view(whole));
    assert_eq!(hosts(&delta), hosts(&whole));
    for view in [&delta, &whole] {
        assert_eq!(decoded(view, TypeUrl::Route, "80")["response_headers_to_remove"], json!(["x-head"]));
        let patched = hosts(view).into_iter().find(|host| host["domains"][0] == "s0.shop.svc.cluster.local");
        let patched = patched.unwrap();
        assert_eq!(patched["response_headers_to_remove"], json!(["x-host"]));
        assert_eq!(patched["routes"][0]["response_headers_to_remove"], json!(["x-route"]));
        let domains: Vec<Value> = hosts(view).into_iter().map(|host| host["domains"][0].clone()).collect();
        assert!(
            domains.contains(&json!("new.example")) && !domains.contains(&json!("s1.shop.svc.cluster.local"))
        );
    }
    // As a resource a virtual host is called as it is asked for.
    assert_eq!(decoded(&delta, TypeUrl::VirtualHost, HOST)["name"], HOST);
}

#[test]
fn what_no_patch_touches_is_the_same_resource_and_all_comes_back_when_the_filter_goes() {
    let mut engine = engine(Options::default(), &large(3));
    let ids = [engine.connect(sidecar("a.shop", &[])), engine.connect(sotw())];
    let other = engine.connect(sidecar("c.web", &[]));
    let before: Vec<_> = ids.iter().map(|id| served(&engine.view(*id))).collect();
    let elsewhere = served(&engine.view(other));
    let (layers, host) = (engine.layer_count(), engine.view(ids[0]));
    engine.apply(upserts(&filter("routes", ROUTES)));
    let patched = engine.view(ids[0]);
    let pointer =
        |view: &View, type_url, name: &str| Arc::clone(&view.find(type_url, name).unwrap().resource);
    for (type_url, name) in
        [(TypeUrl::VirtualHost, "80/s2.shop.svc.cluster.local"), (TypeUrl::Cluster, CLUSTER)]
    {
        let (before, after) = (pointer(&host, type_url, name), pointer(&patched, type_url, name));
        assert!(Arc::ptr_eq(&before, &after), "{name} is not touched");
    }
    assert_ne!(pointer(&host, TypeUrl::VirtualHost, HOST), pointer(&patched, TypeUrl::VirtualHost, HOST));
    assert_eq!(served(&engine.view(other)), elsewhere, "another namespace");
    engine.apply([Event::Delete(ObjectKey::new(Kind::EnvoyFilter, "shop", "routes"))]);
    let after: Vec<_> = ids.iter().map(|id| served(&engine.view(*id))).collect();
    assert!(before == after, "the bytes are as they were");
    assert_eq!(engine.layer_count(), layers);
}

#[test]
fn the_bytes_of_a_patched_mesh_are_the_same_each_time() {
    let yaml = format!("{}{}{}", large(2), filter("routes", ROUTES), filter("metadata", "
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {metadata: {filter_metadata: {a: {x: 1}, b: {y: 2, z: 3}, c: {}, d: {}, e: {}}}}}
"));
    let made = || {
        let mut engine = engine(Options::default(), &yaml);
        let id = engine.connect(sidecar("a.shop", &[]));
        served(&engine.view(id))
    };
    let first = made();
    assert!((0..5).all(|_| made() == first));
}

struct Broken {
    engine: Engine,
    ids: [ProxyId; 2],
}

fn timeout(view: &View) -> String {
    decoded(view, TypeUrl::Cluster, CLUSTER)["connect_timeout"].as_str().unwrap_or("0s").to_owned()
}

fn in_force(view: &View, type_url: TypeUrl, name: &str) -> Refused {
    let resource = &view.find(type_url, name).unwrap().resource;
    Refused { type_url, name: name.into(), version: resource.version() }
}

/// Both forms of clients refuse the patched cluster, each alone.
fn broken() -> Broken {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    let ids = [engine.connect(sidecar("a.shop", &[])), engine.connect(sotw())];
    engine.apply(upserts(&filter("bad", BAD)));
    Broken { engine, ids }
}

#[test]
fn one_refusal_of_a_patched_resource_brings_the_one_without_patches_and_names_the_filter() {
    let Broken { mut engine, ids: [a, b] } = broken();
    let bad = in_force(&engine.view(a), TypeUrl::Cluster, CLUSTER);
    assert_eq!(timeout(&engine.view(a)), "0s");
    let moved = engine.refused(a, bad, false);
    assert!(moved.contains(&a), "{moved:?}");
    assert_eq!(timeout(&engine.view(a)), "10s");
    // Whoever comes is served it so, too.
    let late = engine.connect(sidecar("late.shop", &[]));
    assert_eq!((timeout(&engine.view(late)), timeout(&engine.view(b))), ("10s".into(), "10s".into()));
    let withheld: Vec<_> = engine.withheld().values().flatten().collect();
    let filter = ObjectKey::new(Kind::EnvoyFilter, "shop", "bad");
    assert!(!withheld.is_empty());
    for withheld in withheld {
        assert_eq!((&withheld.why, &withheld.origin), (&Withholding::Refused, &vec![filter.clone()]));
    }
    // All else goes on: another rule of the same service is in force, and what is mended.
    engine.apply(upserts(&route(0, 50)));
    let host = decoded(&engine.view(a), TypeUrl::VirtualHost, HOST);
    assert_eq!(host["routes"][0]["route"]["weighted_clusters"]["clusters"][1]["weight"], 50);
    engine.apply(upserts(&filter_of("3s")));
    assert_eq!(timeout(&engine.view(a)), "3s");
    assert!(engine.withheld().is_empty());
}

fn filter_of(timeout: &str) -> String {
    filter("bad", &BAD.replace("0s", timeout))
}

#[test]
fn a_change_beneath_a_refused_patch_is_served_without_the_patch() {
    let Broken { mut engine, ids: [a, _] } = broken();
    let bad = in_force(&engine.view(a), TypeUrl::Cluster, CLUSTER);
    engine.refused(a, bad, false);
    engine.apply(upserts(
        &service(0).replace(
            "host: s0\n",
            "host: s0\n  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}\n",
        ),
    ));
    let again = in_force(&engine.view(a), TypeUrl::Cluster, CLUSTER);
    engine.refused(a, again, false);
    let cluster = decoded(&engine.view(a), TypeUrl::Cluster, CLUSTER);
    assert_eq!(cluster["circuit_breakers"]["thresholds"][0]["max_connections"], 7);
    assert_eq!(timeout(&engine.view(a)), "10s");
}

#[test]
fn a_bad_change_of_a_good_patch_leaves_the_good_one_in_force() {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), filter_of("3s")));
    let a = engine.connect(sidecar("a.shop", &[]));
    engine.apply(upserts(&filter_of("0s")));
    let bad = in_force(&engine.view(a), TypeUrl::Cluster, CLUSTER);
    engine.refused(a, bad, false);
    assert_eq!(timeout(&engine.view(a)), "3s");
    let late = engine.connect(sidecar("late.shop", &[]));
    assert_eq!(timeout(&engine.view(late)), "3s");
}

#[test]
fn a_virtual_host_is_not_added_for_a_domain_that_another_has() {
    let add = |name: &str, domain: &str| {
        filter(name, &format!("
  - applyTo: VIRTUAL_HOST
    match: {{context: SIDECAR_OUTBOUND, routeConfiguration: {{name: '80'}}}}
    patch: {{operation: ADD, value: {{name: {name}, domains: ['{domain}'], routes: [{{match: {{prefix: /}}, direct_response: {{status: 418}}}}]}}}}
"))
    };
    let free = "
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: allow_any}}}
    patch: {operation: REMOVE}
";
    let yaml = [
        service(0),
        add("a", "s0.shop.svc.cluster.local"),
        add("b", "one.example"),
        add("c", "one.example"),
        add("d", "*"),
    ];
    let mut engine = engine(Options::default(), &yaml.concat());
    let ids = [engine.connect(sidecar("a.shop", &[])), engine.connect(sotw())];
    let teapots = |view: &View| -> Vec<Value> {
        let added =
            hosts(view).into_iter().filter(|host| host["routes"][0]["direct_response"]["status"] == 418);
        added.map(|host| host["domains"].clone()).collect()
    };
    for id in ids {
        assert_eq!(teapots(&engine.view(id)), [json!(["one.example"])]);
    }
    let found: Vec<_> =
        engine.findings().into_iter().filter(|finding| finding.code == "domain-taken").collect();
    assert_eq!(found.len(), 1, "{found:?}");
    // What a patch frees another may take.
    engine.apply(upserts(&filter("free", free)));
    for id in ids {
        assert_eq!(teapots(&engine.view(id)), [json!(["*"]), json!(["one.example"])]);
    }
}

#[test]
fn a_refused_route_configuration_is_served_whole_without_patches() {
    let mut engine = engine(Options::default(), &format!("{}{}", large(2), filter("routes", ROUTES)));
    let id = engine.connect(sotw());
    let bad = in_force(&engine.view(id), TypeUrl::Route, "80");
    engine.refused(id, bad, false);
    let view = engine.view(id);
    assert_eq!(decoded(&view, TypeUrl::Route, "80").get("response_headers_to_remove"), None);
    let added = hosts(&view).into_iter().any(|host| host["domains"][0] == "new.example");
    assert!(!added && hosts(&view).len() == 2, "one service, and what is unknown");
}
