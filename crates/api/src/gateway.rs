//! Gateway: what proxies at the edge of the mesh listen to (Istio's reference: networking/gateway).

mod tls;

use std::net::IpAddr;

use meltemi_names::{Host, Namespace, Port, Protocol, Selector};

pub use tls::{ServerCertificate, ServerTls, ServerTlsMode, TlsProtocol};

use crate::markers::not_yet;
use crate::value::{from_text, is_dns_label, non_empty, port_or_zero};

/// What some proxies of type router listen to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// The labels of the proxies, in whatever namespace they are; empty: all of them.
    pub selector: Selector,
    /// What they listen to; never empty in a valid object.
    pub servers: Vec<Server>,
}

/// A port, and the hosts that are served there.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// For people and statistics.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// None is a mistake that validation reports.
    pub port: Option<ServerPort>,
    /// Where it listens; none: on all addresses.
    pub bind: Option<ServerBind>,
    /// Never empty in a valid object.
    pub hosts: Vec<ServerHost>,
    /// None: nothing is encrypted, and nobody is redirected.
    pub tls: Option<ServerTls>,
    /// Without effect, as in Istio.
    pub default_endpoint: not_yet::DefaultEndpoint,
}

impl Server {
    /// What its port speaks; TCP where a mistake left it out.
    pub fn protocol(&self) -> Protocol {
        self.port.as_ref().and_then(|port| port.protocol).unwrap_or(Protocol::Tcp)
    }

    /// The port's number; none for a Unix socket.
    pub fn number(&self) -> Option<Port> {
        self.port.as_ref().and_then(|port| port.number)
    }

    /// Its TLS, on a port that is for TLS (Istio: pkg/config/gateway, `IsTLSServer`).
    pub fn encrypted(&self) -> Option<&ServerTls> {
        self.tls.as_ref().filter(|_| !self.protocol().is_http())
    }

    /// How the proxy ends TLS here; none where it passes connections on, or takes them in the clear.
    pub fn terminates(&self) -> Option<&ServerTls> {
        self.encrypted().filter(|tls| !tls.mode.passes_on())
    }

    /// Whether requests are routed one by one (Istio: pkg/config/gateway, `IsHTTPServer`).
    pub fn is_http(&self) -> bool {
        self.protocol().is_http() || (self.protocol() == Protocol::Https && self.terminates().is_some())
    }

    /// Whether clients in the clear are sent to HTTPS.
    pub fn redirects(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }
}

/// A port to listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerPort {
    /// The number that clients know; none is right for Unix sockets alone.
    #[serde(deserialize_with = "port_or_zero")]
    pub number: Option<Port>,
    /// What it speaks; none is a mistake that validation reports.
    #[serde(deserialize_with = "protocol")]
    pub protocol: Option<Protocol>,
    /// What tells it from the Gateway's other ports.
    pub name: String,
    /// A mistake: it has no effect in a Gateway.
    #[serde(deserialize_with = "port_or_zero")]
    pub target_port: Option<Port>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerBind {
    /// On that address.
    Ip(IpAddr),
    /// On the Unix socket of that path (`@...`: of that abstract name).
    Unix(String),
}

impl ServerBind {
    /// Parses an address or `unix:///path`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.strip_prefix(['/', '@']) {
                Some(name) if !name.is_empty() => Ok(Self::Unix(path.to_owned())),
                _ => Err(format!("`{text}` is no socket: write unix:///an/absolute/path or unix://@name")),
            };
        }
        text.parse().map(Self::Ip).map_err(|_| format!("`{text}` is no IP address; names are not looked up"))
    }
}

impl std::fmt::Display for ServerBind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

from_text!(ServerBind);

/// A host that is served, and whose VirtualServices may say how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerHost {
    /// The namespace of the VirtualServices.
    pub namespace: HostNamespace,
    /// The host; may be a wildcard.
    pub host: Host,
}

/// The namespaces of the VirtualServices that a host is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostNamespace {
    /// All of them: `*/`, or nothing written.
    Any,
    /// The Gateway's own: `./`.
    Own,
    /// That one.
    Named(Namespace),
}

impl ServerHost {
    /// Parses `host` or `namespace/host`.
    ///
    /// # Errors
    /// When a part of it is not what it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (namespace, host) = match text.split_once('/') {
            None => (HostNamespace::Any, text),
            Some(("*", host)) => (HostNamespace::Any, host),
            Some((".", host)) => (HostNamespace::Own, host),
            Some((namespace, host)) if is_dns_label(namespace) => {
                (HostNamespace::Named(namespace.into()), host)
            }
            Some((namespace, _)) => {
                return Err(format!(
                    "`{namespace}` is no namespace: write `.` for its own, `*` for all, or a name"
                ));
            }
        };
        let host = Host::parse(host).map_err(|error| error.to_string())?;
        if host.is_short() {
            return Err(format!("`{host}` is a short name; write the whole name by which clients call"));
        }
        Ok(Self { namespace, host })
    }

    /// Whether VirtualServices of `namespace` may say how it is served; `own`: the Gateway's.
    pub fn is_for(&self, namespace: &Namespace, own: &Namespace) -> bool {
        match &self.namespace {
            HostNamespace::Any => true,
            HostNamespace::Own => namespace == own,
            HostNamespace::Named(named) => namespace == named,
        }
    }
}

impl std::fmt::Display for ServerHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            HostNamespace::Any => write!(f, "{}", self.host),
            HostNamespace::Own => write!(f, "./{}", self.host),
            HostNamespace::Named(namespace) => write!(f, "{namespace}/{}", self.host),
        }
    }
}

from_text!(ServerHost);

/// A protocol by Istio's name of it, in any case; empty is none (Istio: pkg/config/protocol).
fn protocol<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Protocol>, D::Error> {
    let Some(text) = non_empty(deserializer)? else { return Ok(None) };
    let whole = !text.contains('-') || text.eq_ignore_ascii_case("grpc-web");
    Protocol::declared_by(&text)
        .filter(|protocol| whole && *protocol != Protocol::Udp)
        .map(Some)
        .ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is no protocol of a gateway: HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, REDIS, MYSQL"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::{HostNamespace, ServerBind, ServerHost};

    #[test]
    fn a_host_says_whose_rules_count() {
        let read = |text| ServerHost::parse(text).unwrap();
        assert_eq!(read("shop.example.com").namespace, HostNamespace::Any);
        assert_eq!(read("*/*").host.as_str(), "*");
        assert_eq!(read("./*.example.com").namespace, HostNamespace::Own);
        let host = read("shop/a.com");
        assert!(host.is_for(&"shop".into(), &"edge".into()) && !host.is_for(&"edge".into(), &"edge".into()));
        assert!(read("./a.com").is_for(&"edge".into(), &"edge".into()));
        for bad in ["shop", "a/b/c.com", "/a.com", "*x.com", "s p/a.com"] {
            assert!(ServerHost::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_listens_on_an_address_or_a_socket() {
        assert_eq!(ServerBind::parse("::1").unwrap().to_string(), "::1");
        assert_eq!(ServerBind::parse("unix:///run/a").unwrap(), ServerBind::Unix("/run/a".to_owned()));
        for bad in ["", "host", "unix://", "unix://run", "unix:///"] {
            assert!(ServerBind::parse(bad).is_err(), "{bad}");
        }
    }
}
