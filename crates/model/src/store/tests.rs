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
