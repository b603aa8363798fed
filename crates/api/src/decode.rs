//! A value (from YAML, JSON or the Kubernetes API) to a typed object and findings.
//!
//! Must not know: files; a finding here has a field, and its place is found by [`crate::Places`].
//! Invariant: an object that cannot be taken still yields its key when kind and name can be read, so that it is never taken for a
//! deleted one.

mod kinds;
mod metadata;
mod pod;
pub(crate) mod reader;
mod written;

#[cfg(test)]
mod tests;

use meltemi_names::{Kind, ObjectKey, ObjectName};
use serde_json::Value;

use crate::endpoint_slice::{MULTI_CLUSTER_LABEL, SERVICE_NAME_LABEL};
use crate::field::FieldPath;
use crate::finding::{Finding, Severity};
use crate::markers::Unread;
use crate::mesh_config::{ConfigMap, read_mesh_config};
use crate::secret::is_credential;
use crate::workload_entry::HEALTH_CHECKS;
use crate::{Credential, EndpointSlice, Object, Spec, validate};

use kinds::Reading;
use metadata::Metadata;
use reader::{Fault, Notice};

/// How many findings an object may have: a file that is no resource at all must not fill the log.
const FINDINGS: usize = 100;

/// What a rejected object leaves behind.
pub(crate) const LAST_GOOD: &str = "the last good version of this object, if there is one";

/// What became of a value.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The object that the value is, or would be if it were right. None for kinds that are not read.
    pub key: Option<ObjectKey>,
    /// The object; none when a finding is an error, and for kinds that are not read.
    pub object: Option<Object>,
    /// What was found, without places.
    pub findings: Vec<Finding>,
    /// The kind of an object that is none of the mesh's.
    pub skipped: Option<String>,
}

impl Decoded {
    fn of(finding: Finding) -> Self {
        Self { findings: vec![finding], ..Self::default() }
    }

    fn skipped(kind: &str) -> Self {
        Self { skipped: Some(kind.to_owned()), ..Self::default() }
    }
}

/// Reads one object. An object without a namespace is of `namespace`, unless its kind has none.
pub fn decode(value: &Value, namespace: &str) -> Decoded {
    let Value::Object(fields) = value else {
        return Decoded::of(Finding::warning("not-an-object", "this is no Kubernetes object"));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if kind.is_empty() || api_version.is_empty() {
        let absent = if kind.is_empty() { "kind" } else { "apiVersion" };
        return Decoded::of(
            Finding::warning("not-an-object", format!("without `{absent}` this is no Kubernetes object"))
                .in_force("the document is skipped"),
        );
    }
    match kinds::reading(api_version, kind) {
        Reading::Skip => Decoded::skipped(kind),
        Reading::Read(Kind::Secret) if !is_credential(value) => Decoded::skipped(kind),
        // Folders are full of ConfigMaps; only one holds the mesh's settings.
        Reading::Read(Kind::ConfigMap)
            if key(value, Kind::ConfigMap, namespace)
                .is_some_and(|key| key.name.as_str() != MESH_CONFIG_MAP) =>
        {
            Decoded::skipped(kind)
        }
        Reading::Read(kind) => read(value, kind, namespace),
        Reading::NotYet(kind, instead) => {
            let mut finding = Finding::warning("not-supported-yet", format!("{kind} is not supported yet"))
                .in_force(instead);
            finding.key = key(value, kind, namespace);
            Decoded::of(finding)
        }
        Reading::Foreign(instead) => Decoded::of(
            Finding::warning("not-supported-yet", format!("{kind} of {api_version} is not supported yet"))
                .in_force(instead),
        ),
        Reading::Version(known, wanted) => {
            let mut finding =
                Finding::error("bad-api-version", format!("{kind} is not read at version {api_version}"))
                    .at(&FieldPath::of(&["apiVersion"]))
                    .hint(format!("write apiVersion: {wanted}"))
                    .in_force(LAST_GOOD);
            let key = key(value, known, namespace);
            finding.key = key.clone();
            Decoded { key, findings: vec![finding], ..Decoded::default() }
        }
        Reading::Unknown(nearest) => {
            let mut finding = Finding::warning("unknown-kind", format!("{api_version} has no kind `{kind}`"))
                .at(&FieldPath::of(&["kind"]))
                .in_force("the document is skipped");
            finding.hint = nearest.map(|nearest| format!("did you mean `{nearest}`?"));
            Decoded::of(finding)
        }
    }
}

/// Whether a document of that kind is none of the mesh's, as far as that can be told without reading it: as [`decode`] would say.
pub(crate) fn is_skipped(api_version: &str, kind: &str, text: &str) -> bool {
    match kinds::reading(api_version, kind) {
        Reading::Skip => !kind.ends_with("List"),
        // A name is written as it is, but for the escapes of a quoted text.
        Reading::Read(Kind::ConfigMap) => !text.contains(MESH_CONFIG_MAP) && !text.contains('\\'),
        _ => false,
    }
}

/// The key of what may be an object of that kind, from whatever part of its metadata can be read.
fn key(value: &Value, kind: Kind, namespace: &str) -> Option<ObjectKey> {
    let metadata = value.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
    let own = metadata.get("namespace").and_then(Value::as_str).filter(|name| !name.is_empty());
    let namespace = match kind {
        Kind::Node | Kind::Namespace => "",
        _ => own.unwrap_or(namespace),
    };
    Some(ObjectKey::new(kind, namespace, name))
}

fn read(value: &Value, kind: Kind, namespace: &str) -> Decoded {
    let Some(key) = key(value, kind, namespace) else {
        return Decoded::of(no_name(value, kind));
    };
    let mut findings = metadata::faults_of_names(&key);
    let mut notices = Vec::new();
    let object = match read_spec(value, &key, &mut notices, &mut findings) {
        Ok((metadata, spec)) => {
            Some(Object { meta: metadata.meta(key.clone()), spec, text: written::text(value, &key) })
        }
        Err(fault) => {
            let Fault { message, hint, path } = fault;
            let mut finding = Finding::error("bad-value", message).at(&path.unwrap_or_default());
            finding.hint = hint;
            findings.push(finding);
            None
        }
    };
    // Of the many fields of pods and nodes only those are declared that are read.
    if matches!(kind, Kind::Pod | Kind::Node) {
        notices.retain(|notice| !matches!(notice, Notice::Unknown { .. }));
    }
    findings.extend(notices.into_iter().take(FINDINGS).map(finding_of));
    if let Some(object) = &object {
        findings.extend(validate::object(object));
    }
    // The errors come first when there are too many.
    if findings.len() > FINDINGS {
        findings.sort();
        findings.truncate(FINDINGS);
    }
    for finding in &mut findings {
        finding.key = Some(key.clone());
        if finding.severity == Severity::Error {
            finding.in_force.get_or_insert_with(|| LAST_GOOD.to_owned());
        }
    }
    let sound = findings.iter().all(|finding| finding.severity != Severity::Error);
    Decoded { object: object.filter(|_| sound), key: Some(key), findings, skipped: None }
}

fn no_name(value: &Value, kind: Kind) -> Finding {
    let path = FieldPath::of(&["metadata", "name"]);
    let given = |name: &str| value.get("metadata").and_then(|metadata| metadata.get(name));
    let finding = |message: String| Finding::error("no-name", message).at(&path);
    match given("name") {
        Some(Value::Number(number)) => {
            finding(format!("the name of this {kind} must be a text, found the number {number}"))
                .hint(format!("write it in quotes: \"{number}\""))
        }
        _ if given("generateName").is_some_and(Value::is_string) => {
            finding(format!("this {kind} has only a generateName, which an API server completes"))
                .hint("give it metadata.name")
        }
        _ => finding(format!("this {kind} has no name")).hint("give it metadata.name"),
    }
}

/// What most kinds look like.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "fields that are known and not read")]
struct Root<S> {
    api_version: Unread,
    kind: Unread,
    metadata: Metadata,
    spec: S,
    #[serde(default)]
    status: Unread,
}

/// A kind whose spec may be left out.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", bound = "S: Default + serde::Deserialize<'de>")]
#[allow(dead_code, reason = "fields that are known and not read")]
struct RootOfPolicy<S> {
    api_version: Unread,
    kind: Unread,
    metadata: Metadata,
    #[serde(default)]
    spec: S,
    #[serde(default)]
    status: Unread,
}

/// A kind of which the metadata is all.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "fields that are known and not read")]
struct Bare {
    api_version: Unread,
    kind: Unread,
    metadata: Metadata,
    #[serde(default)]
    spec: Unread,
    #[serde(default)]
    status: Unread,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "fields that are known and not read")]
struct RootOfConfigMap {
    api_version: Unread,
    kind: Unread,
    metadata: Metadata,
    #[serde(default)]
    data: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    binary_data: Unread,
    #[serde(default)]
    immutable: Unread,
}

/// Reads the metadata of a kind whose other fields stand beside it.
#[derive(serde::Deserialize)]
struct MetadataOnly {
    metadata: Metadata,
}

fn read_spec(
    value: &Value,
    key: &ObjectKey,
    notices: &mut Vec<Notice>,
    findings: &mut Vec<Finding>,
) -> Result<(Metadata, Spec), Fault> {
    let root = FieldPath::root();
    macro_rules! of_spec {
        ($kind:ident) => {{
            let read: Root<crate::$kind> = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::$kind(read.spec)))
        }};
    }
    match key.kind {
        Kind::VirtualService => of_spec!(VirtualService),
        Kind::DestinationRule => of_spec!(DestinationRule),
        Kind::WorkloadEntry => {
            let read: Root<crate::WorkloadEntry> = reader::read(value, &root, notices)?;
            let status = value.get("status");
            let entry = read.spec.with_status(read.metadata.annotation(HEALTH_CHECKS), status);
            Ok((read.metadata, Spec::WorkloadEntry(entry)))
        }
        Kind::ServiceEntry => {
            let read: Root<crate::ServiceEntry> = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::ServiceEntry(read.spec.with_status(value.get("status")))))
        }
        Kind::WorkloadGroup => of_spec!(WorkloadGroup),
        Kind::EnvoyFilter => of_spec!(EnvoyFilter),
        Kind::Gateway => of_spec!(Gateway),
        Kind::Sidecar => of_spec!(Sidecar),
        Kind::ProxyConfig => of_spec!(ProxyConfig),
        Kind::PeerAuthentication => {
            // Without a spec it is the default of its namespace.
            let read: RootOfPolicy<crate::PeerAuthentication> = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::PeerAuthentication(read.spec)))
        }
        Kind::Telemetry => {
            let read: RootOfPolicy<crate::Telemetry> = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::Telemetry(read.spec)))
        }
        Kind::Service => of_spec!(Service),
        Kind::Pod => {
            let read: pod::Written = reader::read(value, &root, notices)?;
            let (metadata, pod) = read.pod();
            Ok((metadata, Spec::Pod(pod)))
        }
        Kind::EndpointSlice => {
            let mut slice: EndpointSlice = reader::read(value, &root, notices)?;
            // The slice's own reading has passed over the fields beside the metadata.
            let read: MetadataOnly = reader::read(value, &root, &mut Vec::new())?;
            slice.service = read
                .metadata
                .label(SERVICE_NAME_LABEL)
                .filter(|name| !name.is_empty() && read.metadata.label(MULTI_CLUSTER_LABEL).is_none())
                .map(ObjectName::from);
            Ok((read.metadata, Spec::EndpointSlice(slice)))
        }
        Kind::ConfigMap => {
            let read: RootOfConfigMap = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::ConfigMap(config_map(&read.data, findings))))
        }
        Kind::Secret => {
            let read: MetadataOnly = reader::read(value, &root, &mut Vec::new())?;
            // Where a finding stands, its line of the file is shown: never one of the data.
            let path = Some(FieldPath::of(&["metadata", "name"]));
            let credential =
                Credential::read(value).map_err(|message| Fault { message, hint: None, path })?;
            Ok((read.metadata, Spec::Secret(credential)))
        }
        Kind::Node => {
            let read: Bare = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::Node))
        }
        _ => {
            let read: Bare = reader::read(value, &root, notices)?;
            Ok((read.metadata, Spec::Namespace))
        }
    }
}

/// The mesh's settings, from the only ConfigMap that is read.
fn config_map(data: &std::collections::BTreeMap<String, String>, findings: &mut Vec<Finding>) -> ConfigMap {
    if data.contains_key("meshNetworks") {
        findings.push(
            Finding::warning("not-supported-yet", "this setting is not supported yet")
                .at(&FieldPath::of(&["data", "meshNetworks"]))
                .in_force("all endpoints are reached directly"),
        );
    }
    let Some(text) = data.get("mesh") else { return ConfigMap::default() };
    let (mesh, found) = read_mesh_config(text, &FieldPath::of(&["data", "mesh"]));
    findings.extend(found);
    ConfigMap { mesh: mesh.unwrap_or_default().into() }
}

/// The name of the ConfigMap that holds the mesh's settings (Istio: pilot/pkg/bootstrap/mesh.go).
pub(crate) const MESH_CONFIG_MAP: &str = "istio";

/// A notice of the reader as a finding.
pub(crate) fn finding_of(notice: Notice) -> Finding {
    match notice {
        Notice::Unknown { path, fields } => {
            let name = match path.segments().last() {
                Some(crate::field::Segment::Key(name)) => name.as_str(),
                _ => "",
            };
            let mut finding =
                Finding::warning(UNKNOWN_FIELD, format!("there is no field `{name}` here")).at(&path);
            finding.hint = reader::nearest(name, fields).map(|nearest| format!("did you mean `{nearest}`?"));
            finding.in_force("the field is ignored")
        }
        Notice::NotYet { path, instead } => {
            Finding::warning("not-supported-yet", "this field is not supported yet")
                .at(&path)
                .in_force(instead)
        }
    }
}

/// The code of the finding that stands at a field's name rather than at its value.
pub(crate) const UNKNOWN_FIELD: &str = "unknown-field";
