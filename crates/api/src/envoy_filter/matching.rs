//! What a patch is for: which proxies, and which of the things that they are served.

use std::collections::BTreeMap;

use crate::markers::{Unread, not_yet};

/// Conditions that must all hold; none: everything of the patch's kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchMatch {
    /// Which traffic it is for.
    pub context: Context,
    /// Which proxies.
    pub proxy: Option<ProxyMatch>,
    /// Which listeners, or parts of them.
    pub listener: Option<ListenerMatch>,
    /// Which route configurations, or parts of them.
    pub route_configuration: Option<RouteConfigurationMatch>,
    /// Which clusters.
    pub cluster: Option<ClusterMatch>,
    /// Which parts of a waypoint.
    pub waypoint: Option<Unread>,
}

/// Which traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Context {
    /// All of it.
    #[default]
    Any,
    /// What comes to a workload.
    SidecarInbound,
    /// What a workload sends.
    SidecarOutbound,
    /// What goes through a gateway.
    Gateway,
    /// What goes through a waypoint.
    Waypoint,
}

impl Context {
    /// Whether a patch of this context is for that traffic.
    pub fn covers(self, traffic: Self) -> bool {
        self == Self::Any || self == traffic
    }
}

/// Which proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyMatch {
    /// A regular expression that is found in the proxy's `ISTIO_VERSION`; empty: any.
    pub proxy_version: String,
    /// Texts of the node's metadata that must be these.
    pub metadata: BTreeMap<String, String>,
}

/// Which listeners; zero and empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerMatch {
    /// The port that it listens on; of `virtualInbound` and `virtualOutbound`, the destination port of a chain.
    pub port_number: u32,
    /// Read by nobody, as in Istio.
    pub port_name: not_yet::PatchPortName,
    /// Which chains.
    pub filter_chain: Option<FilterChainMatch>,
    /// Which listener filter, by its name.
    pub listener_filter: String,
    /// Its name.
    pub name: String,
}

/// Which chains; zero and empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterChainMatch {
    /// Its name.
    pub name: String,
    /// Among the server names of its match.
    pub sni: String,
    /// As in its match.
    pub transport_protocol: String,
    /// Read by nobody, as in Istio.
    pub transport_socket: not_yet::PatchTransportSocket,
    /// With commas between; all are among those of its match.
    pub application_protocols: String,
    /// Which of its filters.
    pub filter: Option<ChainFilter>,
    /// As in its match.
    pub destination_port: u32,
}

/// Which filter of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChainFilter {
    /// Its name.
    pub name: String,
    /// Which filter of an HTTP connection manager.
    pub sub_filter: Option<SubFilter>,
}

/// Which filter of an HTTP connection manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubFilter {
    /// Its name.
    pub name: String,
}

/// Which route configurations; zero and empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteConfigurationMatch {
    /// The port that its name stands for.
    pub port_number: u32,
    /// Of a gateway: the name of the server's port.
    pub port_name: String,
    /// Of a gateway: `<namespace>/<name>` of the Gateway.
    pub gateway: String,
    /// Which virtual hosts.
    pub vhost: Option<VirtualHostMatch>,
    /// Its name.
    pub name: String,
}

/// Which virtual hosts; empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualHostMatch {
    /// Istio's name of it: `<host>:<port>`.
    pub name: String,
    /// One of its domains.
    pub domain_name: String,
    /// Which routes.
    pub route: Option<RouteMatch>,
}

/// Which routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// Its name; empty: any.
    pub name: String,
    /// What it does.
    pub action: RouteAction,
}

/// What a route does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "each is the action of that name")]
pub enum RouteAction {
    #[default]
    Any,
    Route,
    Redirect,
    DirectResponse,
}

/// Which clusters; zero and empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterMatch {
    /// The service's port; of an inbound cluster, the port that the application listens on.
    pub port_number: u32,
    /// The service's host.
    pub service: String,
    /// The subset.
    pub subset: String,
    /// Its name; no other field is looked at then.
    pub name: String,
}
