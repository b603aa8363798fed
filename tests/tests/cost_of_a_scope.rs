//! What a Sidecar saves: what lies outside of a scope costs its proxies nothing, and what lies inside is shared with all others.

use std::sync::Arc;

use meltemi_catalog::View;
use meltemi_names::TypeUrl;
use meltemi_tests::mesh::{engine, sidecar, upserts};
use meltemi_views::{Engine, Options, ProxyId};

fn service(namespace: &str, index: usize, port: usize) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{index}, namespace: {namespace}}}, spec: {{clusterIP: 10.0.{}.{}, selector: \
         {{app: s{index}}}, ports: [{{name: http, port: {port}, targetPort: 8080}}, {{name: tcp, port: 9000}}]}}}}\n",
        index / 200,
        index % 200 + 1
    )
}

fn workload(namespace: &str, index: usize, last: usize) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: w{index}-{last}, namespace: {namespace}}}, spec: \
         {{address: 10.1.{}.{last}, labels: {{app: s{index}}}}}}}\n",
        index % 200
    )
}

const SCOPE: &str = "---\n{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: shop}, spec: \
                     {egress: [{hosts: [./*, web/s3.web.svc.cluster.local]}]}}\n";

/// Three services of namespace `shop` and `count` of `web`; a scoped proxy in `shop`, and one without a scope.
fn mesh(count: usize) -> (Engine, [ProxyId; 2]) {
    let shop = (0..3).map(|index| service("shop", index, 80) + &workload("shop", index, 1));
    let web = (0..count).map(|index| service("web", index, 80) + &workload("web", index, 1));
    let mut engine =
        engine(Options::default(), &shop.chain(web).chain([SCOPE.to_owned()]).collect::<String>());
    let proxies = ["a.shop", "a.other"].map(|id| engine.connect(sidecar(id, &[])));
    engine.take_cost();
    (engine, proxies)
}

fn names(view: &View, type_url: TypeUrl) -> Vec<String> {
    view.all(type_url).map(|live| live.resource.name().to_string()).collect()
}

/// Whether the layers of a view are the very same.
fn untouched(before: &View, after: &View) -> bool {
    let generations =
        |view: &View| view.layers().iter().map(|layer| (layer.id(), layer.generation())).collect::<Vec<_>>();
    generations(before) == generations(after)
}

#[test]
fn a_service_outside_of_the_scope_changes_and_nothing_is_sent_or_made_again_for_it() {
    let (mut engine, [scoped, unscoped]) = mesh(300);
    assert_eq!(
        names(&engine.view(scoped), TypeUrl::Cluster).len(),
        2 + 1 + 4 * 2,
        "of 303 services it has 4"
    );
    for change in [
        // An endpoint, a port, a rule, a service more.
        workload("web", 17, 2),
        service("web", 17, 8080),
        "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: r, namespace: web}, spec: {host: s17, trafficPolicy: \
         {connectionPool: {tcp: {maxConnections: 5}}}}}"
            .to_owned(),
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: r, namespace: web}, spec: {hosts: [s17], http: [{timeout: 3s, route: \
         [{destination: {host: s17}}]}]}}"
            .to_owned(),
        service("web", 900, 80),
    ] {
        let (before, other) = (engine.view(scoped), engine.view(unscoped));
        engine.apply(upserts(&change));
        assert!(untouched(&before, &engine.view(scoped)), "{change}");
        assert!(!untouched(&other, &engine.view(unscoped)), "{change}: who has no scope sees it");
    }
    // Alone in the mesh, the scoped proxy makes nothing again.
    engine.disconnect(unscoped);
    engine.take_cost();
    for change in [workload("web", 21, 2), service("web", 21, 8080), service("web", 901, 80)] {
        engine.apply(upserts(&change));
        let cost = engine.take_cost();
        for resource in
            ["cluster", "assignment", "listener", "route configuration", "virtual host", "virtual host body"]
        {
            assert_eq!(cost.made(resource), 0, "{resource} for {change}: {cost:?}");
        }
        for part in
            ["part: service", "part: listeners", "part: routes", "parts of a layer", "outbound listeners"]
        {
            assert_eq!(cost.made(part), 0, "{part} for {change}: {cost:?}");
        }
    }
}

#[test]
fn what_is_in_the_scope_is_shared_with_those_who_have_none() {
    let (engine, [scoped, unscoped]) = mesh(10);
    let (scoped, unscoped) = (engine.view(scoped), engine.view(unscoped));
    for type_url in [TypeUrl::Cluster, TypeUrl::Endpoint] {
        for live in scoped.all(type_url) {
            // What comes in is by workload.
            if live.resource.name().as_str().starts_with("Inbound") {
                continue;
            }
            let other = unscoped.find(type_url, live.resource.name().as_str());
            let other = other.unwrap_or_else(|| panic!("{type_url} {}", live.resource.name()));
            assert!(Arc::ptr_eq(&live.resource, &other.resource), "{type_url} {}", live.resource.name());
        }
    }
    assert!(names(&scoped, TypeUrl::Endpoint).len() == 8, "three services and one, of two ports each");
}

#[test]
fn a_mesh_that_is_scoped_by_name_asks_for_nobody_elses_services() {
    let mut all = String::new();
    for index in 0..300 {
        all += &service("web", index, 80);
    }
    all += "---\n{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: shop}, spec: {egress: [{hosts: \
            [web/s3.web.svc.cluster.local, web/s4.web.svc.cluster.local]}]}}\n";
    let mut engine = engine(Options::default(), &all);
    engine.take_cost();
    engine.connect(sidecar("a.shop", &[]));
    let cost = engine.take_cost();
    assert!(cost.made("service") <= 2, "{cost:?}");
    assert_eq!(cost.made("public services"), 0, "{cost:?}");
}
