//! Outbound routes: which route configurations and virtual hosts a kind of caller has, and what they hold.
//!
//! Knows: Istio's VirtualServices, default routes and names of virtual hosts. Must not know: a proxy; clusters beyond their names.
//! Start at [`RoutesKey`] (names only), then [`VirtualHostKey`] (name and domains, per class of caller) and [`BodyKey`] (its routes,
//! shared by all callers for whom they are the same).
//! Invariants: a route configuration has at least one virtual host; no domain stands in two of them; a change inside a VirtualService's
//! routes makes its body again and the small resources that point to it, and asks nothing of a set.

mod action;
mod body;
mod cors;
mod domains;
mod fault;
pub mod gateway;
mod hash;
mod headers;
mod http_route;
mod matching;
pub(crate) mod retry;
mod set;
mod view;
mod virtual_host;
mod wire;
mod written;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use meltemi_catalog::ResourceName;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_names::{Host, Namespace, ObjectKey, Port, Selector, TypeUrl};
use meltemi_proto::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, config_source::ConfigSourceSpecifier,
};
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, Vhds};

pub use crate::session::Sessions;
pub(crate) use body::any_name_routes;
pub use body::{BodyKey, VirtualHostBody};
pub use domains::{PortSuffix, ServiceDomains};
pub use hash::HashRules;
pub use virtual_host::{Subject, VirtualHostKey};
pub use written::{PassedOver, Written, passed_over, written};

use crate::encode;
use crate::key::{Made, Members};
use crate::resource_names::{HTTP_PROXY_ROUTE, port_route, service_route, unix_route};
use crate::wrap::u32_value;

/// The outbound routes of one kind of caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutesKey {
    /// Whose services, rules and short names count.
    pub namespace: Namespace,
    /// As in [`crate::key::OutboundKey`].
    pub scope: Option<ObjectKey>,
    /// The domain in which short names resolve; none if they do not.
    pub domain: Option<Arc<str>>,
    /// Which addresses are of use as domains.
    pub family: IpFamily,
    /// As in [`crate::listener::ListenersKey`].
    pub allocated: bool,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// Routes go out as virtual hosts.
    pub virtual_hosts: bool,
    /// The caller's sidecar is an HTTP proxy, too.
    pub http_proxy: bool,
}

impl Question for RoutesKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: routes";

    fn answer(&self, read: &Read<'_>) -> Members {
        set::members(self, read)
    }
}

/// What a route configuration is called, and by that for which listener it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigName {
    /// `80`: all services with that port whose protocol is HTTP, or to be found out.
    Port(Port),
    /// `<host>:<port>`: a service's port whose protocol is found out on a listener of its own.
    Sniffed(Host, Port),
    /// `http.<port>`, `https.<port>.<name>.<gateway>.<namespace>`: servers of Gateways.
    Gateway {
        /// The whole of it.
        name: Arc<str>,
        /// The port that clients know.
        port: Port,
    },
    /// Of a listener that a Sidecar has, or an HTTP proxy is, for all ports of its services: requests say by their host which port they are for.
    AllPorts(AllPorts),
}

/// Where a listener for all ports of its services is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AllPorts {
    /// At a port of protocol `HTTP_PROXY`.
    Port(Port),
    /// At a Unix socket of that path.
    Unix(Arc<str>),
    /// At the port at which the sidecar is an HTTP proxy, without a Sidecar.
    HttpProxy,
}

impl ConfigName {
    /// The port that requests come to; none: each request says for which it is.
    pub fn port(&self) -> Option<Port> {
        match self {
            Self::Port(port) | Self::Sniffed(_, port) | Self::Gateway { port, .. } => Some(*port),
            Self::AllPorts(_) => None,
        }
    }

    /// The name, as listeners ask for it.
    pub fn resource_name(&self) -> ResourceName {
        match self {
            Self::Port(port) | Self::AllPorts(AllPorts::Port(port)) => port_route(*port),
            Self::AllPorts(AllPorts::Unix(path)) => unix_route(path),
            Self::AllPorts(AllPorts::HttpProxy) => HTTP_PROXY_ROUTE.into(),
            Self::Sniffed(host, port) => service_route(host, *port),
            Self::Gateway { name, .. } => (&**name).into(),
        }
    }
}

/// The head of one route configuration: all of it but its virtual hosts, which come by themselves or are put in by who serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Its name.
    pub config: ConfigName,
    /// The proxy is to ask for the virtual hosts by themselves.
    pub virtual_hosts: bool,
}

/// The largest body of a direct response, 1 MiB as in Istio; Envoy's own bound is 4 KiB.
pub const MAX_DIRECT_RESPONSE: u32 = 1_048_576;

impl Question for RouteKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "route configuration";

    fn answer(&self, _read: &Read<'_>) -> Made {
        let name = self.config.resource_name();
        let vhds = self.virtual_hosts.then(|| Vhds {
            config_source: Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
                resource_api_version: ApiVersion::V3.into(),
                // Never start with nothing: a route that is not there yet is not a 404.
                initial_fetch_timeout: Some(wire::NO_TIME),
                ..ConfigSource::default()
            }),
        });
        let head = RouteConfiguration {
            name: name.to_string(),
            vhds,
            // A route to a cluster that does not exist is a 503 for it alone, not a refusal of all.
            validate_clusters: Some(wire::boolean(false)),
            max_direct_response_body_size_bytes: u32_value(MAX_DIRECT_RESPONSE),
            ignore_port_in_host_matching: self.config.port().is_some(),
            ..RouteConfiguration::default()
        };
        Some(encode::whole(TypeUrl::Route, name, &head, Vec::new(), Vec::new()))
    }
}
