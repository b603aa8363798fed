//! `metadata`, as far as it is read.

use std::collections::BTreeMap;

use meltemi_names::{Labels, ObjectKey};
use serde::de::{Deserialize as _, Deserializer, IgnoredAny};

use crate::Meta;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::markers::Unread;
use crate::value::{Timestamp, is_dns_label, signed_integer};

/// As written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "fields that are known and not read")]
pub(super) struct Metadata {
    pub(super) name: String,
    namespace: Unread,
    labels: Labels,
    annotations: BTreeMap<String, String>,
    creation_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "signed_integer")]
    generation: Option<i64>,
    pub(super) generate_name: String,
    pub(super) deletion_timestamp: Option<Timestamp>,
    pub(super) owner_references: Vec<Owner>,
    deletion_grace_period_seconds: Unread,
    finalizers: Unread,
    managed_fields: Unread,
    resource_version: Unread,
    self_link: Unread,
    #[serde(deserialize_with = "text")]
    pub(super) uid: Option<String>,
}

/// A text; anything else is as good as none.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Text(text) => Some(text),
        Written::Other(IgnoredAny) => None,
    })
}

/// What an object was made by.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "fields that are known and not read")]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) controller: bool,
    api_version: Unread,
    uid: Unread,
    block_owner_deletion: Unread,
}

impl Metadata {
    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.value(name)
    }

    /// The value of an annotation.
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// The part that is kept.
    pub(super) fn meta(self, key: ObjectKey) -> Meta {
        let of_istio =
            |name: &str| name.split_once('/').is_some_and(|(domain, _)| domain.ends_with("istio.io"));
        Meta {
            key,
            labels: self.labels,
            annotations: self.annotations.into_iter().filter(|(name, _)| of_istio(name)).collect(),
            created: self.creation_timestamp,
            generation: self.generation,
        }
    }
}

/// Names that no API server would take: they become parts of hosts and of Envoy's names.
pub(super) fn faults_of_names(key: &ObjectKey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (name, namespace) = (key.name.as_str(), key.namespace.as_str());
    if name.len() > 253 || !name.split('.').all(is_dns_label) {
        findings.push(
            Finding::error("bad-name", format!("`{name}` is not a name"))
                .at(&FieldPath::of(&["metadata", "name"]))
                .hint("use letters, digits, `-` and `.`"),
        );
    }
    if !namespace.is_empty() && !is_dns_label(namespace) {
        findings.push(
            Finding::error("bad-name", format!("`{namespace}` is not the name of a namespace"))
                .at(&FieldPath::of(&["metadata", "namespace"]))
                .hint("use letters, digits and `-`"),
        );
    }
    findings
}
