//! What two proxies of one build refuse is set aside for that build, and for no other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper may panic as the test may")]

use std::sync::Arc;

use meltemi_catalog::View;
use meltemi_model::proxy::Proxy;
use meltemi_names::TypeUrl;
use meltemi_tests::mesh::{engine, proxy, route, service, upserts};
use meltemi_tests::served::decoded;
use meltemi_views::{Engine, Options, ProxyId, Refused, Withholding};

const HOST: &str = "80/s0.shop.svc.cluster.local";

fn of_build(name: &str, build: &str) -> Arc<Proxy> {
    let proxy = proxy(&format!("{name}.shop"), &[], "REDIRECT", true);
    Arc::new(Proxy { build: build.into(), ..(*proxy).clone() })
}

/// The share of v2 in what a proxy is served.
fn share(view: &View) -> u64 {
    let host = decoded(view, TypeUrl::VirtualHost, HOST);
    host["routes"][0]["route"]["weighted_clusters"]["clusters"][1]["weight"].as_u64().unwrap()
}

fn in_force(view: &View) -> Refused {
    let resource = &view.find(TypeUrl::VirtualHost, HOST).unwrap().resource;
    Refused { type_url: TypeUrl::VirtualHost, name: HOST.into(), version: resource.version() }
}

struct Mesh {
    engine: Engine,
    old: [ProxyId; 2],
    new: ProxyId,
}

fn mesh() -> Mesh {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    let old = ["a", "b"].map(|name| engine.connect(of_build(name, "envoy/1.39.0")));
    let new = engine.connect(of_build("c", "envoy/1.40.0"));
    engine.apply(upserts(&route(0, 50)));
    Mesh { engine, old, new }
}

#[test]
fn two_refusals_set_the_bytes_aside_for_the_build_and_new_proxies_start_with_the_last_good() {
    let Mesh { mut engine, old: [a, b], new } = mesh();
    let bad = in_force(&engine.view(a));
    assert!(engine.refused(a, bad.clone(), false).is_empty(), "one proxy's refusal is its own");
    assert_eq!(engine.refused(b, bad, false), [a, b]);
    assert_eq!((share(&engine.view(a)), share(&engine.view(b)), share(&engine.view(new))), (10, 10, 50));
    let late = engine.connect(of_build("d", "envoy/1.39.0"));
    assert_eq!(share(&engine.view(late)), 10);
    engine.apply(upserts(&route(0, 60)));
    assert_eq!((share(&engine.view(a)), share(&engine.view(late)), share(&engine.view(new))), (60, 60, 60));
    engine.apply(upserts(&route(0, 50)));
    assert_eq!((share(&engine.view(a)), share(&engine.view(new))), (60, 50), "the same bytes are still bad");
}

#[test]
fn what_another_proxy_of_the_build_accepted_is_not_set_aside() {
    let Mesh { mut engine, old: [a, b], .. } = mesh();
    let bad = in_force(&engine.view(a));
    engine.refused(a, bad.clone(), false);
    assert!(engine.refused(b, bad, true).is_empty());
    assert_eq!(share(&engine.view(a)), 50);
}

#[test]
fn the_last_good_outlives_the_proxies_that_refused() {
    let Mesh { mut engine, old: [a, b], .. } = mesh();
    let bad = in_force(&engine.view(a));
    engine.refused(a, bad.clone(), false);
    engine.refused(b, bad, false);
    engine.disconnect(a);
    engine.disconnect(b);
    let late = engine.connect(of_build("e", "envoy/1.39.0"));
    assert_eq!(share(&engine.view(late)), 10);
}

#[test]
fn what_is_set_aside_is_told_as_withheld_since_the_state_that_brought_it() {
    let Mesh { mut engine, old: [a, b], .. } = mesh();
    let bad = in_force(&engine.view(a));
    let since = engine.generation();
    engine.refused(a, bad.clone(), false);
    assert!(engine.withheld().is_empty());
    engine.refused(b, bad, false);
    let [withheld] = engine.withheld().values().flatten().collect::<Vec<_>>()[..] else { panic!("one") };
    assert_eq!((withheld.name.as_str(), withheld.since, &withheld.why), (HOST, since, &Withholding::Refused));
    engine.apply(upserts(&route(0, 60)));
    assert!(engine.withheld().is_empty());
}
