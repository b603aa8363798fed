//! Sidecar: what a proxy sees of the mesh, and how it is reached (Istio's reference: networking/sidecar).

use std::net::IpAddr;

use meltemi_names::{Host, Namespace, Port, Protocol, Selector};

use crate::destination_rule::ConnectionPool;
use crate::gateway::ServerTls;
use crate::mesh_config::OutboundMode;
use crate::value::{from_text, is_dns_label, non_empty, port_or_zero};
use crate::virtual_service::Destination;

/// What the proxies of some workloads see, and how they are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sidecar {
    /// The workloads that it is for; none: all of the namespace that no other one selects (in the root namespace: of the mesh).
    pub workload_selector: Option<SidecarSelector>,
    /// What proxies take for their applications; empty: what services lead to.
    pub ingress: Vec<Ingress>,
    /// What applications call; empty: everything that is exported to the namespace.
    pub egress: Vec<Egress>,
    /// Limits of what comes in, in place of those of DestinationRules.
    pub inbound_connection_pool: Option<ConnectionPool>,
    /// What happens to connections to unknown destinations; none: what the mesh says.
    pub outbound_traffic_policy: Option<SidecarOutboundPolicy>,
}

/// Which workloads a Sidecar is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct SidecarSelector {
    /// All of these labels; none: every workload of the namespace.
    pub labels: Selector,
}

/// A port that a proxy listens on for its application.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// The port. None is a mistake that validation reports.
    pub port: Option<ListenPort>,
    /// The address of the socket, where there is one.
    #[serde(deserialize_with = "optional_address")]
    pub bind: Option<IpAddr>,
    /// Whether connections are redirected to it, or it has a socket.
    pub capture_mode: CaptureMode,
    /// Where the application listens; none: at the port itself.
    pub default_endpoint: Option<DefaultEndpoint>,
    /// Read, but not supported yet, as in an Istio without `ENABLE_TLS_ON_SIDECAR_INGRESS`.
    pub tls: Option<ServerTls>,
    /// Limits, in place of those of the Sidecar.
    pub connection_pool: Option<ConnectionPool>,
}

/// What applications call, at a port of the proxy or at all that no other entry has.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Egress {
    /// The port; none: every port of the services that no other entry has.
    pub port: Option<ListenPort>,
    /// Where it listens; none: at the services' own addresses, or on the loopback address where nothing is redirected.
    pub bind: Option<EgressBind>,
    /// Whether connections are redirected to it, or it has a socket.
    pub capture_mode: CaptureMode,
    /// The services that are called.
    pub hosts: Vec<EgressHost>,
}

/// A port of a Sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenPort {
    /// Its number; none (0): a Unix socket.
    #[serde(deserialize_with = "port_or_zero")]
    pub number: Option<Port>,
    /// What it speaks, as written.
    pub protocol: String,
    /// Its name.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// Has no meaning here; a mistake that validation reports.
    pub target_port: u32,
}

/// The protocols that Istio knows by name (istio: pkg/config/protocol/instance.go), in lower case.
const PROTOCOLS: [(&str, Protocol); 14] = [
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("grpc", Protocol::Grpc),
    ("grpc-web", Protocol::GrpcWeb),
    ("http", Protocol::Http),
    ("http_proxy", Protocol::HttpProxy),
    ("http2", Protocol::Http2),
    ("https", Protocol::Https),
    ("tls", Protocol::Tls),
    ("mongo", Protocol::Mongo),
    ("redis", Protocol::Redis),
    ("mysql", Protocol::Mysql),
    ("hbone", Protocol::Tcp),
    ("", Protocol::Auto),
];

impl ListenPort {
    /// What it speaks; none for a word that is no protocol.
    pub fn known_protocol(&self) -> Option<Protocol> {
        let written = self.protocol.to_ascii_lowercase();
        PROTOCOLS.iter().find(|(name, _)| *name == written).map(|(_, protocol)| *protocol)
    }

    /// What it speaks; to be found out where nothing is written.
    pub fn protocol(&self) -> Protocol {
        self.known_protocol().unwrap_or(Protocol::Auto)
    }
}

/// How connections come to a port of a Sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As to the proxy's other ports.
    #[default]
    Default,
    /// They are redirected.
    Iptables,
    /// They are made to the proxy itself, which has a socket there.
    None,
}

/// Where an egress listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EgressBind {
    /// At an address.
    Ip(IpAddr),
    /// At a Unix socket: its path, or `@` and a name.
    Unix(String),
}

impl EgressBind {
    /// Parses an IP address or `unix:///path`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return unix_path(text, path).map(Self::Unix);
        }
        text.parse().map(Self::Ip).map_err(|_| format!("`{text}` is neither an IP address nor unix:///path"))
    }
}

from_text!(EgressBind);

const UNIX: &str = "unix://";

fn unix_path(text: &str, path: &str) -> Result<String, String> {
    if path.len() > 1 && path.starts_with(['/', '@']) {
        Ok(path.to_owned())
    } else {
        Err(format!("`{text}`: the path of a Unix socket must be absolute"))
    }
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultEndpoint {
    /// At a port of its own.
    Port {
        /// At which address.
        at: EndpointHost,
        /// Which port.
        port: Port,
    },
    /// At a Unix socket: its path, or `@` and a name.
    Unix(String),
}

/// At which address an application listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointHost {
    /// `127.0.0.1`: on the loopback address.
    Loopback,
    /// `[::1]`: the same, of IPv6 if there is a choice.
    LoopbackV6,
    /// `0.0.0.0`: on the pod's own address.
    Pod,
    /// `[::]`: the same, of IPv6.
    PodV6,
    /// Not written.
    Unsaid,
}

impl DefaultEndpoint {
    /// Parses `127.0.0.1:port`, `[::1]:port`, `0.0.0.0:port`, `[::]:port`, `:port` or `unix:///path`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return unix_path(text, path).map(Self::Unix);
        }
        let wrong = || {
            format!(
                "`{text}` is none of 127.0.0.1:port, 0.0.0.0:port, [::1]:port, [::]:port and unix:///path"
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let at = match host {
            "" => EndpointHost::Unsaid,
            "127.0.0.1" | "[127.0.0.1]" => EndpointHost::Loopback,
            "[::1]" => EndpointHost::LoopbackV6,
            "0.0.0.0" | "[0.0.0.0]" => EndpointHost::Pod,
            "[::]" => EndpointHost::PodV6,
            _ => return Err(wrong()),
        };
        let number = port.parse().ok().and_then(Port::new);
        Ok(Self::Port { at, port: number.ok_or_else(|| format!("`{port}` is no port: 1 to 65535"))? })
    }
}

impl<'de> serde::Deserialize<'de> for DefaultEndpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What a Sidecar says of connections to unknown destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarOutboundPolicy {
    /// What happens; not written is [`OutboundMode::RegistryOnly`].
    pub mode: OutboundMode,
    /// Where they go, in place of where they were meant for.
    pub egress_proxy: Option<Destination>,
}

/// The services of one entry of `hosts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressHost {
    /// They are left out, in place of taken in.
    pub excluded: bool,
    /// Of which namespace.
    pub namespace: EgressNamespace,
    /// By their hosts, exact or wildcard.
    pub host: Host,
}

/// Of which namespace services are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EgressNamespace {
    /// `.`: of the workload's own.
    Own,
    /// `*`: of any.
    Any,
    /// Of that one.
    Named(Namespace),
}

impl EgressHost {
    /// Parses `namespace/host`, with `~` in front to leave it out.
    ///
    /// # Errors
    /// When it is of another shape, or a part is neither a name nor a sign that may stand there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((namespace, host)) = text.split_once('/') else {
            return Err(format!(
                "`{text}` must be `namespace/host`, as in `./*` or `prod/reviews.prod.svc.cluster.local`"
            ));
        };
        let (excluded, namespace) = match namespace.strip_prefix('~') {
            Some("") => (true, "*"),
            Some(namespace) => (true, namespace),
            None => (false, namespace),
        };
        let namespace = match namespace {
            "." => EgressNamespace::Own,
            "*" => EgressNamespace::Any,
            name if is_dns_label(name) => EgressNamespace::Named(name.into()),
            name => {
                return Err(format!("`{name}` of `{text}` is neither `.`, `*` nor the name of a namespace"));
            }
        };
        let host = Host::parse(host).map_err(|error| error.to_string())?;
        if host.is_short() {
            return Err(format!("`{host}` of `{text}` is a short name: write the whole host, or a wildcard"));
        }
        if host.as_str().parse::<IpAddr>().is_ok() {
            return Err(format!("`{host}` of `{text}` is an address: write the host of a service"));
        }
        Ok(Self { excluded, namespace, host })
    }

    /// All services of all namespaces.
    pub fn everything() -> Self {
        #[allow(clippy::expect_used, reason = "a constant")]
        let host = Host::parse("*").expect("a wildcard");
        Self { excluded: false, namespace: EgressNamespace::Any, host }
    }
}

from_text!(EgressHost);

impl std::fmt::Display for EgressHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.excluded { "~" } else { "" };
        let namespace = match &self.namespace {
            EgressNamespace::Own => ".",
            EgressNamespace::Any => "*",
            EgressNamespace::Named(name) => name.as_str(),
        };
        write!(f, "{sign}{namespace}/{}", self.host)
    }
}

/// An address; the empty text is none.
fn optional_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = non_empty(deserializer)? else { return Ok(None) };
    let address = text.parse().map_err(|_| format!("`{text}` is not an IP address"));
    address.map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::{DefaultEndpoint, EgressHost, EndpointHost};
    use meltemi_names::Port;

    #[test]
    fn a_host_has_a_namespace_and_may_be_left_out() {
        for text in [
            "./*",
            "*/*",
            "prod/reviews.prod.svc.cluster.local",
            "*/*.example.com",
            "~prod/*",
            "~./*",
            "~*/*",
        ] {
            assert_eq!(EgressHost::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(EgressHost::parse("~/*").unwrap().to_string(), "~*/*");
        for bad in [
            "",
            "reviews",
            "/reviews.prod",
            "prod/reviews",
            "prod/",
            "a b/*",
            "prod/*a.com",
            "prod/1.2.3.4",
            "prod/a/b",
        ] {
            assert!(EgressHost::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_at_one_of_four_addresses_or_a_socket() {
        let port = Port::new(80).unwrap();
        for (text, at) in [
            ("127.0.0.1:80", EndpointHost::Loopback),
            ("[::1]:80", EndpointHost::LoopbackV6),
            ("0.0.0.0:80", EndpointHost::Pod),
            ("[::]:80", EndpointHost::PodV6),
            (":80", EndpointHost::Unsaid),
        ] {
            assert_eq!(DefaultEndpoint::parse(text), Ok(DefaultEndpoint::Port { at, port }), "{text}");
        }
        assert_eq!(DefaultEndpoint::parse("unix:///a"), Ok(DefaultEndpoint::Unix("/a".into())));
        for bad in
            ["", "80", "10.0.0.1:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "unix://a", "localhost:80"]
        {
            assert!(DefaultEndpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
