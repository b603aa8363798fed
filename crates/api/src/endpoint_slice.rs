//! EndpointSlice: who serves a Service (Kubernetes discovery.k8s.io/v1).

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_names::{ObjectName, Port};
use serde::de::{Deserialize, Deserializer, Error};

use crate::markers::Unread;
use crate::service::Transport;
use crate::value::non_empty;

/// The label that names the Service of a slice; the only thing that does (Istio: serviceregistry/kube/controller/endpointslice.go).
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The label of slices that describe a service of several clusters (Multi-Cluster Services); they are not read.
pub(crate) const MULTI_CLUSTER_LABEL: &str = "multicluster.kubernetes.io/service-name";

/// The label that says who writes a slice.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// Who writes the slices of services that have a selector.
pub const OF_SELECTORS: &str = "endpointslice-controller.k8s.io";

/// Some endpoints of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The Service in its namespace; none: the slice belongs to no service.
    pub service: Option<ObjectName>,
    /// What the addresses are.
    pub address_type: AddressType,
    /// Who serves.
    pub endpoints: Vec<Endpoint>,
    /// On which ports, the same for all of them.
    pub ports: Vec<EndpointPort>,
}

/// What the addresses of a slice are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum AddressType {
    /// IPv4.
    #[default]
    IPv4,
    /// IPv6.
    IPv6,
    /// Names; such a slice is skipped.
    #[serde(rename = "FQDN")]
    Fqdn,
}

/// One who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses; all are of the same workload. Empty in a slice of names.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes requests.
    pub health: EndpointHealth,
    /// Its own name within the service.
    pub hostname: Option<Arc<str>>,
    /// The pod behind it, in the slice's namespace.
    pub pod: Option<ObjectName>,
    /// The node that it runs on.
    pub node_name: Option<Arc<str>>,
    /// The zone that it runs in.
    pub zone: Option<Arc<str>>,
}

/// Whether an endpoint takes requests, from the slice's three conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct EndpointHealth {
    /// None counts as ready.
    pub ready: Option<bool>,
    /// None counts as serving.
    pub serving: Option<bool>,
    /// None counts as terminating when it is not ready (Istio: serviceregistry/kube/controller/endpointslice.go).
    pub terminating: Option<bool>,
}

impl EndpointHealth {
    /// Takes requests.
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Goes away, and still answers the clients that it has.
    pub fn is_draining(self) -> bool {
        self.is_terminating() && self.serving.unwrap_or(true)
    }

    /// Goes away: such an endpoint is not sent, unless its service drains it.
    pub fn is_terminating(self) -> bool {
        !self.is_ready() && self.terminating.unwrap_or(true)
    }
}

/// A port of the endpoints.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// The name of the service's port; none is the unnamed one.
    #[serde(default, deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// None: every port of the address, which the mesh does not use.
    #[serde(default)]
    pub port: Option<Port>,
    /// TCP, UDP or SCTP.
    #[serde(default, rename = "protocol")]
    pub transport: Transport,
    /// What it speaks, as declared; the service's own declaration is what counts.
    #[serde(default)]
    pub app_protocol: Unread,
}

/// The object as written; its metadata is read apart.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "fields that are known and not read")]
struct Written {
    api_version: Unread,
    kind: Unread,
    metadata: Unread,
    address_type: AddressType,
    endpoints: Vec<WrittenEndpoint>,
    ports: Vec<EndpointPort>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "fields that are known and not read")]
struct WrittenEndpoint {
    addresses: Vec<String>,
    conditions: EndpointHealth,
    hostname: Option<Arc<str>>,
    target_ref: Option<TargetRef>,
    node_name: Option<Arc<str>>,
    zone: Option<Arc<str>>,
    hints: Unread,
    deprecated_topology: Unread,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "fields that are known and not read")]
struct TargetRef {
    kind: String,
    name: String,
    namespace: Unread,
    uid: Unread,
    api_version: Unread,
    resource_version: Unread,
    field_path: Unread,
}

impl<'de> Deserialize<'de> for EndpointSlice {
    /// Of the whole object; [`EndpointSlice::service`] is left to the reader of the labels.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let address_type = written.address_type;
        let endpoint = |endpoint: WrittenEndpoint| -> Result<Endpoint, D::Error> {
            let addresses = match address_type {
                AddressType::Fqdn => Vec::new(),
                AddressType::IPv4 | AddressType::IPv6 => endpoint
                    .addresses
                    .iter()
                    .map(|ip| {
                        ip.parse().map_err(|_| D::Error::custom(format!("`{ip}` is not an IP address")))
                    })
                    .collect::<Result<_, _>>()?,
            };
            Ok(Endpoint {
                addresses,
                health: endpoint.conditions,
                hostname: endpoint.hostname,
                pod: endpoint
                    .target_ref
                    .filter(|target| target.kind == "Pod")
                    .map(|target| ObjectName::from(target.name.as_str())),
                node_name: endpoint.node_name,
                zone: endpoint.zone,
            })
        };
        Ok(Self {
            service: None,
            address_type,
            endpoints: written.endpoints.into_iter().map(endpoint).collect::<Result<_, _>>()?,
            ports: written.ports,
        })
    }
}
