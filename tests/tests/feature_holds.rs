//! Holds through the whole engine: from YAML to what is served.

#![allow(clippy::unwrap_used, reason = "a test's helper may panic as the test may")]

use meltemi_catalog::View;
use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_tests::mesh::{engine, route, service, sidecar, upserts};
use meltemi_tests::served::{decoded, names};
use meltemi_views::{Options, Withholding};

const HOST: &str = "80/s0.shop.svc.cluster.local";

/// The clusters that requests to the service go to, with their weights.
fn split(view: &View) -> Vec<(String, u64)> {
    let host = decoded(view, TypeUrl::VirtualHost, HOST);
    let route = &host["routes"][0]["route"];
    match route["weighted_clusters"]["clusters"].as_array() {
        Some(clusters) => clusters
            .iter()
            .map(|cluster| {
                (cluster["name"].as_str().unwrap().to_owned(), cluster["weight"].as_u64().unwrap())
            })
            .collect(),
        None => vec![(route["cluster"].as_str().unwrap().to_owned(), 100)],
    }
}

fn subset(name: &str) -> String {
    format!("outbound|80|{name}|s0.shop.svc.cluster.local")
}

fn rule(subsets: &[&str]) -> Vec<Event> {
    let subsets: Vec<String> =
        subsets.iter().map(|name| format!("{{name: {name}, labels: {{version: {name}}}}}")).collect();
    upserts(&format!(
        "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: s0, namespace: shop}}, spec: {{host: s0, subsets: [{}]}}}}",
        subsets.join(", ")
    ))
}

fn to_v3() -> Vec<Event> {
    upserts(
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: s0, namespace: shop}, \
         spec: {hosts: [s0], http: [{route: [{destination: {host: s0, subset: v3}}]}]}}",
    )
}

#[test]
fn a_route_to_a_subset_that_does_not_exist_yet_keeps_its_last_good_until_it_does() {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    let client = engine.connect(sidecar("client.shop", &[]));
    let good = vec![(subset("v1"), 90), (subset("v2"), 10)];
    assert_eq!(split(&engine.view(client)), good);
    engine.apply(to_v3());
    assert_eq!(split(&engine.view(client)), good);
    assert_eq!(engine.held(client)[0].missing[0].as_str(), subset("v3"));
    let codes: Vec<&str> = engine.findings().iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"subset-not-found"), "the user is told: {codes:?}");
    engine.apply(rule(&["v1", "v2", "v3"]));
    assert_eq!(split(&engine.view(client)), [(subset("v3"), 100)]);
    assert!(engine.held(client).is_empty());
}

#[test]
fn a_proxy_that_restarts_while_a_route_is_held_finds_its_last_good_again() {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    let client = engine.connect(sidecar("client.shop", &[]));
    engine.apply(to_v3());
    engine.disconnect(client);
    let again = engine.connect(sidecar("client.shop", &[]));
    assert_eq!(split(&engine.view(again)), [(subset("v1"), 90), (subset("v2"), 10)]);
    engine.disconnect(again);
    let layers = engine.layer_count();
    engine.apply(rule(&["v1", "v2", "v3"]));
    assert!(engine.layer_count() < layers, "what holds nothing and serves nobody is forgotten");
}

#[test]
fn a_subset_outlives_the_last_route_that_names_it_and_follows_its_endpoints() {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    let client = engine.connect(sidecar("client.shop", &[]));
    engine.apply(rule(&["v1"]));
    let view = engine.view(client);
    assert!(view.find(TypeUrl::Cluster, &subset("v2")).is_some());
    engine.apply(upserts(
        "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: s0-v2, namespace: shop}, spec: {address: 10.77.0.7, labels: {app: s0, version: v2}}}",
    ));
    let assignment = decoded(&engine.view(client), TypeUrl::Endpoint, &subset("v2")).to_string();
    assert!(assignment.contains("10.77.0.7"), "{assignment}");
    engine.apply([Event::Delete(ObjectKey::new(Kind::VirtualService, "shop", "s0"))]);
    let view = engine.view(client);
    assert!(view.find(TypeUrl::Cluster, &subset("v2")).is_none());
    assert!(view.find(TypeUrl::Endpoint, &subset("v2")).is_none());
}

#[test]
fn holds_off_is_istios_way() {
    let options = Options { holds: false, ..Options::default() };
    let mut engine = engine(options, &format!("{}{}", service(0), route(0, 10)));
    let client = engine.connect(sidecar("client.shop", &[]));
    engine.apply(to_v3());
    assert_eq!(split(&engine.view(client)), [(subset("v3"), 100)]);
    assert!(!names(&engine.view(client), TypeUrl::Cluster).contains(&subset("v3")));
}

/// What is withheld: name, since, the clusters that are missing if it is held for such.
fn withheld(engine: &meltemi_views::Engine) -> Vec<(String, u64, Option<Vec<String>>)> {
    let all = engine.withheld().values().flatten();
    all.map(|withheld| {
        let missing = match &withheld.why {
            Withholding::Missing(missing) => Some(missing.iter().map(ToString::to_string).collect()),
            Withholding::Needed | Withholding::Refused => None,
        };
        (withheld.name.to_string(), withheld.since.0, missing)
    })
    .collect()
}

#[test]
fn what_is_withheld_is_told_with_the_state_since_which_it_is_and_what_is_missing() {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    engine.connect(sidecar("client.shop", &[]));
    assert!(engine.withheld().is_empty());
    let since = engine.apply(to_v3()).generation.0;
    let held = vec![(HOST.to_owned(), since, Some(vec![subset("v3")]))];
    assert_eq!(withheld(&engine), held, "only what is missing, not all that it needs");
    let told = std::sync::Arc::clone(engine.withheld());
    engine.apply(upserts(&service(1)));
    assert!(std::sync::Arc::ptr_eq(&told, engine.withheld()), "an unrelated change does not tell it anew");
    // A later state that waits too: what is in force is still of before the first.
    let later = to_v3().into_iter().chain(upserts(&route(1, 5)));
    engine.apply(later);
    assert_eq!(withheld(&engine), held);
    engine.apply(rule(&["v1", "v2", "v3"]));
    assert!(engine.withheld().is_empty());
}

#[test]
fn a_cluster_that_only_a_route_in_force_needs_is_told_until_it_goes() {
    let mut engine = engine(Options::default(), &format!("{}{}", service(0), route(0, 10)));
    engine.connect(sidecar("client.shop", &[]));
    let since = engine.apply(rule(&["v1"])).generation.0;
    // The route itself is made as before, so nothing of it waits.
    assert_eq!(withheld(&engine), [(subset("v2"), since, None)]);
    engine.apply([Event::Delete(ObjectKey::new(Kind::VirtualService, "shop", "s0"))]);
    assert!(engine.withheld().is_empty());
}
