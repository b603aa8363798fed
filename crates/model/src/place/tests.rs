//! What settings read of callers, and which of them counts: Istio's `GetEffectiveLbSetting`, by hand.

use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_memo::Memo;
use meltemi_names::{Kind, Locality, ObjectKey};

use super::{AnyCallerReads, CallerReads, ServiceReads};
use crate::rule::RuleFor;
use crate::service::ServiceId;
use crate::{Event, Store};

fn store(yaml: &str) -> Store {
    let mut store = Store::new();
    let objects = parse_all(yaml).unwrap();
    store.apply(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))));
    store
}

fn rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: cart, namespace: shop}}\nspec: {{host: cart, trafficPolicy: {policy}}}\n---\n"
    )
}

fn mesh(settings: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{settings}'}}\n---\n"
    )
}

fn reads(yaml: &str) -> CallerReads {
    let store = store(yaml);
    (*Memo::new().observe(AnyCallerReads, store.mesh()).1).clone()
}

const OUTLIERS: &str = "outlierDetection: {consecutive5xxErrors: 3}";

#[test]
fn nothing_is_read_where_nothing_can_take_over() {
    assert_eq!(reads(""), CallerReads::default());
    assert_eq!(reads(&rule("{connectionPool: {tcp: {maxConnections: 1}}}")), CallerReads::default());
    let off = mesh("localityLbSetting: {enabled: false}");
    assert_eq!(reads(&format!("{off}{}", rule(&format!("{{{OUTLIERS}}}")))), CallerReads::default());
    let off = "{loadBalancer: {localityLbSetting: {enabled: false}}}";
    assert_eq!(reads(&rule(off)), CallerReads::default());
}

#[test]
fn outliers_alone_read_the_whole_place() {
    let found = reads(&rule(&format!("{{{OUTLIERS}}}")));
    assert!(found.any && found.depth == 3 && !found.node && found.labels.is_empty(), "{found:?}");
}

#[test]
fn shares_read_as_much_as_they_write() {
    let policy = |from: &str| {
        format!(
            "{{loadBalancer: {{localityLbSetting: {{distribute: [{{from: '{from}', to: {{eu: 100}}}}]}}}}}}"
        )
    };
    for (from, depth) in [("*", 0), ("eu/*", 1), ("eu/eu-1/*", 2), ("eu/eu-1/rack", 3)] {
        let found = reads(&rule(&policy(from)));
        assert!(found.any && found.depth == depth, "{from}: {found:?}");
    }
}

#[test]
fn labels_are_read_by_key_and_those_with_a_value_not_at_all() {
    let labels = "[topology.kubernetes.io/zone, kubernetes.io/hostname, version, app=cart]";
    let policy =
        format!("{{loadBalancer: {{localityLbSetting: {{failoverPriority: {labels}}}}}, {OUTLIERS}}}");
    let found = reads(&rule(&policy));
    assert!(found.any && found.depth == 2 && found.node, "{found:?}");
    assert_eq!(found.labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["version"]);
}

#[test]
fn parts_of_two_rules_may_meet() {
    // The one sets outliers aside and cares for no place; a subset of the other chooses its balancer anew, by which the mesh's word counts.
    let one = rule(&format!("{{loadBalancer: {{localityLbSetting: {{enabled: false}}}}, {OUTLIERS}}}"));
    assert_eq!(reads(&one), CallerReads::default());
    let other = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: other, namespace: shop}\nspec: {host: cart, subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]}\n";
    assert_eq!(reads(&format!("{one}{other}")).depth, 3);
    let within = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: cart, namespace: shop}\nspec: {host: cart, trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}}, subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]}\n";
    assert_eq!(reads(within).depth, 3);
}

#[test]
fn a_service_reads_what_its_own_rules_do() {
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let store = store(&format!("{}{}{}", service("cart"), service("pay"), rule(&format!("{{{OUTLIERS}}}"))));
    let memo = Memo::new();
    let of = |name: &str| {
        let service = ServiceId::of(&ObjectKey::new(Kind::Service, "shop", name));
        let rule = RuleFor { viewer: "shop".into(), service: service.clone(), selectors: Arc::default() };
        let rule = (*memo.observe(rule, store.mesh()).1).clone();
        (*memo.observe(ServiceReads { service, rule }, store.mesh()).1).clone()
    };
    assert!(of("cart").any);
    assert_eq!(of("pay"), CallerReads::default());
}

#[test]
fn a_place_is_cut_where_nobody_reads_on() {
    let reads = CallerReads { any: true, depth: 2, ..CallerReads::default() };
    assert_eq!(reads.of(&Locality::parse("eu/eu-1/rack")).to_string(), "eu/eu-1");
}
