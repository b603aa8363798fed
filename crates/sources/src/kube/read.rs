//! One object of the API server, as the store and the status writer need it.

use std::sync::Arc;

use meltemi_api::secret::is_of_certificates;
use meltemi_api::{Decoded, Finding, Object, Severity, decode};
use meltemi_names::{Kind, Namespace, ObjectKey};
use serde_json::Value;

use super::follow::Name;
use super::kinds::{Part, Watched};
use crate::batch::reason;

/// What an object is now.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) meaning: Meaning,
    pub(super) findings: Vec<Finding>,
    /// Of kinds that have a status of ours.
    pub(super) written: Option<Written>,
}

/// What follows from an object.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    /// It is this.
    Object(Arc<Object>),
    /// It cannot be used, for this reason.
    Refused(Arc<str>),
    /// Nothing: its kind is not supported yet.
    Nothing,
}

/// What the API server has written beside an object's spec: what a status is patched against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The API group, version and plural by which the server was asked for it.
    pub resource: Resource,
    /// Which version of the object that is; a patch that names another one is refused by the server.
    pub resource_version: Arc<str>,
    /// Its label `istio.io/rev`: the revision of the control plane that it is for; empty: any.
    pub revision: Arc<str>,
    /// The server's count of changes of the spec.
    pub generation: i64,
    /// `status`, whoever wrote it; null if there is none.
    pub status: Arc<Value>,
}

/// What the ConfigMap with the mesh's settings is called to the mesh.
const SETTINGS: &str = "istio";

/// By which words an API server is asked for objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `networking.istio.io`.
    pub group: &'static str,
    /// A version that the server serves.
    pub version: &'static str,
    /// `virtualservices`.
    pub plural: &'static str,
}

/// Takes a decoded JSON value of a kind at a version.
pub(super) fn read(watched: &Watched, version: &'static str, name: &Name, mut value: Value) -> Option<Read> {
    let kind = watched.kind?;
    if let Value::Object(fields) = &mut value {
        // Items of a list do not say it.
        fields.insert("apiVersion".to_owned(), watched.api_version(version).into());
        fields.insert("kind".to_owned(), kind.as_str().into());
    }
    let key = key(kind, watched, name);
    if watched.part == Part::Data
        && let Some(name) = value.pointer_mut("/metadata/name")
    {
        *name = key.name.as_str().into();
    }
    let Decoded { object, mut findings, key: read_as, skipped } = decode(&value, "");
    if kind == Kind::Secret && object.is_none() && !is_of_certificates(&value) {
        // A `key` of some application is no certificate that is broken: a Gateway that names it says that it is not there.
        findings.clear();
    }
    if skipped.is_some() || (kind == Kind::Secret && object.is_none() && findings.is_empty()) {
        return Some(Read { meaning: Meaning::Nothing, findings, written: None });
    }
    // What is written beside the spec may be part of what the object says: it is taken away when that was read.
    let written = (watched.part == Part::SpecAndStatus)
        .then(|| written(Resource { group: watched.group, version, plural: watched.plural }, &mut value));
    let meaning = match object {
        Some(object) => Meaning::Object(Arc::new(object)),
        // A kind that is not supported yet has no key.
        None if read_as.is_none() && findings.iter().all(|finding| finding.severity != Severity::Error) => {
            Meaning::Nothing
        }
        None => Meaning::Refused(reason(&findings)),
    };
    let findings = findings.into_iter().map(|finding| finding.about(&key)).collect();
    Some(Read { meaning, findings, written })
}

/// The key of an object of that name. Of the ConfigMaps with settings only one is watched, `istio` or `istio-<revision>`: to the mesh it
/// is the one.
pub(super) fn key(kind: Kind, watched: &Watched, name: &Name) -> ObjectKey {
    let own = if watched.part == Part::Data { SETTINGS.into() } else { Arc::clone(&name.name) };
    ObjectKey::new(kind, Namespace::from(Arc::clone(&name.namespace)), own)
}

fn written(resource: Resource, value: &mut Value) -> Written {
    let metadata = |field: &str| value.get("metadata").and_then(|metadata| metadata.get(field));
    let resource_version = metadata("resourceVersion").and_then(Value::as_str).unwrap_or_default().into();
    let revision = metadata("labels").and_then(|labels| labels.get("istio.io/rev")).and_then(Value::as_str);
    let revision = revision.unwrap_or_default().into();
    let generation = metadata("generation").and_then(Value::as_i64).unwrap_or_default();
    let status = value.get_mut("status").map(Value::take).unwrap_or_default();
    Written { resource, resource_version, revision, generation, status: Arc::new(status) }
}
