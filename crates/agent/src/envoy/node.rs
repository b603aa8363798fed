//! The node by which Envoy introduces itself (Istio: pilot/pkg/model/context.go, pkg/bootstrap/config.go).

use std::collections::BTreeMap;
use std::net::IpAddr;

use meltemi_telemetry::{Workload, tag};
use serde_json::{Map, Value, json};

/// The cluster of those who name none, as in Istio.
const CLUSTER_ID: &str = "Kubernetes";

/// A proxy, as its node says.
#[derive(Clone, Debug)]
pub struct Node {
    /// `sidecar` or `router`.
    pub kind: &'static str,
    /// The workload's addresses; the first is its name's.
    pub addresses: Vec<IpAddr>,
    /// The pod, or what stands for it.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The suffix in which short service names are resolved, `<namespace>.svc.<domain>`.
    pub dns_domain: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Further metadata, which wins.
    pub metadata: Map<String, Value>,
    /// Where it runs: region, zone, sub-zone, as far as is known.
    pub locality: Vec<String>,
    /// What the app is called, where no label says so.
    pub workload: String,
}

impl Node {
    /// As JSON, in the bootstrap's form.
    pub fn to_json(&self) -> Value {
        let Self { kind, name, namespace, dns_domain, .. } = self;
        let ip = self.addresses.first().map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string);
        let ips: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let mut metadata = Map::new();
        metadata.insert("NAME".to_owned(), json!(name));
        metadata.insert("NAMESPACE".to_owned(), json!(namespace));
        metadata.insert("INSTANCE_IPS".to_owned(), json!(ips.join(",")));
        metadata.insert("LABELS".to_owned(), json!(self.labels));
        // Envoy reads it itself where it counts what the workload calls.
        metadata.insert(tag::NODE_METADATA.to_owned(), json!(self.packed()));
        metadata.extend(self.metadata.clone());
        let mut node = json!({
            "id": format!("{kind}~{ip}~{name}.{namespace}~{dns_domain}"),
            "cluster": format!("{}.{namespace}", self.app()),
            "metadata": metadata,
        });
        if let [region, rest @ ..] = self.locality.as_slice() {
            let mut locality = json!({"region": region});
            for (key, value) in ["zone", "sub_zone"].iter().zip(rest) {
                locality[*key] = json!(value);
            }
            node["locality"] = locality;
        }
        node
    }

    /// The workload as metrics know it.
    fn packed(&self) -> String {
        let said = |key: &str| self.metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let name = said("WORKLOAD_NAME").unwrap_or(&self.name);
        let cluster = said("CLUSTER_ID").unwrap_or(CLUSTER_ID);
        let label = |key: &str| self.labels.get(key).map(String::as_str);
        Workload::labelled(name, &self.namespace, cluster, label).packed()
    }

    /// The first of the labels that name an app, as in Istio.
    fn app(&self) -> &str {
        ["app", "app.kubernetes.io/name", "service.istio.io/canonical-name"]
            .iter()
            .find_map(|key| self.labels.get(*key).map(String::as_str))
            .filter(|app| !app.is_empty())
            .unwrap_or(&self.workload)
    }
}
