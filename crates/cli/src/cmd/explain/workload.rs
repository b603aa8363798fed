//! Workloads of the mesh, as senders and receivers: found by name or by address.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::value::Address;
use meltemi_api::{Object, Spec, WorkloadEntry};
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::proxy::STATS_LOGGER;
use meltemi_model::settings::Settings;
use meltemi_names::{Kind, Labels, ObjectKey, SpiffeId};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The label of workloads whose sidecar speaks mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// A workload, and what its proxy is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// The kind of the object that describes it; none: nothing in the mesh does.
    pub(crate) kind: Option<&'static str>,
    pub(crate) labels: Labels,
    pub(crate) address: Option<IpAddr>,
    /// Whose identity it has; `default` where nobody says.
    pub(crate) service_account: String,
    /// The name in its certificate.
    pub(crate) identity: String,
    /// Its sidecar has a certificate: by its label, and for one that nothing describes by the command line.
    pub(crate) has_certificate: bool,
    /// Its proxy is a gateway, to which clients from outside of the mesh come.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) gateway: bool,
    /// Its object says whose identity it has.
    #[serde(skip)]
    names_account: bool,
    #[serde(skip)]
    pub(crate) key: Option<ObjectKey>,
}

impl Workload {
    /// The Pod or WorkloadEntry of that name; else a plain workload of that name. `labels` count before those that it is known to have.
    pub(crate) fn named(mesh: &Mesh, name: &str, namespace: &str, labels: &[(String, String)]) -> Self {
        let domain = trust_domain(mesh);
        let object = [Kind::Pod, Kind::WorkloadEntry]
            .into_iter()
            .find_map(|kind| mesh.object(&ObjectKey::new(kind, namespace, name)));
        let mut workload = object
            .and_then(|object| Self::of(object, &domain))
            .unwrap_or_else(|| Self::plain(name, namespace, &domain));
        if !labels.is_empty() {
            let own = workload.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            // The later of two of one key counts.
            workload.labels = own.chain(labels.iter().cloned()).collect();
            workload = workload.labelled();
        }
        workload
    }

    /// The workload that listens at that address.
    pub(crate) fn at(mesh: &Mesh, address: IpAddr, port: u16) -> Option<Self> {
        let found = mesh.objects().filter_map(|object| Some((fit(object, address, port)?, object)));
        let (_, object) = found.min_by_key(|(fit, _)| *fit)?;
        Self::of(object, &trust_domain(mesh)).map(|workload| Self { address: Some(address), ..workload })
    }

    fn plain(name: &str, namespace: &str, domain: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            kind: None,
            labels: Labels::default(),
            address: None,
            service_account: String::new(),
            identity: String::new(),
            // As every sidecar that an agent stands beside.
            has_certificate: true,
            gateway: false,
            names_account: false,
            key: None,
        }
        .identified(domain)
    }

    fn of(object: &Object, domain: &str) -> Option<Self> {
        let key = &object.meta.key;
        let (labels, address, account) = match &object.spec {
            Spec::Pod(pod) => {
                (object.meta.labels.clone(), pod.ips.first().copied(), pod.service_account.to_string())
            }
            Spec::WorkloadEntry(entry) => {
                let own = entry.labels.iter().chain(object.meta.labels.iter());
                let labels = own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                let address = ip(entry);
                (labels, address, entry.service_account.clone().unwrap_or_default())
            }
            _ => return None,
        };
        let plain = Self::plain(key.name.as_str(), key.namespace.as_str(), domain);
        let kind = Some(key.kind.as_str());
        let names_account = !account.is_empty();
        let found = Self {
            kind,
            labels,
            address,
            service_account: account,
            names_account,
            key: Some(key.clone()),
            ..plain
        };
        Some(found.identified(domain).labelled())
    }

    /// With a certificate, or without, as its object says.
    fn labelled(self) -> Self {
        let kind =
            if self.kind == Some(Kind::WorkloadEntry.as_str()) { Kind::WorkloadEntry } else { Kind::Pod };
        let has_certificate = has_certificate(kind, &self.labels, self.names_account);
        Self { has_certificate, ..self }
    }

    fn identified(mut self, domain: &str) -> Self {
        if self.service_account.is_empty() {
            "default".clone_into(&mut self.service_account);
        }
        self.identity = format!("spiffe://{domain}/ns/{}/sa/{}", self.namespace, self.service_account);
        self
    }

    /// What people call it: `Pod shop/reviews-v1`, or the name alone.
    pub(crate) fn title(&self) -> String {
        match self.kind {
            Some(kind) => format!("{kind} {}/{}", self.namespace, self.name),
            None => format!("{} in namespace {}", self.name, self.namespace),
        }
    }

    /// The node by which its proxy introduces itself.
    pub(crate) fn node(&self, interception: &str) -> Value {
        let Self { name, namespace, .. } = self;
        let address = self.address.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string());
        let kind = if self.gateway { "router" } else { "sidecar" };
        let labels: Map<String, Value> =
            self.labels.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        json!({
            "id": format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            // As every Envoy of these days.
            "extensions": [{"name": STATS_LOGGER}],
            "metadata": {
                "NAME": name,
                "NAMESPACE": namespace,
                "INSTANCE_IPS": address,
                "LABELS": labels,
                "INTERCEPTION_MODE": interception,
                "MELTEMI_CERTIFICATES": self.has_certificate.to_string(),
            },
        })
    }
}

/// Whether the sidecar beside a workload has a certificate: its label says so, which injection sets. A WorkloadEntry that names its service
/// account is taken to have one, too (Istio: serviceregistry/serviceentry/conversion.go).
pub(crate) fn has_certificate(kind: Kind, labels: &Labels, names_account: bool) -> bool {
    match labels.value(TLS_MODE) {
        Some(mode) => mode == "istio",
        None => kind == Kind::WorkloadEntry && names_account,
    }
}

/// Whose identities the mesh gives out.
fn trust_domain(mesh: &Mesh) -> Arc<str> {
    let memo: Memo<Mesh> = Memo::new();
    let (_, settings) = memo.observe(Settings, mesh);
    settings.trust_domain.clone()
}

/// How well an object describes the workload at that address and port; none: not at all.
fn fit(object: &Object, address: IpAddr, port: u16) -> Option<u8> {
    match &object.spec {
        Spec::Pod(pod) => pod.ips.contains(&address).then_some(0),
        Spec::WorkloadEntry(entry) => {
            let of_port = || entry.ports.values().any(|own| own.number() == port);
            (ip(entry) == Some(address)).then(|| match (entry.ports.is_empty(), of_port()) {
                (false, true) => 0,
                (true, _) => 1,
                (false, false) => 2,
            })
        }
        _ => None,
    }
}

/// What a person calls the owner of an identity: `reviews of namespace shop`.
pub(crate) fn owner(identity: &str) -> Option<String> {
    let id = SpiffeId::parse(identity).ok()?;
    Some(format!("service account {} of namespace {}", id.service_account(), id.namespace()))
}

/// A WorkloadEntry's address, if it is one and no name.
pub(crate) fn ip(entry: &WorkloadEntry) -> Option<IpAddr> {
    match entry.address {
        Some(Address::Ip(ip)) => Some(ip),
        _ => None,
    }
}
