//! What a change costs, counted: which answers were made again, and what differs in the views.

use meltemi_catalog::{Generation, View};
use meltemi_names::TypeUrl;
use meltemi_tests::mesh::{engine, large, route, sidecar, upserts};
use meltemi_views::{Engine, Options, ProxyId};

/// The names that changed in a view after `position`, by type.
fn sent(before: &View, after: &View) -> Vec<String> {
    let position = before.position();
    assert!(after.continues(&position), "a change must not move a proxy to other layers");
    TypeUrl::ALL
        .into_iter()
        .flat_map(|type_url| after.changes_since(type_url, &position).collect::<Vec<(Generation, _)>>())
        .map(|(_, change)| format!("{} {}", change.resource().type_url(), change.resource().name()))
        .collect()
}

fn mesh(services: usize) -> (Engine, ProxyId) {
    let mut engine = engine(Options::default(), &large(services));
    let client = engine.connect(sidecar("client.shop", &[("app", "client")]));
    engine.take_cost();
    (engine, client)
}

#[test]
fn one_weight_remakes_one_virtual_host_body_and_nothing_else() {
    let (mut engine, client) = mesh(1_000);
    // Proxies of other namespaces see the same services under other names; the body is shared.
    for namespace in ["a", "b", "c"] {
        engine.connect(sidecar(&format!("x.{namespace}"), &[]));
    }
    engine.take_cost();
    let before = engine.view(client);
    engine.apply(upserts(&route(17, 50)));
    let cost = engine.take_cost();
    assert_eq!(cost.changed("virtual host body"), 1, "{cost:?}");
    assert_eq!(cost.made("cluster") + cost.made("assignment") + cost.made("listener"), 0, "{cost:?}");
    assert_eq!(cost.made("route configuration"), 0, "{cost:?}");
    assert!(cost.made.keys().all(|name| !name.starts_with("part")), "no set is made again: {cost:?}");
    assert_eq!(sent(&before, &engine.view(client)), ["VHDS 80/s17.shop.svc.cluster.local"]);
}

#[test]
fn one_endpoint_remakes_the_assignments_that_hold_it_and_no_other() {
    let (mut engine, client) = mesh(1_000);
    let before = engine.view(client);
    engine.apply(upserts(
        "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: s17-v2, namespace: shop}, spec: {address: 10.200.0.1, labels: {app: s17, version: v2}}}",
    ));
    let cost = engine.take_cost();
    assert_eq!(cost.changed("assignment"), 2, "the service's and subset v2's: {cost:?}");
    assert_eq!(cost.made("cluster") + cost.made("listener") + cost.made("virtual host body"), 0, "{cost:?}");
    assert_eq!(
        sent(&before, &engine.view(client)),
        ["EDS outbound|80|v2|s17.shop.svc.cluster.local", "EDS outbound|80||s17.shop.svc.cluster.local"]
    );
}

#[test]
fn an_unrelated_object_remakes_nothing() {
    let (mut engine, client) = mesh(100);
    let before = engine.view(client);
    engine.apply(upserts(
        "{apiVersion: v1, kind: Pod, metadata: {name: alone, namespace: shop, labels: {app: nobody}}, spec: {containers: []}, status: {phase: Running, podIP: 10.250.0.1}}",
    ));
    let cost = engine.take_cost();
    assert!(cost.changed.is_empty(), "{cost:?}");
    assert!(sent(&before, &engine.view(client)).is_empty());
}

#[test]
fn a_label_that_no_rule_reads_makes_no_layer() {
    let (mut engine, _) = mesh(10);
    let layers = engine.layer_count();
    for index in 0..50 {
        engine.connect(sidecar(
            &format!("client-{index}.shop"),
            &[("app", "client"), ("build", &index.to_string())],
        ));
    }
    assert_eq!(engine.layer_count(), layers);
}

/// Four sidecars in two zones.
fn in_zones(engine: &mut Engine) -> Vec<ProxyId> {
    let place = |index: usize| format!("eu/eu-{}", index % 2);
    let proxy = |index: usize| {
        let labels = [("app", "client"), ("topology.istio.io/locality", &*place(index))];
        sidecar(&format!("client-{index}.shop"), &labels)
    };
    (0..4).map(|index| engine.connect(proxy(index))).collect()
}

#[test]
fn where_a_caller_runs_makes_a_layer_only_while_a_service_prefers_what_is_near() {
    let (mut engine, _) = mesh(10);
    let layers = engine.layer_count();
    let proxies = in_zones(&mut engine);
    assert_eq!(engine.layer_count(), layers, "nothing reads it");
    let near = |index: usize| {
        meltemi_tests::mesh::service(index).replacen(
            "spec:",
            "spec:\n  trafficDistribution: PreferSameZone",
            1,
        )
    };
    engine.apply(upserts(&near(3)));
    // The first client runs nowhere that is known.
    assert_eq!(engine.layer_count(), layers + 2, "one for each zone");
    let assignment = |proxy: ProxyId, service: &str| {
        let name = format!("outbound|80||{service}.shop.svc.cluster.local");
        engine.view(proxy).find(TypeUrl::Endpoint, &name).map(|live| std::sync::Arc::as_ptr(&live.resource))
    };
    assert!(assignment(proxies[0], "s4").is_some());
    assert_eq!(assignment(proxies[0], "s4"), assignment(proxies[1], "s4"), "that service prefers nothing");
    assert_eq!(assignment(proxies[0], "s3"), assignment(proxies[2], "s3"), "the same zone");
}

/// The rule of service 3, with a policy.
fn ruled(policy: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: s3, namespace: shop}}, spec: {{host: s3, trafficPolicy: {policy}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}}}"
    )
}

#[test]
fn a_rule_makes_layers_by_what_it_reads_of_callers_and_by_nothing_else() {
    let (mut engine, _) = mesh(10);
    let layers = engine.layer_count();
    let proxies = in_zones(&mut engine);
    let outliers = "outlierDetection: {consecutive5xxErrors: 3}";
    let mut count = |policy: &str| {
        engine.apply(upserts(&ruled(policy)));
        let found = engine.layer_count() - layers;
        let assignment = |proxy: ProxyId, service: &str| {
            let name = format!("outbound|80||{service}.shop.svc.cluster.local");
            let view = engine.view(proxy);
            view.find(TypeUrl::Endpoint, &name).map(|live| std::sync::Arc::as_ptr(&live.resource))
        };
        assert!(assignment(proxies[0], "s4").is_some());
        assert_eq!(
            assignment(proxies[0], "s4"),
            assignment(proxies[1], "s4"),
            "{policy}: of another service"
        );
        (found, assignment(proxies[0], "s3") == assignment(proxies[1], "s3"))
    };
    let lb = |setting: &str| format!("{{loadBalancer: {{localityLbSetting: {setting}}}, {outliers}}}");
    assert_eq!(count("{connectionPool: {tcp: {maxConnections: 9}}}"), (0, true), "nothing is read");
    assert_eq!(count(&lb("{enabled: false}")), (0, true), "it is switched off");
    // Who is in one region is told from who is nowhere.
    assert_eq!(count(&lb("{distribute: [{from: eu, to: {eu: 100}}]}")), (1, true), "the region");
    assert_eq!(count(&lb("{failoverPriority: [app]}")), (0, true), "a label that all of them have");
    assert_eq!(count(&lb("{failoverPriority: [app=cart]}")), (0, true), "a value of the rule's own");
    // These endpoints run nowhere that is known, and are equally far from both: the assignments come out equal.
    assert_eq!(count(&format!("{{{outliers}}}")).0, 2, "each zone");
    assert_eq!(count("{connectionPool: {tcp: {maxConnections: 9}}}"), (0, true), "and back");
}

#[test]
fn a_weight_change_reads_as_much_in_a_small_mesh_as_in_a_large_one() {
    let entries = |services: usize| {
        let (mut engine, _) = mesh(services);
        engine.apply(upserts(&route(17, 50)));
        engine.take_cost().entries_read
    };
    let (small, large) = (entries(100), entries(2_000));
    assert!(small > 0 && large <= small * 6 / 5, "{small} entries at 100 services, {large} at 2,000");
}

#[test]
fn findings_are_gathered_only_when_they_differ() {
    let (mut engine, _) = mesh(10);
    assert!(!engine.apply(upserts(&route(3, 50))).findings, "a weight finds nothing new");
    let to_missing = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: s3, namespace: shop}, \
                      spec: {hosts: [s3], http: [{route: [{destination: {host: s3, subset: v9}}]}]}}";
    assert!(engine.apply(upserts(to_missing)).findings);
    assert!(engine.findings().iter().any(|finding| finding.code == "subset-not-found"));
    assert!(engine.apply(upserts(&route(3, 50))).findings, "mended is a difference, too");
}
