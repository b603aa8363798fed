//! An object's text as it is kept: what a control plane hands on of an object that it has in force.
//!
//! Invariant: decoded again, it is the same object, whatever namespace is said to be the usual one.

use meltemi_names::{Kind, ObjectKey};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::object::Text;

/// What is left out of `metadata`: what servers note about an object, and the copy of it that `kubectl apply` makes.
const NOTED: &[&str] =
    &["managedFields", "resourceVersion", "uid", "selfLink", "finalizers", "ownerReferences"];

/// The same among the annotations.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The text of a decoded value.
pub(super) fn text(value: &Value, key: &ObjectKey) -> Text {
    // A Secret is handed on to nobody.
    if key.kind == Kind::Secret {
        return Text::default();
    }
    serde_json::to_string(&Written { value, key }).map(Text::new).unwrap_or_default()
}

struct Written<'a> {
    value: &'a Value,
    key: &'a ObjectKey,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_map(None)?;
        for (name, value) in self.value.as_object().into_iter().flatten() {
            match name.as_str() {
                // What becomes of a pod decides about its endpoints; all other status is what somebody writes about the object.
                "status" if self.key.kind != Kind::Pod => {}
                "metadata" => all.serialize_entry(name, &Metadata { value, key: self.key })?,
                _ => all.serialize_entry(name, value)?,
            }
        }
        all.end()
    }
}

struct Metadata<'a> {
    value: &'a Value,
    key: &'a ObjectKey,
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_map(None)?;
        if !self.key.namespace.as_str().is_empty() {
            all.serialize_entry("namespace", self.key.namespace.as_str())?;
        }
        for (name, value) in self.value.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("namespace", _) => {}
                // Which workload a pod is of is read from its owner.
                ("ownerReferences", _) if self.key.kind == Kind::Pod => all.serialize_entry(name, value)?,
                (name, _) if NOTED.contains(&name) => {}
                ("annotations", Value::Object(annotations)) if annotations.contains_key(LAST_APPLIED) => {
                    let kept: Vec<(&String, &Value)> =
                        annotations.iter().filter(|(key, _)| *key != LAST_APPLIED).collect();
                    all.serialize_entry(
                        name,
                        &kept.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                    )?;
                }
                _ => all.serialize_entry(name, value)?,
            }
        }
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use crate::decode;
    use serde_json::json;

    #[test]
    fn a_text_is_the_same_object_again_without_what_servers_note() {
        let value = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {
                "name": "cart", "uid": "1", "managedFields": [{"manager": "kubectl"}], "generation": 3,
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a.istio.io/b": "c"},
            },
            "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "cart"}}], "timeout": "2s"}]},
            "status": {"conditions": []},
        });
        let object = decode(&value, "shop").object.unwrap();
        let text = object.text.json().unwrap();
        let again: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(decode(&again, "elsewhere").object.as_ref(), Some(&object));
        for gone in ["managedFields", "last-applied", "status", "uid"] {
            assert!(!text.contains(gone), "{text}");
        }
    }

    #[test]
    fn of_a_pod_its_state_and_its_owner_are_kept() {
        let value = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "cart-1", "namespace": "shop", "ownerReferences": [{"kind": "ReplicaSet", "name": "cart-5d", "controller": true}]},
            "spec": {"containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
        });
        let object = decode(&value, "").object.unwrap();
        let again: serde_json::Value = serde_json::from_str(object.text.json().unwrap()).unwrap();
        assert_eq!(decode(&again, "").object.as_ref(), Some(&object));
    }
}
