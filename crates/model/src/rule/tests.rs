//! Which rules are in force: facts of section 6, by hand.

use std::sync::Arc;

use crate::service::ServiceId;
use meltemi_api::parse_all;
use meltemi_memo::Memo;
use meltemi_names::{Kind, ObjectKey, Port, Selector};

use super::{Policy, PolicyOf, Rule, RuleFor};
use crate::{Event, Store};

fn store(yaml: &str) -> Store {
    let mut store = Store::new();
    let objects = parse_all(yaml).unwrap();
    store.apply(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))));
    store
}

/// A rule `namespace/name`, for that host; `more` are further fields.
fn rule(name: &str, host: &str, more: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{host: '{host}', trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}{more}}}\n---\n"
    )
}

const CART: &str = "cart.shop.svc.cluster.local";

/// The rules that `viewer` follows for shop/cart, as `namespace/name`.
fn in_force(store: &Store, viewer: &str, selectors: &[Selector]) -> Vec<String> {
    let question = RuleFor {
        viewer: viewer.into(),
        service: ServiceId::of(&ObjectKey::new(Kind::Service, "shop", "cart")),
        selectors: selectors.into(),
    };
    let (_, rule) = Memo::new().observe(question, store.mesh());
    let keys = rule.iter().flat_map(|rule| rule.iter());
    keys.map(|key| format!("{}/{}", key.namespace, key.name)).collect()
}

#[test]
fn the_callers_own_rules_come_first_then_the_services_then_the_roots() {
    let root = rule("istio-system/all", CART, "");
    let servers = rule("shop/cart", CART, "");
    let own = rule("bank/cart", CART, "");
    assert_eq!(in_force(&store(&root), "bank", &[]), ["istio-system/all"]);
    assert_eq!(in_force(&store(&format!("{root}{servers}")), "bank", &[]), ["shop/cart"]);
    assert_eq!(in_force(&store(&format!("{root}{servers}{own}")), "bank", &[]), ["bank/cart"]);
    assert_eq!(in_force(&store(&format!("{root}{servers}{own}")), "shop", &[]), ["shop/cart"]);
}

#[test]
fn the_most_specific_host_wins_within_a_namespace() {
    let all = [
        rule("bank/a", "*", ""),
        rule("bank/b", "*.svc.cluster.local", ""),
        rule("bank/c", "*.shop.svc.cluster.local", ""),
    ];
    assert_eq!(in_force(&store(&all.concat()), "bank", &[]), ["bank/c"]);
    assert_eq!(in_force(&store(&all[..2].concat()), "bank", &[]), ["bank/b"]);
    assert_eq!(in_force(&store(&all[..1].concat()), "bank", &[]), ["bank/a"]);
}

#[test]
fn a_less_specific_exported_rule_is_not_tried_behind_one_that_is_for_others() {
    let narrow = rule("shop/a", CART, ", exportTo: [desk]");
    let wide = rule("shop/b", "*", "");
    let root = rule("istio-system/c", CART, "");
    let store = store(&format!("{narrow}{wide}{root}"));
    assert_eq!(in_force(&store, "desk", &[]), ["shop/a"]);
    assert_eq!(in_force(&store, "bank", &[]), ["istio-system/c"]);
}

#[test]
fn a_private_rule_is_for_its_own_namespace_alone() {
    let store = store(&rule("shop/cart", CART, ", exportTo: ['.']"));
    assert_eq!(in_force(&store, "shop", &[]), ["shop/cart"]);
    assert_eq!(in_force(&store, "bank", &[]), Vec::<String>::new());
}

#[test]
fn the_root_namespaces_own_proxies_take_its_public_rules_last() {
    let public = rule("istio-system/a", "*", "");
    let private = rule("istio-system/b", "*", ", exportTo: ['.']");
    let servers = rule("shop/cart", CART, "");
    assert_eq!(in_force(&store(&format!("{public}{servers}")), "istio-system", &[]), ["shop/cart"]);
    assert_eq!(
        in_force(&store(&format!("{public}{private}{servers}")), "istio-system", &[]),
        ["istio-system/b"]
    );
}

#[test]
fn a_rule_for_some_workloads_wins_for_those_and_counts_for_nobody_else() {
    let general = rule("shop/a", CART, "");
    let some = rule("shop/b", CART, ", workloadSelector: {matchLabels: {app: desk}}");
    let store = store(&format!("{general}{some}"));
    let desk = Selector::new([("app", "desk")].into_iter().collect());
    assert_eq!(in_force(&store, "shop", std::slice::from_ref(&desk)), ["shop/b"]);
    assert_eq!(in_force(&store, "shop", &[]), ["shop/a"]);
    assert_eq!(in_force(&store, "bank", &[desk]), ["shop/a"]);
}

const POLICIES: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: shop, creationTimestamp: 2020-01-01T00:00:00Z}
spec:
  host: cart
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 7}
    portLevelSettings:
    - {port: {number: 81}, connectionPool: {tcp: {maxConnections: 81}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
    trafficPolicy:
      loadBalancer: {simple: RANDOM}
      portLevelSettings:
      - {port: {number: 82}, outlierDetection: {consecutive5xxErrors: 82}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop, creationTimestamp: 2021-01-01T00:00:00Z}
spec:
  host: cart.shop.svc.cluster.local
  trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}}
  subsets:
  - {name: v2, labels: {version: two}}
  - {name: v3, labels: {version: v3}}
";

#[test]
fn rules_of_one_host_and_namespace_are_one_and_the_oldest_counts() {
    let store = store(POLICIES);
    assert_eq!(in_force(&store, "bank", &[]), ["shop/b", "shop/a"]);
    let keys = ["b", "a"].map(|name| ObjectKey::new(Kind::DestinationRule, "shop", name));
    let (_, rule) = Memo::new().observe(Rule(keys.into()), store.mesh());
    let subsets: Vec<_> =
        rule.subsets.iter().map(|subset| (&*subset.name, subset.labels.labels().value("version"))).collect();
    assert_eq!(subsets, [("v1", Some("v1")), ("v2", Some("v2")), ("v3", Some("v3"))]);
    assert_eq!(seen(&rule.policy(port(80), None)), ("Some(RoundRobin)".to_owned(), None, Some(7)));
}

fn port(number: u32) -> Port {
    Port::new(number).unwrap()
}

fn policy(store: &Store, number: u32, subset: Option<&str>) -> Option<Policy> {
    let rule = [ObjectKey::new(Kind::DestinationRule, "shop", "b")].into();
    let question = PolicyOf { rule, port: port(number), subset: subset.map(Arc::from) };
    (*Memo::new().observe(question, store.mesh()).1).clone().map(|policy| (*policy).clone())
}

/// The balancer, the limit of connections and the errors of a policy.
fn seen(policy: &Option<Policy>) -> (String, Option<u32>, Option<u32>) {
    let policy = policy.as_ref().unwrap();
    let balancer = policy.load_balancer.as_ref().and_then(|balancer| balancer.simple);
    let pool = policy.connection_pool.as_ref().and_then(|pool| pool.tcp.as_ref());
    let outlier = policy.outlier_detection.as_ref().and_then(|outlier| outlier.consecutive_5xx_errors);
    (format!("{balancer:?}"), pool.map(|tcp| tcp.max_connections), outlier)
}

#[test]
fn a_ports_settings_replace_the_rest_and_a_subsets_override_one_by_one() {
    let store = store(POLICIES);
    let is = |number, subset| seen(&policy(&store, number, subset));
    assert_eq!(is(80, None), ("Some(RoundRobin)".to_owned(), None, Some(7)));
    assert_eq!(is(81, None), ("None".to_owned(), Some(81), None));
    assert_eq!(is(80, Some("v1")), ("Some(RoundRobin)".to_owned(), None, Some(7)));
    assert_eq!(is(80, Some("v2")), ("Some(Random)".to_owned(), None, Some(7)));
    assert_eq!(is(81, Some("v2")), ("Some(Random)".to_owned(), Some(81), None));
    assert_eq!(is(82, Some("v2")), ("None".to_owned(), None, Some(82)));
    assert_eq!(policy(&store, 80, Some("v9")), None);
}
