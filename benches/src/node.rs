//! Who a simulated sidecar says it is, as Istio's agents write it (facts/xds.md, section 1).
//!
//! Knows: node metadata. Must not know: the mesh's layout.

use std::collections::BTreeMap;

use meltemi_proto::envoy::config::core::v3::node::UserAgentVersionType;
use meltemi_proto::envoy::config::core::v3::{BuildVersion, Node};
use meltemi_proto::envoy::r#type::v3::SemanticVersion;
use meltemi_proto::google::protobuf::{Struct, Value, value::Kind};

/// The pod of a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its address.
    pub ip: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The node of an Envoy 1.40 in that pod.
pub fn node(pod: &Pod) -> Node {
    let Pod { name, namespace, ip, labels } = pod;
    let labels = labels.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    let metadata = BTreeMap::from([
        ("CLUSTER_ID".to_owned(), text("Kubernetes")),
        ("INSTANCE_IPS".to_owned(), text(ip)),
        ("INTERCEPTION_MODE".to_owned(), text("REDIRECT")),
        ("ISTIO_VERSION".to_owned(), text("1.32.0")),
        ("LABELS".to_owned(), structure(labels)),
        ("NAME".to_owned(), text(name)),
        ("NAMESPACE".to_owned(), text(namespace)),
        ("PROXY_CONFIG".to_owned(), structure(BTreeMap::new())),
    ]);
    Node {
        id: format!("sidecar~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
        cluster: format!("{name}.{namespace}"),
        metadata: Some(Struct { fields: metadata }),
        user_agent_name: "envoy".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(BuildVersion {
            version: Some(SemanticVersion { major_number: 1, minor_number: 40, patch: 0 }),
            metadata: None,
        })),
        ..Node::default()
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn structure(fields: BTreeMap<String, Value>) -> Value {
    Value { kind: Some(Kind::StructValue(Struct { fields })) }
}
