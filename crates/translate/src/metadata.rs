//! `filter_metadata.istio`: from which object a resource comes, and which services it stands for, as istioctl and metrics read it.

use std::collections::BTreeMap;

use meltemi_model::service::ServiceId;
use meltemi_names::{Kind, ObjectKey};
use meltemi_proto::envoy::config::core::v3::Metadata;
use meltemi_proto::google::protobuf::{ListValue, Struct, Value, value};

/// The key under which Istio's own metadata stands.
const ISTIO: &str = "istio";

/// Metadata of these fields; none if there are none.
pub fn istio(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Option<Metadata> {
    let fields = structure(fields);
    (!fields.fields.is_empty()).then(|| Metadata {
        filter_metadata: BTreeMap::from([(ISTIO.to_owned(), fields)]),
        ..Metadata::default()
    })
}

/// The key under which Meltemi's own metadata stands.
const MELTEMI: &str = "meltemi";

/// The same metadata with what metrics call the service, packed, as Envoy counts by it (`listener::metrics`): Istio's list of services
/// is a structure, which takes Envoy longer to write at each request than all else that it counts by.
pub fn with_service(metadata: Option<Metadata>, packed: String) -> Option<Metadata> {
    let mut metadata = metadata.unwrap_or_default();
    metadata.filter_metadata.insert(MELTEMI.to_owned(), structure([("service", text(packed))]));
    Some(metadata)
}

/// What metrics call a service.
pub fn packed_service(service: &ServiceId) -> String {
    meltemi_telemetry::service(service.host.as_str(), service.name(), service.namespace().as_str())
}

/// Lets a cluster's `transport_socket_matches` find an endpoint: under the name that Envoy looks for.
pub fn choose_socket(metadata: &mut Metadata, key: &'static str, value: &str) {
    let fields = structure([(key, text(value))]);
    metadata.filter_metadata.insert("envoy.transport_socket_match".to_owned(), fields);
}

/// `config`: the path of an object at the API server (Istio: pilot/pkg/networking/util/util.go).
pub fn config(key: &ObjectKey) -> (&'static str, Value) {
    let kind = match key.kind {
        Kind::VirtualService => "virtual-service",
        Kind::DestinationRule => "destination-rule",
        other => other.as_str(),
    };
    let path = format!("/apis/networking.istio.io/v1/namespaces/{}/{kind}/{}", key.namespace, key.name);
    ("config", text(path))
}

/// `services`: a list of one service.
pub fn services(service: &ServiceId) -> (&'static str, Value) {
    let service = structure([
        ("host", text(service.host.as_str())),
        ("name", text(service.name())),
        ("namespace", text(service.namespace().as_str())),
    ]);
    let list = ListValue { values: vec![Value { kind: Some(value::Kind::StructValue(service)) }] };
    ("services", Value { kind: Some(value::Kind::ListValue(list)) })
}

/// `external`: the service is not part of the mesh.
pub fn external() -> (&'static str, Value) {
    ("external", Value { kind: Some(value::Kind::BoolValue(true)) })
}

/// A text.
pub fn text(text: impl Into<String>) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.into())) }
}

fn structure(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Struct {
    Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}
