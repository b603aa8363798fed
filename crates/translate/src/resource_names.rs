//! Names of resources, as Istio's users and tools know them, and back.

use meltemi_catalog::ResourceName;
use meltemi_names::{Host, Port};

/// Clusters that stand for no service.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
/// Sends to where the client wanted to go.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// Sends to where the request's host leads.
pub const ANY_NAME: &str = "AllowAnyDynamicDNSCluster";
/// The same as [`PASSTHROUGH`] for what comes in.
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

/// The route configuration of the port at which a sidecar is an HTTP proxy (Istio: pilot/pkg/model/listener.go, `RDSHttpProxy`).
pub const HTTP_PROXY_ROUTE: &str = "http_proxy";

/// `outbound|<port>|<subset>|<host>`; the port is the service's, never the target's (Istio: pilot/pkg/model/service.go).
pub fn outbound_cluster(port: Port, subset: Option<&str>, host: &Host) -> ResourceName {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default()).into()
}

/// `inbound|<target port>||`.
pub fn inbound_cluster(target: Port) -> ResourceName {
    format!("inbound|{target}||").into()
}

/// The route configuration that all HTTP services of a port share: `80` (Istio: pilot/pkg/networking/core/listener.go).
pub fn port_route(port: Port) -> ResourceName {
    port.to_string().into()
}

/// The route configuration of a listener on a Unix socket.
pub fn unix_route(path: &str) -> ResourceName {
    format!("unix://{path}").into()
}

/// The route configuration of a service whose protocol is found out, on listeners at its own addresses: `<host>:<port>`. Which
/// services have one: [`crate::listener::has_own_route`].
pub fn service_route(host: &Host, port: Port) -> ResourceName {
    format!("{host}:{port}").into()
}
