//! Rules for connections: what a step costs, and that no two chains claim the same.

use serde_json::json;

use super::{Bench, json, needs, redirected, service};

fn route(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn split(v1: u32, v2: u32) -> String {
    route(
        "db",
        &format!(
            "{{hosts: [db], tcp: [{{route: [{{destination: {{host: db, subset: v1}}, weight: {v1}}}, {{destination: {{host: db, subset: v2}}, weight: {v2}}}]}}]}}"
        ),
    )
}

#[test]
fn a_weight_remakes_the_one_listener_and_no_set() {
    let many: Vec<String> = (1..50)
        .map(|at| service(&format!("s{at}"), Some(&format!("10.96.1.{at}")), "{name: tcp, port: 1}"))
        .collect();
    let mut bench = Bench::of(
        &[service("db", Some("10.96.0.1"), "{name: tcp, port: 1}"), split(90, 10), many.concat()].concat(),
    );
    assert_eq!(bench.outbound(redirected()).len(), 51);
    let cost = bench.apply(&split(50, 50));
    assert_eq!((cost.made("listener"), cost.changed("listener")), (1, 1), "{cost:?}");
    assert_eq!(cost.made("part: listeners"), 0, "{cost:?}");
    assert_eq!(cost.changed("virtual service outline"), 0);
    let db = &bench.outbound(redirected())["10.96.0.1_1"];
    let weighted =
        &json(db)["filter_chains"][0]["filters"][0]["typed_config"]["weighted_clusters"]["clusters"];
    assert_eq!((&weighted[0]["weight"], &weighted[1]["weight"]), (&json!(50), &json!(50)));
    assert_eq!(
        needs(db),
        ["CDS outbound|1|v1|db.default.svc.cluster.local", "CDS outbound|1|v2|db.default.svc.cluster.local"]
    );
    // A weight of 0 needs no cluster.
    bench.apply(&split(0, 100));
    assert_eq!(
        needs(&bench.outbound(redirected())["10.96.0.1_1"]),
        ["CDS outbound|1|v2|db.default.svc.cluster.local"]
    );
}

#[test]
fn a_mesh_without_such_rules_asks_for_them_once() {
    let mut bench = Bench::of(&service("db", Some("10.96.0.1"), "{name: tcp, port: 1}"));
    bench.outbound(redirected());
    let http = route("web", "{hosts: [web], http: [{route: [{destination: {host: web}}]}]}");
    let cost = bench.apply(&http);
    assert_eq!(cost.made("virtual services for connections") + cost.made("part: listeners"), 0, "{cost:?}");
}

#[test]
fn of_two_rules_for_one_name_and_block_the_first_is_a_chain() {
    let tls = |host: &str| format!("{{name: tls, port: 443}}, {{name: tcp-{host}, port: 9}}");
    let rules = |name: &str, host: &str| {
        route(
            name,
            &format!(
                "{{hosts: [{host}, both.example.com, {host}.example.com], tls: [{{match: [{{sniHosts: [both.example.com, {host}.example.com]}}], route: [{{destination: {{host: {host}}}}}]}}]}}"
            ),
        )
    };
    let bench = Bench::of(
        &[service("a", None, &tls("a")), service("b", None, &tls("b")), rules("one", "a"), rules("two", "b")]
            .concat(),
    );
    let listener = json(&bench.outbound(redirected())["0.0.0.0_443"]);
    let names: Vec<&serde_json::Value> = listener["filter_chains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chain| &chain["filter_chain_match"]["server_names"])
        .collect();
    assert_eq!(names, [&json!(["both.example.com", "a.example.com"]), &json!(["b.example.com"])]);
}
