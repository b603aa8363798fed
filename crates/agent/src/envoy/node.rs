//! The node by which Envoy introduces itself (Istio: pilot/pkg/model/context.go, pkg/bootstrap/config.go).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

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

    /// The first of the labels that name an app, as in Istio.
    fn app(&self) -> &str {
        ["app", "app.kubernetes.io/name", "service.istio.io/canonical-name"]
            .iter()
            .find_map(|key| self.labels.get(*key).map(String::as_str))
            .filter(|app| !app.is_empty())
            .unwrap_or(&self.workload)
    }
}
