//! What is kept of an object while it is read: JSON to a value without the parts that nothing follows from.
//!
//! An object of the API server is mostly `managedFields`, environment variables and image lists. They are passed over while the text is
//! read, so that they never take memory. Must not know: what the fields mean.
//! Invariant: total: whatever JSON comes, a value comes out; whether it is an object of the kind is for [`meltemi_api::decode`] to say.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Which part of a value is kept.
#[derive(Debug)]
pub(super) enum Keep {
    /// All of it.
    All,
    /// Of an object, these fields, each as far as it says; anything else whole.
    Only(&'static [(&'static str, Keep)]),
    /// Of a list, each element as far as this says; anything else whole.
    Each(&'static Keep),
}

/// The shape of a kind: which part of its objects is kept.
pub(super) trait Shape: Clone + fmt::Debug + Send + Sync + 'static {
    /// The part.
    const KEEP: Keep;
}

/// The metadata that somebody reads. Not `managedFields`, the largest part of most objects.
const METADATA: Keep = Keep::Only(&[
    ("name", Keep::All),
    ("namespace", Keep::All),
    ("labels", Keep::All),
    ("annotations", Keep::All),
    ("creationTimestamp", Keep::All),
    ("deletionTimestamp", Keep::All),
    ("generation", Keep::All),
    ("resourceVersion", Keep::All),
    ("uid", Keep::All),
    ("ownerReferences", Keep::All),
    ("generateName", Keep::All),
]);

/// Of containers: what a port's name can be looked up by, and whether an init container goes on running.
const CONTAINERS: Keep =
    Keep::Each(&Keep::Only(&[("name", Keep::All), ("ports", Keep::All), ("restartPolicy", Keep::All)]));

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident => [$(($field:literal, $keep:expr)),* $(,)?]),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name;

        impl Shape for $name {
            const KEEP: Keep = Keep::Only(&[("metadata", METADATA), $(($field, $keep)),*]);
        }
    )*};
}

shapes! {
    /// Its metadata is all.
    MetadataOnly => [],
    /// Most kinds: what is wanted.
    SpecOnly => [("spec", Keep::All)],
    /// The kinds whose status says what became of them.
    WithStatus => [("spec", Keep::All), ("status", Keep::All)],
    /// EndpointSlice has its fields at the top.
    Slice => [("addressType", Keep::All), ("endpoints", Keep::All), ("ports", Keep::All)],
    /// ConfigMap: texts.
    Data => [("data", Keep::All)],
    /// Secret: of its values those that a certificate is made of (Istio: pilot/pkg/credentials/kube); a password beside them is never taken.
    CertificateParts => [
        ("type", Keep::All),
        ("data", Keep::Only(&[
            ("cert", Keep::All),
            ("key", Keep::All),
            ("cacert", Keep::All),
            ("crl", Keep::All),
            ("tls.crt", Keep::All),
            ("tls.key", Keep::All),
            ("tls.ocsp-staple", Keep::All),
            ("ca.crt", Keep::All),
            ("ca.crl", Keep::All),
        ])),
    ],
    /// Pod: of its hundreds of fields those that its endpoints, ports and identity are made of.
    PodParts => [
        ("spec", Keep::Only(&[
            ("containers", CONTAINERS),
            ("initContainers", CONTAINERS),
            ("nodeName", Keep::All),
            ("serviceAccountName", Keep::All),
            ("hostNetwork", Keep::All),
            ("hostname", Keep::All),
            ("subdomain", Keep::All),
        ])),
        ("status", Keep::Only(&[
            ("phase", Keep::All),
            ("podIP", Keep::All),
            ("podIPs", Keep::All),
            // Not when it was last looked at.
            ("conditions", Keep::Each(&Keep::Only(&[("type", Keep::All), ("status", Keep::All)]))),
        ])),
    ],
}

/// An object, as far as its shape keeps it.
#[derive(Clone, Debug)]
pub(super) struct Slim<S> {
    /// What was kept.
    pub(super) value: Value,
    shape: PhantomData<S>,
}

impl<'de, S: Shape> Deserialize<'de> for Slim<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const { assert!(matches!(S::KEEP, Keep::Only(_))) };
        let value = Kept(&S::KEEP).deserialize(deserializer)?;
        Ok(Self { value, shape: PhantomData })
    }
}

struct Kept<'k>(&'k Keep);

impl<'de> DeserializeSeed<'de> for Kept<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0 {
            Keep::All => Value::deserialize(deserializer),
            Keep::Only(_) | Keep::Each(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Kept<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let keep = match self.0 {
                Keep::Only(only) => only.iter().find(|(field, _)| *field == name).map(|(_, keep)| keep),
                Keep::All | Keep::Each(_) => Some(&Keep::All),
            };
            match keep {
                Some(keep) => {
                    kept.insert(name, fields.next_value_seed(Kept(keep))?);
                }
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let keep = match self.0 {
            Keep::Each(keep) => keep,
            Keep::All | Keep::Only(_) => &Keep::All,
        };
        let mut kept = Vec::new();
        while let Some(element) = elements.next_element_seed(Kept(keep))? {
            kept.push(element);
        }
        Ok(Value::Array(kept))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificateParts, PodParts, Shape, Slim, SpecOnly};
    use serde_json::json;

    fn slim<S: Shape>(text: &str) -> serde_json::Value {
        serde_json::from_str::<Slim<S>>(text).unwrap().value
    }

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let pod = r#"{"metadata": {"name": "a", "uid": "1", "managedFields": [{"manager": "kubelet"}], "labels": {"app": "a"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "env": [{"name": "SECRET", "value": "x"}], "ports": [{"containerPort": 1}]}],
                     "volumes": [1, 2]},
            "status": {"podIP": "10.0.0.1", "containerStatuses": [{}]}}"#;
        assert_eq!(
            slim::<PodParts>(pod),
            json!({
                "metadata": {"name": "a", "uid": "1", "labels": {"app": "a"}},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"containerPort": 1}]}]},
                "status": {"podIP": "10.0.0.1"},
            })
        );
    }

    #[test]
    fn a_password_beside_a_certificate_is_not_kept() {
        let secret = r#"{"metadata": {"name": "a"}, "type": "Opaque", "data": {"tls.crt": "YQ==", "password": "aHVudGVyMg=="}}"#;
        assert_eq!(
            slim::<CertificateParts>(secret),
            json!({"metadata": {"name": "a"}, "type": "Opaque", "data": {"tls.crt": "YQ=="}})
        );
    }

    #[test]
    fn what_is_of_another_type_than_expected_is_kept_as_it_is() {
        for (text, kept) in [
            (r#"{"metadata": "text", "spec": 7}"#, json!({"metadata": "text", "spec": 7})),
            (r#"{"metadata": null, "spec": [1.5, true]}"#, json!({"metadata": null, "spec": [1.5, true]})),
            ("[]", json!([])),
            ("-3", json!(-3)),
        ] {
            assert_eq!(slim::<SpecOnly>(text), kept);
        }
        let odd = r#"{"spec": {"containers": {"ports": [1]}}}"#;
        assert_eq!(slim::<PodParts>(odd), json!({"spec": {"containers": {"ports": [1]}}}));
    }
}
