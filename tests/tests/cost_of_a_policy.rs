//! What a PeerAuthentication, and a pod of a service account, cost: which answers were made again, and what differs in the views.

use meltemi_catalog::View;
use meltemi_names::TypeUrl;
use meltemi_tests::mesh::{engine, secured, upserts};
use meltemi_views::{Engine, Options, ProxyId};

/// A pod of service `index` with a sidecar, under the account of that service; all of them are one workload.
fn pod(index: usize, name: &str, last: usize) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: s{index}, \
         security.istio.io/tlsMode: istio, service.istio.io/workload-name: s{index}}}}}, spec: {{serviceAccountName: s{index}, containers: []}}, \
         status: {{podIP: 10.1.{index}.{last}}}}}\n"
    )
}

/// `count` services in namespace `shop`, each with one pod, the sidecars of all of these, and one of another namespace.
fn mesh(count: usize) -> (Engine, Vec<ProxyId>) {
    let service = |index: usize| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{index}, namespace: shop}}, \
             spec: {{selector: {{app: s{index}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}\n{}",
            pod(index, &format!("s{index}-a"), 1)
        )
    };
    let mut engine = engine(Options::default(), &(0..count).map(service).collect::<String>());
    let pods = (0..count).map(|index| format!("s{index}-a.shop"));
    let proxies = pods.chain(["client.web".to_owned()]).map(|id| engine.connect(secured(&id, &[]))).collect();
    engine.take_cost();
    (engine, proxies)
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: {name}, namespace: shop}}, spec: {spec}}}\n"
    )
}

/// The names of what differs between two views.
fn differs(before: &View, after: &View) -> Vec<String> {
    let version =
        |view: &View, type_url, name: &str| view.find(type_url, name).map(|live| live.resource.version());
    let mut names = Vec::new();
    for type_url in TypeUrl::ALL {
        let all =
            before.all(type_url).chain(after.all(type_url)).map(|live| live.resource.name().to_string());
        names.extend(
            all.filter(|name| version(before, type_url, name) != version(after, type_url, name))
                .map(|name| format!("{type_url} {name}")),
        );
    }
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_policy_of_one_workload_remakes_its_listener_and_nothing_of_others() {
    let (mut engine, proxies) = mesh(200);
    let own = "{selector: {matchLabels: {app: s17}}, mtls: {mode: STRICT}}";
    // The first makes the layer of the workload that it selects.
    for spec in [own.to_owned(), own.replace("STRICT", "PERMISSIVE"), own.to_owned()] {
        let before: Vec<View> = proxies.iter().map(|proxy| engine.view(*proxy)).collect();
        engine.apply(upserts(&policy("s17", &spec)));
        let cost = engine.take_cost();
        assert!(cost.made("listener") <= 1, "{spec}: {cost:?}");
        assert_eq!(cost.made("assignment") + cost.made("locality of an assignment"), 0, "{spec}: {cost:?}");
        // The workload's own, and that of the labels that the policy asks for, by which it finds whether it is overruled.
        assert!(cost.made("policy of a workload") <= 2, "{spec}: {cost:?}");
        assert!(cost.made("backend of a pod") <= 1, "{spec}: {cost:?}");
        assert_eq!(cost.changed("endpoints"), 0, "whom it asks for TLS is as before: {cost:?}");
        for (index, (proxy, before)) in proxies.iter().zip(&before).enumerate() {
            let differs = differs(before, &engine.view(*proxy));
            let expected: &[&str] = if index == 17 { &["LDS virtualInbound"] } else { &[] };
            assert_eq!(differs, expected, "{spec}, proxy {index}");
        }
    }
}

#[test]
fn a_port_without_tls_changes_the_endpoints_that_have_it_and_no_cluster() {
    let (mut engine, proxies) = mesh(200);
    let client = proxies[200];
    let before = engine.view(client);
    let spec = "{selector: {matchLabels: {app: s17}}, portLevelMtls: {8080: {mode: DISABLE}}}";
    engine.apply(upserts(&policy("s17", spec)));
    let cost = engine.take_cost();
    assert_eq!(cost.changed("assignment"), 1, "{cost:?}");
    assert_eq!(cost.changed("cluster"), 0, "{cost:?}");
    assert_eq!(
        differs(&before, &engine.view(client)),
        ["EDS outbound|80||s17.shop.svc.cluster.local"],
        "clients learn it from the endpoints"
    );
}

#[test]
fn an_endpoint_of_a_known_account_remakes_no_cluster() {
    let (mut engine, proxies) = mesh(50);
    let client = proxies[50];
    let before = engine.view(client);
    engine.apply(upserts(&pod(7, "s7-b", 2)));
    let cost = engine.take_cost();
    assert_eq!((cost.made("cluster"), cost.changed("assignment")), (0, 1), "{cost:?}");
    assert_eq!(differs(&before, &engine.view(client)), ["EDS outbound|80||s7.shop.svc.cluster.local"]);
    // One of another account is another name to look for.
    let before = engine.view(client);
    engine.apply(upserts(&pod(7, "s7-c", 3).replace("serviceAccountName: s7", "serviceAccountName: other")));
    let cost = engine.take_cost();
    assert_eq!((cost.changed("cluster"), cost.changed("assignment")), (1, 1), "{cost:?}");
    assert_eq!(
        differs(&before, &engine.view(client)),
        ["CDS outbound|80||s7.shop.svc.cluster.local", "EDS outbound|80||s7.shop.svc.cluster.local"]
    );
}

#[test]
fn proxies_of_one_policy_share_what_they_are_served() {
    let (mut engine, _) = mesh(3);
    let spec = "{selector: {matchLabels: {app: s1}}, mtls: {mode: STRICT}}";
    engine.apply(upserts(&(policy("s1", spec) + &pod(1, "s1-b", 2))));
    let [one, two] = ["s1-a.shop", "s1-b.shop"].map(|id| engine.connect(secured(id, &[])));
    let listener = |engine: &Engine, proxy| {
        let view = engine.view(proxy);
        let live =
            view.find(TypeUrl::Listener, "virtualInbound").map(|live| std::sync::Arc::as_ptr(&live.resource));
        live.expect("an inbound listener")
    };
    assert_eq!(listener(&engine, one), listener(&engine, two));
}
