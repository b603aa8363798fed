//! What each object of a kind says, as a sum: a new version of an object that says nothing new is no change. Pure.
//!
//! Most of what an API server tells is such: a pod's restarts, a node's heartbeat, whose fields were passed over while they were read
//! ([`mod@super::slim`]). Must not know: what a field means.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use serde_json::Value;

use super::follow::{Change, Name};

/// The sums of the objects that are there.
#[derive(Debug, Default)]
pub(super) struct Substances {
    sums: BTreeMap<Name, u64>,
    /// Of this process alone, so that nobody can write two objects of one sum.
    sum: RandomState,
}

impl Substances {
    /// Whether the change is one, if the object is read at that API version; remembers it.
    pub(super) fn differ(&mut self, api_version: &str, change: &Change<Value>) -> bool {
        match &change.now {
            Some(value) => {
                let sum = self.sum.hash_one((api_version, Said(value)));
                self.sums.insert(change.name.clone(), sum) != Some(sum)
            }
            None => self.sums.remove(&change.name).is_some(),
        }
    }
}

/// An object but for its version, which differs each time.
struct Said<'v>(&'v Value);

impl std::hash::Hash for Said<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Value::Object(fields) = self.0 else { return self.0.hash(state) };
        state.write_usize(fields.len());
        for (name, value) in fields {
            name.hash(state);
            match value {
                Value::Object(metadata) if name == "metadata" => {
                    let said = metadata.iter().filter(|(name, _)| *name != "resourceVersion");
                    said.for_each(|field| field.hash(state));
                }
                _ => value.hash(state),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Substances;
    use crate::kube::follow::{Change, Name};

    fn change(name: &str, now: Option<Value>) -> Change<Value> {
        Change { name: Name { namespace: "shop".into(), name: name.into() }, now }
    }

    fn pod(version: &str, label: &str) -> Option<Value> {
        Some(
            json!({"metadata": {"name": "a", "resourceVersion": version, "labels": {"app": label}}, "spec": {"nodeName": "n"}}),
        )
    }

    #[test]
    fn a_version_that_says_nothing_new_is_no_change() {
        let mut said = Substances::default();
        assert!(said.differ("v1", &change("a", pod("1", "cart"))));
        assert!(!said.differ("v1", &change("a", pod("2", "cart"))));
        assert!(said.differ("v1", &change("a", pod("3", "web"))));
        assert!(
            said.differ("v1", &change("a", pod("4", "cart"))),
            "it says again what it said before the last"
        );
        assert!(said.differ("v1", &change("b", pod("4", "cart"))), "another object");
        assert!(said.differ("v2", &change("a", pod("4", "cart"))), "read by other words");
    }

    #[test]
    fn one_that_went_and_came_again_is_a_change() {
        let mut said = Substances::default();
        assert!(said.differ("v1", &change("a", pod("1", "cart"))));
        assert!(said.differ("v1", &change("a", None)));
        assert!(!said.differ("v1", &change("a", None)), "it is gone already");
        assert!(said.differ("v1", &change("a", pod("3", "cart"))));
    }

    #[test]
    fn a_field_that_went_or_moved_is_a_change() {
        let mut said = Substances::default();
        let with = |metadata: Value| change("a", Some(json!({"metadata": metadata})));
        assert!(said.differ("v1", &with(json!({"labels": {"a": "b"}, "annotations": {}}))));
        assert!(said.differ("v1", &with(json!({"labels": {}, "annotations": {"a": "b"}}))));
        assert!(said.differ("v1", &with(json!({"annotations": {"a": "b"}}))));
    }
}
