//! An object's text as it is kept: what a control plane hands on of an object that it has in force.
//!
//! Invariant: decoded again, it is the same object, whatever namespace is said to be the usual one.

use std::collections::BTreeMap;

use meltemi_names::{Kind, ObjectKey};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::object::Text;

/// What is left out of `metadata`: what servers note about an object, and the copy of it that `kubectl apply` makes.
const NOTED: &[&str] =
    &["managedFields", "resourceVersion", "uid", "selfLink", "finalizers", "ownerReferences"];

/// The kinds of which the status is read: what becomes of a workload decides about its endpoints, and hosts may be given addresses there.
/// All other status is what somebody writes about the object.
const READS_STATUS: &[Kind] = &[Kind::Pod, Kind::WorkloadEntry, Kind::ServiceEntry];

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
                "status" if !READS_STATUS.contains(&self.key.kind) => {}
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
                    let kept = annotations.iter().filter(|(key, _)| *key != LAST_APPLIED);
                    all.serialize_entry(name, &kept.collect::<BTreeMap<_, _>>())?;
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

    #[test]
    fn the_status_is_kept_of_kinds_that_read_it() {
        let entry = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": "vm", "namespace": "shop", "annotations": {"proxy.istio.io/health-checks-enabled": "true"}},
            "spec": {"address": "10.0.0.1"},
            "status": {"conditions": [{"type": "Healthy", "status": "True"}]},
        });
        let service = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": "pay", "namespace": "shop"},
            "spec": {"hosts": ["pay.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS"},
            "status": {"addresses": [{"host": "pay.example", "value": "240.240.0.7"}]},
        });
        for mut value in [entry, service] {
            let object = decode(&value, "").object.unwrap();
            let again: serde_json::Value = serde_json::from_str(object.text.json().unwrap()).unwrap();
            assert_eq!(decode(&again, "").object.as_ref(), Some(&object));
            // The status does count.
            value["status"] = json!({});
            assert_ne!(decode(&value, "").object.as_ref(), Some(&object));
        }
    }

    #[test]
    fn a_config_map_is_read_if_it_is_the_meshs_settings() {
        for (name, is_kept) in [("istio", true), ("passwords", false)] {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"mesh": ""}});
            let object = decode(&value, "").object;
            assert_eq!(object.is_some_and(|object| object.text.json().is_some()), is_kept, "{name}");
        }
    }
}
