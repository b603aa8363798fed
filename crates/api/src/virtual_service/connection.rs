//! Rules for connections: `tcp` and `tls`.

use meltemi_names::{Host, Namespace, Port, Selector};

use super::Destination;
use super::matching::optional_namespace;
use crate::value::{GatewayName, Subnet, non_empty, port_or_zero};

/// A rule for connections whose bytes are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRoute {
    /// Any of them; empty matches all.
    #[serde(rename = "match")]
    pub matches: Vec<ConnectionMatch>,
    /// Where to, by weight; never empty in a valid object.
    pub route: Vec<ConnectionDestination>,
}

/// A rule for TLS connections that are passed on as they are, told apart by the name that the client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsRoute {
    /// Any of them; never empty in a valid object.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatch>,
    /// Where to, by weight; never empty in a valid object.
    pub route: Vec<ConnectionDestination>,
}

/// Where connections go, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct ConnectionDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative to the others' sum; without meaning when it is the only destination.
    #[serde(default)]
    pub weight: u32,
}

/// Conditions on a connection that must all hold (Istio's `L4MatchAttributes`).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionMatch {
    /// Blocks of which one must hold the address that the client called; empty: any address.
    pub destination_subnets: Vec<Subnet>,
    /// The port that the client called.
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// No effect, as in Istio: the client's address is not looked at.
    #[serde(deserialize_with = "non_empty")]
    pub source_subnet: Option<String>,
    /// Labels of the client's workload.
    pub source_labels: Selector,
    /// Replaces the gateways of the whole resource for this match; unlike in matches of requests the source counts besides.
    pub gateways: Vec<GatewayName>,
    /// The client's namespace.
    #[serde(deserialize_with = "optional_namespace")]
    pub source_namespace: Option<Namespace>,
}

/// Conditions on a TLS connection that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(from = "WrittenTlsMatch")]
pub struct TlsMatch {
    /// Names of which one must be asked for; wildcards cover. Never empty in a valid object.
    pub sni_hosts: Vec<Host>,
    /// As for any connection.
    pub connection: ConnectionMatch,
}

/// A [`TlsMatch`] as its fields stand in the resource: beside each other.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenTlsMatch {
    sni_hosts: Vec<Host>,
    destination_subnets: Vec<Subnet>,
    #[serde(deserialize_with = "port_or_zero")]
    port: Option<Port>,
    source_labels: Selector,
    gateways: Vec<GatewayName>,
    #[serde(deserialize_with = "optional_namespace")]
    source_namespace: Option<Namespace>,
}

impl From<WrittenTlsMatch> for TlsMatch {
    fn from(written: WrittenTlsMatch) -> Self {
        Self {
            sni_hosts: written.sni_hosts,
            connection: ConnectionMatch {
                destination_subnets: written.destination_subnets,
                port: written.port,
                source_subnet: None,
                source_labels: written.source_labels,
                gateways: written.gateways,
                source_namespace: written.source_namespace,
            },
        }
    }
}
