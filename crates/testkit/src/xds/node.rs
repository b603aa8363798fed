//! Who a client says it is.

use anyhow::{Context, Result};
use meltemi_proto::envoy::config::core::v3::Node as Message;
use meltemi_proto::json;
use prost::Message as _;
use serde_json::{Map, Value, json};

/// A node in the making, with the fields and metadata that Istio's sidecars send (facts/xds.md, section 1).
#[derive(Clone, Debug)]
pub struct Node {
    kind: &'static str,
    name: String,
    namespace: String,
    ip: String,
    metadata: Map<String, Value>,
    labels: Map<String, Value>,
    extensions: Vec<Value>,
    locality: Option<Value>,
}

impl Node {
    /// The sidecar of the pod `name` in `namespace`, at 127.0.0.1.
    pub fn sidecar(name: &str, namespace: &str) -> Self {
        Self {
            kind: "sidecar",
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            ip: "127.0.0.1".to_owned(),
            metadata: Map::new(),
            labels: Map::new(),
            extensions: Vec::new(),
            locality: None,
        }
    }

    /// A gateway instead.
    #[must_use]
    pub fn router(mut self) -> Self {
        self.kind = "router";
        self
    }

    /// Its address.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        ip.clone_into(&mut self.ip);
        self
    }

    /// One more label of the pod.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.into());
        self
    }

    /// One more entry of the metadata, such as `INTERCEPTION_MODE`; one that is set anyway is replaced.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn locality(mut self, region: &str, zone: &str, sub_zone: &str) -> Self {
        self.locality = Some(json!({"region": region, "zone": zone, "sub_zone": sub_zone}));
        self
    }

    /// One more extension that this Envoy has.
    #[must_use]
    pub fn extension(mut self, category: &str, name: &str) -> Self {
        self.extensions.push(json!({"category": category, "name": name}));
        self
    }

    /// The message.
    ///
    /// # Errors
    /// When a metadata value is no Protobuf value.
    pub fn message(&self) -> Result<Message> {
        let Self { kind, name, namespace, ip, .. } = self;
        let mut metadata = json!({
            "NAME": name,
            "NAMESPACE": namespace,
            "INSTANCE_IPS": ip,
            "LABELS": self.labels,
            "ISTIO_VERSION": "1.32.0",
            "PROXY_CONFIG": {},
        });
        if let Value::Object(entries) = &mut metadata {
            entries.extend(self.metadata.clone());
        }
        let mut node = json!({
            "id": format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("{name}.{namespace}"),
            "metadata": metadata,
            "user_agent_name": "envoy",
            "user_agent_build_version": {"version": {"major_number": 1, "minor_number": 40}},
            "extensions": self.extensions,
        });
        if let Some(locality) = &self.locality {
            node["locality"] = locality.clone();
        }
        let bytes = json::from_json("envoy.config.core.v3.Node", &node).context("the node")?;
        Ok(Message::decode(bytes.as_slice())?)
    }
}
