//! Batches in, snapshots and change sets out.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::Object;
use meltemi_api::parse_all;
use meltemi_names::{Host, Kind, ObjectKey};
use proptest::prelude::*;

use super::{Event, Store};
use crate::entry::{Entry, IndexKey};

fn upserts(yaml: &str) -> Vec<Event> {
    objects(yaml).into_iter().map(Event::Upsert).collect()
}

fn objects(yaml: &str) -> Vec<Arc<Object>> {
    parse_all(yaml).unwrap().into_iter().map(Arc::new).collect()
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
";

fn route(weight: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart, namespace: shop}}
spec:
  hosts: [cart]
  http:
  - route:
    - destination: {{host: cart, subset: v1}}
      weight: {}
    - destination: {{host: cart, subset: v2}}
      weight: {weight}
",
        100 - weight
    )
}

fn entries(store: &mut Store, events: Vec<Event>) -> Vec<String> {
    store.apply(events).entries().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn equal_input_changes_nothing() {
    let mut store = Store::new();
    assert!(!store.apply(upserts(SERVICE)).is_empty());
    let generation = store.mesh().generation();
    assert!(store.apply(upserts(SERVICE)).is_empty());
    assert_eq!(store.mesh().generation(), generation);
}

#[test]
fn a_weight_changes_the_object_and_no_index() {
    let mut store = Store::new();
    store.apply(upserts(&route(10)));
    let changed = entries(&mut store, upserts(&route(50)));
    assert_eq!(changed, ["Object(VirtualService shop/cart)"]);
}

#[test]
fn a_deleted_object_leaves_every_index() {
    let mut store = Store::new();
    store.apply(upserts(&format!("{SERVICE}---{}", route(10))));
    for (kind, name) in [(Kind::Service, "cart"), (Kind::VirtualService, "cart")] {
        store.apply([Event::Delete(ObjectKey::new(kind, "shop", name))]);
    }
    assert_eq!(store.mesh().objects().count(), 0);
    assert!(store.mesh().index.is_empty());
}

#[test]
fn a_refused_object_keeps_its_last_good_and_can_be_deleted() {
    let mut store = Store::new();
    let key = ObjectKey::new(Kind::VirtualService, "shop", "cart");
    store.apply(upserts(&route(10)));
    store.apply([Event::Reject { key: key.clone(), reason: "bad".into() }]);
    assert!(store.mesh().object(&key).is_some(), "the last good stays in force");
    assert_eq!(store.mesh().rejected().count(), 1);
    store.apply(upserts(&route(20)));
    assert_eq!(store.mesh().rejected().count(), 0, "a good one ends the refusal");
    store.apply([Event::Reject { key: key.clone(), reason: "bad".into() }, Event::Delete(key.clone())]);
    assert!(store.mesh().object(&key).is_none() && store.mesh().rejected().next().is_none());
    store.apply([Event::Reject { key: key.clone(), reason: "never decoded".into() }]);
    assert!(store.apply([Event::Delete(key)]).is_empty(), "nothing that is read changes");
}

#[test]
fn only_the_config_map_istio_holds_settings() {
    let filed = |name: &str| {
        let mut store = Store::new();
        store.apply(upserts(&format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: a}}, data: {{mesh: ''}}}}")));
        store.mesh().filed(&IndexKey::Settings).count()
    };
    assert_eq!((filed("istio"), filed("kube-root-ca.crt")), (1, 0));
}

#[test]
fn a_clone_is_another_store() {
    let mut store = Store::new();
    store.apply(upserts(SERVICE));
    let mut tried = store.clone();
    tried.apply([Event::Delete(ObjectKey::new(Kind::Service, "shop", "cart"))]);
    assert_eq!(store.mesh().objects().count(), 1);
    assert_eq!(tried.mesh().objects().count(), 0);
    let host = Host::of_service("cart", "shop", "cluster.local");
    assert_eq!(store.mesh().filed(&IndexKey::ServicesByHost(host)).count(), 1);
}

fn namespace(name: &str, labels: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{{labels}}}}}}}\n---\n")
}

/// The mesh's settings: only namespaces with the label `mesh: on` count.
const ONLY_MESH: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'discoverySelectors: [{matchLabels: {mesh: \"on\"}}]'}
---
";

fn in_force(store: &Store) -> Vec<String> {
    store.mesh().objects().map(|object| object.meta.key.to_string()).collect()
}

#[test]
fn only_objects_of_selected_namespaces_count() {
    let mut store = Store::new();
    store.apply(upserts(&format!("{SERVICE}---{ONLY_MESH}")));
    assert_eq!(
        in_force(&store),
        ["ConfigMap istio-system/istio"],
        "its namespace has no labels that are known"
    );
    assert_eq!(store.set_aside().map(ToString::to_string).collect::<Vec<_>>(), ["Service shop/cart"]);
    let changed = entries(&mut store, upserts(&namespace("shop", "mesh: 'on'")));
    assert!(changed.contains(&"Object(Service shop/cart)".to_owned()), "{changed:?}");
    assert_eq!(store.set_aside().count(), 0);
    let changed = entries(&mut store, upserts(&namespace("shop", "mesh: 'off'")));
    assert!(changed.contains(&"Object(Service shop/cart)".to_owned()), "{changed:?}");
    assert_eq!(in_force(&store), ["Namespace shop", "ConfigMap istio-system/istio"]);
    store.apply([Event::Delete(ObjectKey::new(Kind::Service, "shop", "cart"))]);
    store.apply(upserts(&namespace("shop", "mesh: 'on'")));
    assert_eq!(in_force(&store), ["Namespace shop", "ConfigMap istio-system/istio"], "deleted meanwhile");
}

#[test]
fn without_selectors_every_namespace_counts_again() {
    let mut store = Store::new();
    store.apply(upserts(&format!("{SERVICE}---{ONLY_MESH}")));
    store.apply([Event::Delete(ObjectKey::new(Kind::ConfigMap, "istio-system", "istio"))]);
    assert_eq!(in_force(&store), ["Service shop/cart"]);
    let mut defaults = meltemi_api::MeshConfig::default();
    let selectors = r#"[{"matchLabels": {"kubernetes.io/metadata.name": "bank"}}, {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}]"#;
    defaults.discovery_selectors = serde_json::from_str(selectors).unwrap();
    store.apply([Event::Defaults(Arc::new(defaults.clone()))]);
    assert_eq!(
        in_force(&store),
        ["Service shop/cart"],
        "any selector will do, and a namespace has its name as a label"
    );
    defaults.discovery_selectors.pop();
    store.apply([Event::Defaults(Arc::new(defaults))]);
    assert_eq!(in_force(&store), Vec::<String>::new());
}

#[test]
fn a_namespace_that_comes_costs_its_own_objects_alone() {
    let mut store = Store::new();
    store.apply(upserts(ONLY_MESH));
    let other = SERVICE.replace("namespace: shop", "namespace: bank");
    store.apply(upserts(&format!(
        "{SERVICE}---{other}---\n{}{}",
        namespace("bank", ""),
        namespace("shop", "")
    )));
    let changed = entries(&mut store, upserts(&namespace("shop", "mesh: 'on'")));
    assert!(changed.iter().all(|entry| !entry.contains("bank")), "{changed:?}");
    assert_eq!(
        entries(&mut store, upserts(&namespace("shop", "mesh: 'on', x: y"))),
        ["Object(Namespace shop)"]
    );
}

#[test]
fn a_refused_object_of_an_unselected_namespace_is_not_shown_as_refused() {
    let mut store = Store::new();
    let key = ObjectKey::new(Kind::VirtualService, "shop", "cart");
    store.apply(upserts(&format!("{ONLY_MESH}{}{}", namespace("shop", "mesh: 'on'"), route(10))));
    store.apply([Event::Reject { key: key.clone(), reason: "bad".into() }]);
    store.apply(upserts(&namespace("shop", "")));
    assert_eq!(store.mesh().rejected().count(), 0);
    assert!(store.mesh().object(&key).is_none());
    store.apply(upserts(&namespace("shop", "mesh: 'on'")));
    assert_eq!(store.mesh().rejected().count(), 1);
    assert!(store.mesh().object(&key).is_some(), "with its last good");
}

#[test]
fn configuration_of_another_revision_does_not_count() {
    let labelled = |revision: &str| {
        route(10)
            .replace("namespace: shop}", &format!("namespace: shop, labels: {{istio.io/rev: {revision}}}}}"))
    };
    let service = SERVICE.replace("namespace: shop}", "namespace: shop, labels: {istio.io/rev: other}}");
    let seen = |revision: &str, yaml: &str| {
        let mut store = Store::of_revision(revision);
        store.apply(upserts(&format!("{service}---{yaml}")));
        store.mesh().objects().count() == 2
    };
    assert!(
        seen("canary", &route(10)) && seen("canary", &labelled("canary")) && seen("", &labelled("canary"))
    );
    assert!(!seen("stable", &labelled("canary")), "the service counts, whatever its label says");
    let mut store = Store::of_revision("stable");
    store.apply(upserts(&labelled("stable")));
    let changed = entries(&mut store, upserts(&labelled("canary")));
    assert!(changed.contains(&"Object(VirtualService shop/cart)".to_owned()), "{changed:?}");
    assert!(store.mesh().index.is_empty(), "one that moves to another revision is gone");
}

fn any_object() -> impl Strategy<Value = (u8, u8, u8)> {
    (0_u8..4, 0_u8..3, 0_u8..4)
}

/// A small object whose index keys depend on all three numbers.
fn small(kind: u8, name: u8, variant: u8) -> Arc<Object> {
    let yaml = match kind {
        0 => format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, namespace: n}}, spec: {{selector: {{app: a{variant}}}, ports: [{{name: http, port: 80}}]}}}}"
        ),
        1 => format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{name}, namespace: n, labels: {{app: a{variant}}}}}, status: {{podIP: 10.0.0.{variant}}}}}"
        ),
        2 => format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v{name}, namespace: n}}, spec: {{hosts: [s{variant}], http: [{{route: [{{destination: {{host: s{variant}}}}}]}}]}}}}"
        ),
        _ => format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d{name}, namespace: n}}, spec: {{host: s{variant}}}}}"
        ),
    };
    objects(&yaml).remove(0)
}

proptest! {
    #[test]
    fn any_order_of_events_ends_in_the_same_indexes(
        steps in proptest::collection::vec((any_object(), proptest::bool::ANY), 1..40),
    ) {
        let mut store = Store::new();
        let mut kept: std::collections::BTreeMap<ObjectKey, Arc<Object>> = std::collections::BTreeMap::new();
        for ((kind, name, variant), delete) in steps {
            let object = small(kind, name, variant);
            let before = store.mesh().clone();
            let key = object.meta.key.clone();
            let changes = if delete {
                kept.remove(&key);
                store.apply([Event::Delete(key)])
            } else {
                kept.insert(key, Arc::clone(&object));
                store.apply([Event::Upsert(object)])
            };
            // The change set is exactly what differs.
            let now = store.mesh();
            let all: BTreeSet<IndexKey> = before.index.keys().chain(now.index.keys()).cloned().collect();
            for key in all {
                let differs = before.index.get(&key) != now.index.get(&key);
                prop_assert_eq!(differs, changes.entries().any(|entry| *entry == Entry::Index(key.clone())));
            }
        }
        let mut scratch = Store::new();
        scratch.apply(kept.into_values().map(Event::Upsert));
        prop_assert_eq!(&store.mesh().index, &scratch.mesh().index);
        prop_assert_eq!(&store.mesh().objects, &scratch.mesh().objects);
    }
}

/// Objects of the property below: services and routes of two namespaces, the namespaces themselves, and the settings.
fn filtered(kind: u8, name: u8, variant: u8) -> Arc<Object> {
    let of = ["n0", "n1"][usize::from(name % 2)];
    let rev = ["", ", labels: {istio.io/rev: a}", ", labels: {istio.io/rev: b}"][usize::from(variant % 3)];
    let yaml = match kind {
        0 => format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, namespace: {of}{rev}}}, spec: {{selector: {{app: a{variant}}}, ports: [{{name: http, port: 80}}]}}}}"
        ),
        1 => format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d{name}, namespace: {of}{rev}}}, spec: {{host: s{variant}}}}}"
        ),
        2 => format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {of}, labels: {{env: e{variant}}}}}}}"
        ),
        _ => {
            let selectors = [
                "[]",
                "[{matchLabels: {env: e1}}]",
                "[{matchLabels: {kubernetes.io/metadata.name: n1}}]",
                "[{matchExpressions: [{key: env, operator: In, values: [e2, e3]}]}]",
            ][usize::from(variant % 4)];
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: {of}}}, data: {{mesh: 'discoverySelectors: {selectors}'}}}}"
            )
        }
    };
    objects(&yaml).remove(0)
}

proptest! {
    #[test]
    fn whatever_comes_first_the_same_objects_count(
        steps in proptest::collection::vec(((0_u8..4, 0_u8..3, 0_u8..4), proptest::bool::weighted(0.2)), 1..40),
    ) {
        let mut store = Store::of_revision("a");
        let mut kept: std::collections::BTreeMap<ObjectKey, Arc<Object>> = std::collections::BTreeMap::new();
        for ((kind, name, variant), delete) in steps {
            let object = filtered(kind, name, variant);
            let key = object.meta.key.clone();
            let before = store.mesh().clone();
            let changes = if delete {
                kept.remove(&key);
                store.apply([Event::Delete(key)])
            } else {
                kept.insert(key, Arc::clone(&object));
                store.apply([Event::Upsert(object)])
            };
            let now = store.mesh();
            let all: BTreeSet<ObjectKey> = before.objects.keys().chain(now.objects.keys()).cloned().collect();
            for key in all {
                let differs = before.objects.get(&key) != now.objects.get(&key);
                prop_assert_eq!(differs, changes.objects().any(|changed| *changed == key));
            }
            let mut scratch = Store::of_revision("a");
            scratch.apply(kept.values().rev().cloned().map(Event::Upsert));
            prop_assert_eq!(&now.index, &scratch.mesh().index);
            prop_assert_eq!(&now.objects, &scratch.mesh().objects);
            prop_assert_eq!(&store.aside.objects, &scratch.aside.objects);
            prop_assert_eq!(now.objects.len() + store.aside.objects.len(), kept.len());
        }
    }
}
