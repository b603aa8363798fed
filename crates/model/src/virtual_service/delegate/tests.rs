//! What a delegate's rules become, in the words of the resources.

use meltemi_api::{Meta, VirtualService};
use meltemi_names::{Kind, ObjectKey};
use serde_json::{Value, json};

use super::{HttpRules, RulePlace, WhyNoDelegate, http_rules_by};

fn service(spec: Value) -> VirtualService {
    serde_json::from_value(spec).unwrap()
}

fn leaf_key() -> ObjectKey {
    ObjectKey::new(Kind::VirtualService, "team", "leaf")
}

/// The rules of a VirtualService of namespace `edge` with this rule, which delegates to `team/leaf`, if that exists.
fn rules(root: Value, leaf: Option<Value>) -> HttpRules<'static> {
    let mut root = root;
    root["delegate"] = json!({"name": "leaf", "namespace": "team"});
    let root = service(json!({"hosts": ["shop"], "http": [root]}));
    let leaf = leaf.map(|leaf| (Meta::new(leaf_key()), service(leaf)));
    let meta = Meta::new(ObjectKey::new(Kind::VirtualService, "edge", "root"));
    let rules = http_rules_by(&meta, &root, &[], |key| {
        leaf.as_ref().filter(|_| *key == leaf_key()).map(|(meta, leaf)| (meta, leaf))
    });
    HttpRules { rules: rules.rules.into_owned().into(), places: rules.places, faults: rules.faults }
}

fn leaf(rule: Value) -> Option<Value> {
    Some(json!({"http": [rule]}))
}

#[test]
fn conditions_of_both_sides_count_and_short_names_are_of_where_they_are_written() {
    let found = rules(
        json!({"name": "all", "match": [{"uri": {"prefix": "/shop"}}], "timeout": "3s", "mirror": {"host": "copy"}}),
        leaf(json!({
            "name": "cart",
            "match": [{"uri": {"exact": "/shop/cart"}, "headers": {"x-user": {"exact": "a"}}}],
            "route": [{"destination": {"host": "cart"}}]
        })),
    );
    let [rule] = &found.rules[..] else { panic!("{found:?}") };
    assert_eq!(rule.name.as_deref(), Some("all-cart"));
    assert_eq!(rule.matches.len(), 1);
    assert_eq!(
        rule.matches[0],
        serde_json::from_value(
            json!({"uri": {"exact": "/shop/cart"}, "headers": {"x-user": {"exact": "a"}}})
        )
        .unwrap()
    );
    assert_eq!(rule.timeout.map(|timeout| timeout.0.as_secs()), Some(3));
    assert_eq!(rule.route[0].destination.host.as_str(), "cart.team.svc.cluster.local");
    assert_eq!(rule.mirror.as_ref().unwrap().host.as_str(), "copy.edge.svc.cluster.local");
    assert_eq!(found.place(0), RulePlace { rule: 0, delegate: Some((leaf_key(), 0)) });
}

#[test]
fn each_match_of_the_delegate_joins_each_of_the_root_that_it_does_not_contradict() {
    let found = rules(
        json!({"match": [{"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}, "port": 80}, {"uri": {"prefix": "/a/b"}}]}),
        leaf(json!({"match": [{"uri": {"prefix": "/a/b"}}], "route": [{"destination": {"host": "x"}}]})),
    );
    assert_eq!(found.rules[0].matches.len(), 2);
    assert!(found.faults.is_empty());
}

#[test]
fn a_match_that_contradicts_all_leaves_its_rule_out() {
    for (root, leaf_match, field) in [
        (json!({"uri": {"prefix": "/a"}}), json!({"uri": {"prefix": "/b"}}), "uri"),
        (json!({"uri": {"regex": "/a.*"}}), json!({"uri": {"exact": "/ab"}}), "uri"),
        (json!({"uri": {"exact": "/a"}}), json!({"uri": {"prefix": "/a"}}), "uri"),
        (json!({"headers": {"x": {"exact": "1"}}}), json!({"headers": {"x": {"exact": "2"}}}), "headers"),
        (json!({"port": 80}), json!({"port": 81}), "port"),
        (json!({"sourceNamespace": "a"}), json!({}), "sourceNamespace"),
        (json!({"sourceLabels": {"app": "a"}}), json!({"sourceLabels": {"app": "b"}}), "sourceLabels"),
        (json!({"ignoreUriCase": true}), json!({}), "ignoreUriCase"),
        (json!({"gateways": ["mesh"]}), json!({"gateways": ["other"]}), "gateways"),
    ] {
        let found = rules(
            json!({"match": [root]}),
            leaf(json!({"match": [leaf_match], "route": [{"destination": {"host": "x"}}]})),
        );
        assert!(found.rules.is_empty(), "{field}");
        assert_eq!(found.faults[0].why, WhyNoDelegate::Conflict { rule: 0, matching: 0, field });
    }
}

#[test]
fn what_the_delegate_says_itself_is_not_inherited() {
    let found = rules(
        json!({"timeout": "3s", "headers": {"request": {"set": {"a": "1"}}}}),
        leaf(json!({
            "timeout": "1s",
            "headers": {"request": {"set": {"b": "2"}}},
            "route": [{"destination": {"host": "x"}}]
        })),
    );
    assert_eq!(found.rules[0].timeout.map(|timeout| timeout.0.as_secs()), Some(1));
    assert!(found.rules[0].headers.request.set.contains_key("b"));
    assert!(!found.rules[0].headers.request.set.contains_key("a"));
}

#[test]
fn a_delegate_must_exist_have_no_hosts_and_be_exported_to_the_root() {
    let why = |leaf: Option<Value>| rules(json!({}), leaf).faults.first().map(|fault| fault.why);
    let route = json!([{"route": [{"destination": {"host": "x"}}]}]);
    assert_eq!(why(None), Some(WhyNoDelegate::Missing));
    assert_eq!(why(Some(json!({"hosts": ["x"], "http": route}))), Some(WhyNoDelegate::HasHosts));
    assert_eq!(why(Some(json!({"exportTo": ["."], "http": route}))), Some(WhyNoDelegate::NotExported));
    assert_eq!(why(Some(json!({"exportTo": ["edge"], "http": route}))), None);
}
