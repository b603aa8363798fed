//! Which changes may go out at once.

use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_names::{Kind, ObjectKey};

use super::judge;
use crate::debounce::Verdict;
use crate::store::{Event, Store};

const SERVICE: &str = "
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}
";

fn rule(subsets: &[&str]) -> String {
    let subsets: Vec<String> =
        subsets.iter().map(|name| format!("{{name: {name}, labels: {{version: {name}}}}}")).collect();
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: cart, namespace: shop}}, \
         spec: {{host: cart, subsets: [{}]}}}}",
        subsets.join(", ")
    )
}

fn route(subset: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: cart, namespace: shop}}, \
         spec: {{hosts: [cart], http: [{{route: [{{destination: {{host: cart, subset: {subset}}}}}]}}]}}}}"
    )
}

fn store(documents: &[&str]) -> Store {
    let mut store = Store::new();
    store.apply(upserts(documents));
    store
}

fn upserts(documents: &[&str]) -> Vec<Event> {
    parse_all(&documents.join("\n---\n"))
        .unwrap()
        .into_iter()
        .map(|object| Event::Upsert(Arc::new(object)))
        .collect()
}

fn verdict(store: &Store, events: Vec<Event>) -> Verdict {
    let mut tried = store.clone();
    let changes = tried.apply(events);
    judge(store.mesh(), tried.mesh(), &changes)
}

#[test]
fn a_route_before_its_subset_waits_and_together_they_go() {
    let store = store(&[SERVICE, &rule(&["v1"]), &route("v1")]);
    assert_eq!(verdict(&store, upserts(&[&route("v2")])), Verdict::Dangling);
    assert_eq!(verdict(&store, upserts(&[&route("v2"), &rule(&["v1", "v2"])])), Verdict::Whole);
}

#[test]
fn a_subset_that_a_route_needs_does_not_go_at_once() {
    let store = store(&[SERVICE, &rule(&["v1", "v2"]), &route("v2")]);
    assert_eq!(verdict(&store, upserts(&[&rule(&["v1"])])), Verdict::Dangling);
    let delete = Event::Delete(ObjectKey::new(Kind::DestinationRule, "shop", "cart"));
    assert_eq!(verdict(&store, vec![delete]), Verdict::Dangling);
    let delete = Event::Delete(ObjectKey::new(Kind::Service, "shop", "cart"));
    assert_eq!(verdict(&store, vec![delete]), Verdict::Dangling);
}

#[test]
fn what_dangled_before_is_no_reason_to_wait() {
    let store = store(&[SERVICE, &rule(&["v1"]), &route("v2")]);
    assert_eq!(verdict(&store, upserts(&[&rule(&["v1", "v3"])])), Verdict::Whole);
    assert_eq!(
        verdict(&store, vec![Event::Delete(ObjectKey::new(Kind::VirtualService, "shop", "cart"))]),
        Verdict::Whole
    );
}
