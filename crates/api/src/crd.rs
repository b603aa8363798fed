//! The CRDs of Istio's kinds: what `meltemi crds` prints and the chart installs.
//!
//! Knows: names, versions and schemas of the kinds, as Istio's own CRDs have them. Must not know: an API server, YAML.   Start at
//! [`all`]; one file per kind.
//! Invariant: what Istio's CRD of a kind takes, this one takes and keeps: an API server drops each field that a schema lacks,
//! without a word. So all fields are here, also those that nothing reads yet. All versions of a kind have one schema.
//!
//! WasmPlugin and TrafficExtension are left out: nothing of `extensions.istio.io` is read.

mod authorization_policy;
mod connection_pool;
mod destination_rule;
mod envoy_filter;
mod gateway;
mod peer_authentication;
mod proxy_config;
mod request_authentication;
mod schema;
mod selector;
mod server;
mod service_entry;
mod sidecar;
mod status;
mod telemetry;
mod traffic_policy;
mod virtual_service;
mod workload_entry;
mod workload_group;

#[cfg(test)]
mod tests;

use meltemi_names::Kind;
use serde_json::{Value, json};

use schema::{Schema, object};

/// A column of `kubectl get`: heading, path, type, what it says.
type Column = (&'static str, &'static str, &'static str, &'static str);

/// How old the object is. Where a CRD has any column, it has to be asked for.
const AGE: Column = ("Age", ".metadata.creationTimestamp", "date", "Since when it is there.");

/// One kind's CustomResourceDefinition.
#[derive(Clone, Debug)]
pub struct Crd {
    kind: Kind,
    group: &'static str,
    plural: &'static str,
    short: Option<&'static str>,
    versions: &'static [&'static str],
    storage: &'static str,
    columns: Vec<Column>,
    spec: Schema,
    spec_required: bool,
}

/// The versions of most kinds of the group `networking.istio.io`.
const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// The versions of the kinds of the group `security.istio.io`.
const SECURITY: &[&str] = &["v1", "v1beta1"];

/// All of them, in the order of their names.
pub fn all() -> Vec<Crd> {
    let mut all = networking();
    all.extend(security());
    all.push(
        // The version that is stored is the older one: so Istio has it, and objects may be stored so.
        Crd::new(Kind::Telemetry, "telemetry.istio.io", "telemetries", telemetry::spec())
            .versions(&["v1", "v1alpha1"], "v1alpha1")
            .short("telemetry")
            .columns(&[AGE]),
    );
    all.sort_by_key(Crd::name);
    all
}

fn networking() -> Vec<Crd> {
    let of =
        |kind, plural, spec| Crd::new(kind, "networking.istio.io", plural, spec).versions(NETWORKING, "v1");
    vec![
        of(Kind::DestinationRule, "destinationrules", destination_rule::spec())
            .short("dr")
            .columns(&[("Host", ".spec.host", "string", "The service that it is about."), AGE]),
        of(Kind::EnvoyFilter, "envoyfilters", envoy_filter::spec()).versions(&["v1alpha3"], "v1alpha3"),
        of(Kind::Gateway, "gateways", gateway::spec()).short("gw"),
        of(Kind::ProxyConfig, "proxyconfigs", proxy_config::spec()).versions(&["v1beta1"], "v1beta1"),
        of(Kind::ServiceEntry, "serviceentries", service_entry::spec()).short("se").spec_required().columns(
            &[
                ("Hosts", ".spec.hosts", "string", "The names by which it is called."),
                ("Location", ".spec.location", "string", "Whether it is part of the mesh."),
                ("Resolution", ".spec.resolution", "string", "How its endpoints are found."),
                AGE,
            ],
        ),
        of(Kind::Sidecar, "sidecars", sidecar::spec()),
        of(Kind::VirtualService, "virtualservices", virtual_service::spec()).short("vs").columns(&[
            ("Gateways", ".spec.gateways", "string", "Where the traffic is routed."),
            ("Hosts", ".spec.hosts", "string", "Whose traffic it is."),
            AGE,
        ]),
        of(Kind::WorkloadEntry, "workloadentries", workload_entry::spec())
            .short("we")
            .spec_required()
            .columns(&[AGE, ("Address", ".spec.address", "string", "Where it is.")]),
        of(Kind::WorkloadGroup, "workloadgroups", workload_group::spec())
            .short("wg")
            .spec_required()
            .columns(&[AGE]),
    ]
}

fn security() -> Vec<Crd> {
    let of = |kind, plural, spec| Crd::new(kind, "security.istio.io", plural, spec).versions(SECURITY, "v1");
    vec![
        of(Kind::AuthorizationPolicy, "authorizationpolicies", authorization_policy::spec())
            .short("ap")
            .columns(&[("Action", ".spec.action", "string", "What it does to a request that matches."), AGE]),
        of(Kind::PeerAuthentication, "peerauthentications", peer_authentication::spec())
            .short("pa")
            .columns(&[("Mode", ".spec.mtls.mode", "string", "Whether plain text is taken."), AGE]),
        of(Kind::RequestAuthentication, "requestauthentications", request_authentication::spec()).short("ra"),
    ]
}

impl Crd {
    fn new(kind: Kind, group: &'static str, plural: &'static str, spec: Schema) -> Self {
        let (versions, columns) = (&[][..], Vec::new());
        Self { kind, group, plural, short: None, versions, storage: "", columns, spec, spec_required: false }
    }

    fn versions(self, versions: &'static [&'static str], storage: &'static str) -> Self {
        Self { versions, storage, ..self }
    }

    fn short(self, name: &'static str) -> Self {
        Self { short: Some(name), ..self }
    }

    fn columns(self, columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), ..self }
    }

    /// An object without a `spec` is refused.
    fn spec_required(self) -> Self {
        Self { spec_required: true, ..self }
    }

    /// The kind that it defines.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its API group.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// The kind's name in paths and in RBAC rules.
    pub fn plural(&self) -> &'static str {
        self.plural
    }

    /// The versions that are served, newest first.
    pub fn served(&self) -> &'static [&'static str] {
        self.versions
    }

    /// The CRD's own name: `plural.group`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The CustomResourceDefinition, the same each time.
    pub fn to_value(&self) -> Value {
        let schema = self.schema().into_value();
        let columns: Vec<Value> = self
            .columns
            .iter()
            .map(|(name, path, kind, about)| {
                json!({"name": name, "type": kind, "jsonPath": path, "description": about})
            })
            .collect();
        let version = |name: &&str| {
            let mut version = json!({"name": name, "served": true, "storage": *name == self.storage});
            if !columns.is_empty() {
                version["additionalPrinterColumns"] = Value::Array(columns.clone());
            }
            version["schema"] = json!({"openAPIV3Schema": schema});
            version["subresources"] = json!({"status": {}});
            version
        };
        let versions: Vec<Value> = self.versions.iter().map(version).collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.name(),
                "labels": {"app.kubernetes.io/name": "meltemi", "app.kubernetes.io/component": "crd"},
                // Removing the chart must not remove every object of the mesh.
                "annotations": {"helm.sh/resource-policy": "keep"},
            },
            "spec": {"group": self.group, "names": self.names(), "scope": "Namespaced", "versions": versions},
        })
    }

    fn names(&self) -> Value {
        let singular = self.kind.as_str().to_ascii_lowercase();
        let mut names = json!({
            "kind": self.kind.as_str(),
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": singular,
            // `kubectl get istio-io -A` lists them all, and `networking-istio-io` those of one group.
            "categories": ["istio-io", self.group.replace('.', "-")],
        });
        if let Some(short) = self.short {
            names["shortNames"] = json!([short]);
        }
        names
    }

    fn schema(&self) -> Schema {
        let whole = object([("spec", self.spec.clone()), ("status", status::status())]);
        if self.spec_required { whole.required(&["spec"]) } else { whole }
    }
}
