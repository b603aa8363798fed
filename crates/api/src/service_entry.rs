//! ServiceEntry: a service that Kubernetes does not know (Istio's reference: networking/service-entry).

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_names::{Host, Port, Protocol, Selector};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;

use crate::value::{ExportTo, Subnet, port_or_zero};
use crate::workload_entry::WorkloadEntry;

/// Services by their hosts: one for each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntry {
    /// The names by which they are called, exact or wildcard. Not resolved: a short name is literally that.
    pub hosts: Vec<Host>,
    /// Virtual addresses, or blocks of them, at which they are called.
    pub addresses: Vec<Subnet>,
    /// Their ports.
    pub ports: Vec<ServiceEntryPort>,
    /// Whether they are part of the mesh.
    pub location: Location,
    /// How their endpoints are found.
    pub resolution: EntryResolution,
    /// Where they are.
    pub endpoints: Vec<WorkloadEntry>,
    /// Instead of endpoints: the WorkloadEntries and Pods of the namespace with these labels are.
    pub workload_selector: Option<EntrySelector>,
    /// Empty: the mesh's default.
    pub export_to: Vec<ExportTo>,
    /// Of which the server's certificate must have one.
    pub subject_alt_names: Vec<Arc<str>>,
    /// `status.addresses`: the addresses that Istio's controller gave to hosts without any. Read, never written.
    #[serde(skip)]
    pub allocated: Vec<(Host, IpAddr)>,
}

/// The label by whose value `false` an entry is given no addresses.
const ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";

impl ServiceEntry {
    /// Whether its hosts without wildcard are given addresses, at which proxies that answer DNS are called (Istio:
    /// pilot/pkg/networking/serviceentry).
    pub fn is_allocated(&self, meta: &crate::Meta) -> bool {
        let declines = meta.labels.value(ALLOCATE).is_some_and(|value| value.eq_ignore_ascii_case("false"));
        self.resolution != EntryResolution::None && self.addresses.is_empty() && !declines
    }

    /// Whether `host`, one of its own, can have such an address: a name that is many names has none.
    pub fn can_have_address(&self, host: &Host) -> bool {
        !host.is_wildcard() || self.resolution == EntryResolution::DynamicDns
    }

    /// Takes what of the object's status is read.
    pub(crate) fn with_status(mut self, status: Option<&Value>) -> Self {
        let addresses = status.and_then(|status| status.get("addresses")).and_then(Value::as_array);
        let text = |address: &Value, name: &str| address.get(name).and_then(Value::as_str).map(str::to_owned);
        let read = |address: &Value| {
            let host = Host::parse(&text(address, "host")?).ok()?;
            Some((host, text(address, "value")?.parse().ok()?))
        };
        self.allocated = addresses.into_iter().flatten().filter_map(read).collect();
        self
    }
}

/// Which workloads serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct EntrySelector {
    /// All of these labels; none: every workload of the namespace.
    pub labels: Selector,
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntryPort {
    /// What clients call; none is a mistake that validation reports.
    pub number: Option<Port>,
    /// By which endpoints name theirs. It declares no protocol.
    pub name: String,
    /// What it speaks; [`Protocol::Auto`] if nothing is written.
    pub protocol: Protocol,
    /// What the endpoints listen on; none: the same number.
    pub target_port: Option<Port>,
}

impl<'de> Deserialize<'de> for ServiceEntryPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            #[serde(default, deserialize_with = "port_or_zero")]
            number: Option<Port>,
            #[serde(default)]
            name: String,
            #[serde(default, deserialize_with = "protocol")]
            protocol: Option<Protocol>,
            #[serde(default, deserialize_with = "port_or_zero")]
            target_port: Option<Port>,
        }
        let Written { number, name, protocol, target_port } = Written::deserialize(deserializer)?;
        Ok(Self { number, name, protocol: protocol.unwrap_or(Protocol::Auto), target_port })
    }
}

/// The protocols of Istio (pkg/config/protocol), in any case; empty is not set.
fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Protocol>, D::Error> {
    let Some(text) = crate::value::non_empty(deserializer)? else { return Ok(None) };
    // What follows a hyphen is part of a port's name, but never of a protocol.
    let named = text.eq_ignore_ascii_case("grpc-web") || !text.contains('-');
    match Protocol::declared_by(&text).filter(|_| named) {
        Some(protocol) => Ok(Some(protocol)),
        // Tunnels of the ambient mesh are bytes to a sidecar.
        None if text.eq_ignore_ascii_case("hbone") => Ok(Some(Protocol::Tcp)),
        None => Err(D::Error::custom(format!(
            "`{text}` is none of the protocols HTTP, HTTPS, HTTP2, GRPC, GRPC-Web, TCP, TLS, UDP, MONGO, REDIS, MYSQL, HTTP_PROXY"
        ))),
    }
}

/// Whether a service is part of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// No: nobody there has the mesh's certificates.
    #[default]
    MeshExternal,
    /// Yes.
    MeshInternal,
}

/// How the endpoints of a ServiceEntry are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryResolution {
    /// Where the connection was going anyway.
    #[default]
    None,
    /// They are written.
    Static,
    /// Their names are resolved: all the addresses that come of it.
    Dns,
    /// The host's name is resolved, and each connection goes to the first address that is then known.
    DnsRoundRobin,
    /// The name of each request is resolved.
    DynamicDns,
}
