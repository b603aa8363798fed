//! What is written, and when nothing is.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use meltemi_api::{FieldPath, Finding};
use meltemi_sources::kube::{Resource, Written};
use serde_json::{Value, json};

use super::{Facts, LONGEST, plan};
use crate::propagation::{InForce, Lagging, ObjectName, State, Why};

const THEN: &str = "2026-01-02T03:04:05Z";

fn now() -> Timestamp {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn written(generation: i64, status: Value) -> Written {
    Written {
        resource: Resource { group: "networking.istio.io", version: "v1", plural: "virtualservices" },
        resource_version: "77".into(),
        revision: "".into(),
        generation,
        status: Arc::new(status),
    }
}

fn stands(state: State, lagging: Vec<(&str, Why, &str)>) -> InForce {
    let starting = lagging.iter().filter(|(_, why, _)| *why == Why::Starting).count();
    let lagging = lagging.into_iter().map(|(proxy, why, message)| Lagging {
        proxy: proxy.into(),
        why,
        resource: None,
        message: message.into(),
        replica: None,
    });
    InForce {
        object: ObjectName { kind: "VirtualService".into(), namespace: "shop".into(), name: "a".into() },
        met: state == State::InForce,
        state,
        generation: Some(3),
        content: None,
        published: 9,
        have: 1,
        of: 1 + lagging.len(),
        starting,
        lagging: lagging.collect(),
        message: "1 of 2".into(),
        replicas: Vec::new(),
    }
}

fn facts<'a>(findings: &'a [Finding], in_force: &'a InForce) -> Facts<'a> {
    Facts { findings, in_force: Some(in_force), refers: true }
}

/// `type=status/reason` of each condition of a patch.
fn told(patch: &Option<Value>) -> Vec<String> {
    let conditions = patch.as_ref().unwrap()["status"]["conditions"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    conditions
        .iter()
        .map(|c| format!("{}={}/{}", text(&c["type"]), text(&c["status"]), text(&c["reason"])))
        .collect()
}

/// The status after a patch was merged.
fn after(patch: &Option<Value>) -> Value {
    patch.as_ref().unwrap()["status"].clone()
}

#[test]
fn a_good_object_is_accepted_its_references_found_and_it_is_in_force() {
    let in_force = stands(State::InForce, vec![]);
    let patch = plan(facts(&[], &in_force), &written(3, Value::Null), now());
    let all = [
        "meltemi.io/Accepted=True/Accepted",
        "meltemi.io/ResolvedRefs=True/ResolvedRefs",
        "meltemi.io/InForce=True/InForce",
    ];
    assert_eq!(told(&patch), all);
    let patch = patch.unwrap();
    assert_eq!(patch["metadata"], json!({"resourceVersion": "77"}), "against the version that was seen");
    assert_eq!(patch["status"]["observedGeneration"], 3);
    assert_eq!(patch["status"]["conditions"][2]["lastTransitionTime"], "2026-11-25T12:00:00Z");
}

#[test]
fn what_is_written_already_is_not_written_again_whoever_counts_the_proxies() {
    let first = plan(facts(&[], &stands(State::InForce, vec![])), &written(3, Value::Null), now());
    let mut more = stands(State::InForce, vec![]);
    (more.have, more.of, more.message) = (40, 40, "40 of 40".into());
    assert_eq!(plan(facts(&[], &more), &written(3, after(&first)), now()), None);
    let late =
        stands(State::Propagating, vec![("a.shop", Why::NotAcknowledged, "it has not acknowledged it")]);
    let second = plan(facts(&[], &late), &written(3, after(&first)), now());
    assert!(told(&second).contains(&"meltemi.io/InForce=False/Propagating".to_owned()));
    let other =
        stands(State::Propagating, vec![("b.shop", Why::NotAcknowledged, "it has not acknowledged it")]);
    assert_eq!(
        plan(facts(&[], &other), &written(3, after(&second)), now()),
        None,
        "another proxy is late: no transition"
    );
}

#[test]
fn conditions_of_others_and_other_fields_stay_and_keep_their_places() {
    let theirs = json!({"type": "istio.io/Theirs", "status": "True", "observedGeneration": "2"});
    let ours = json!({"type": "meltemi.io/Accepted", "status": "True", "reason": "Accepted", "message": "",
        "lastTransitionTime": THEN, "observedGeneration": "2"});
    let status = json!({"conditions": [theirs, ours, {"type": "Last"}], "validationMessages": [1], "observedGeneration": "3"});
    let patch = plan(facts(&[], &stands(State::InForce, vec![])), &written(3, status), now());
    let expected =
        ["istio.io/Theirs", "meltemi.io/Accepted", "Last", "meltemi.io/ResolvedRefs", "meltemi.io/InForce"];
    let status = &patch.unwrap()["status"];
    let types: Vec<&str> =
        status["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(types, expected);
    assert_eq!(status["conditions"][0], theirs);
    assert_eq!(
        status["conditions"][1]["lastTransitionTime"], THEN,
        "a new generation alone is no transition"
    );
    assert_eq!(status["conditions"][1]["observedGeneration"], 3);
    assert_eq!(
        status.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["conditions"],
        "Istio's \"3\" is our 3"
    );
}

#[test]
fn an_object_that_is_refused_says_why_by_field_and_what_stays_in_force() {
    let path = FieldPath::of(&["spec", "http"]);
    let finding = Finding::error("bad-value", "a weight must not be negative")
        .at(&path)
        .in_force("its last good version")
        .hint("write 0");
    let patch = plan(facts(&[finding], &stands(State::Refused, vec![])), &written(4, Value::Null), now());
    assert_eq!(told(&patch)[0], "meltemi.io/Accepted=False/BadValue");
    assert_eq!(told(&patch)[2], "meltemi.io/InForce=False/NotAccepted");
    assert_eq!(
        patch.unwrap()["status"]["conditions"][0]["message"],
        "spec.http: a weight must not be negative (in force: its last good version), write 0"
    );
}

#[test]
fn a_missing_host_is_an_unresolved_reference_of_an_accepted_object() {
    let finding =
        Finding::warning("host-not-found", "no service has the host `v2`").at(&FieldPath::of(&["spec"]));
    let held = stands(State::Propagating, vec![("a.shop", Why::Held, "v2 is missing")]);
    let patch = plan(facts(&[finding], &held), &written(1, Value::Null), now());
    let all = [
        "meltemi.io/Accepted=True/Accepted",
        "meltemi.io/ResolvedRefs=False/HostNotFound",
        "meltemi.io/InForce=False/Held",
    ];
    assert_eq!(told(&patch), all);
}

#[test]
fn a_kind_without_effect_says_so_and_nothing_of_being_in_force() {
    let finding = Finding::warning("not-supported-yet", "AuthorizationPolicy is not supported yet")
        .in_force("every request is allowed");
    let patch =
        plan(Facts { findings: &[finding], in_force: None, refers: false }, &written(1, Value::Null), now());
    assert_eq!(told(&patch), ["meltemi.io/Accepted=False/NotSupported"]);
}

#[test]
fn what_a_proxy_refuses_is_told_in_its_words() {
    let refused = stands(
        State::Propagating,
        vec![("a.shop", Why::Refused, "Envoy: no such filter"), ("b.shop", Why::Starting, "")],
    );
    let patch = plan(facts(&[], &refused), &written(1, Value::Null), now());
    let condition = &patch.unwrap()["status"]["conditions"][2];
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("RefusedByProxy"), &json!("a.shop: Envoy: no such filter"))
    );
}

#[test]
fn a_proxy_that_starts_is_no_news_of_an_object() {
    let before = plan(facts(&[], &stands(State::InForce, vec![])), &written(3, Value::Null), now());
    let starting = stands(State::Propagating, vec![("a.shop", Why::Starting, "it has just connected")]);
    assert_eq!(plan(facts(&[], &starting), &written(3, after(&before)), now()), None);
}

#[test]
fn a_long_message_is_cut_at_a_letter() {
    let finding = Finding::error("bad-value", "é".repeat(LONGEST));
    let patch = plan(facts(&[finding], &stands(State::Refused, vec![])), &written(1, Value::Null), now());
    let message = patch.unwrap()["status"]["conditions"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.len() <= LONGEST + 4 && message.ends_with("é ..."));
}
