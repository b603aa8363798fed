//! Which port is what: its purpose, and what a caller proves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A listener of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// xDS without TLS, for proxies on the same machine or behind another protection. Unauthenticated: serves configuration, which holds
    /// no secrets, and nothing else.
    Xds,
    /// xDS and workloads' certificates over TLS (1.2 or 1.3). A client proves who it is by a certificate of the mesh, or by a token of its
    /// service account with each request; without either it gets nothing.
    SecureXds,
    /// Readiness for the platform's probes. Unauthenticated: says ready or not.
    Http,
    /// Metrics, version and debug pages for operators. Unauthenticated, hence on loopback unless it is told otherwise.
    Monitoring,
}

impl Listener {
    /// The port by default, the one that Istio's users know.
    pub fn port(self) -> u16 {
        match self {
            Self::Xds => 15010,
            Self::SecureXds => 15012,
            Self::Http => 8080,
            Self::Monitoring => 15014,
        }
    }

    /// What the log calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xds => "xds",
            Self::SecureXds => "xds over TLS",
            Self::Http => "http",
            Self::Monitoring => "monitoring",
        }
    }

    /// The option that sets its address.
    pub fn option(self) -> &'static str {
        match self {
            Self::Xds => "--xds-address",
            Self::SecureXds => "--secure-xds-address",
            Self::Http => "--http-address",
            Self::Monitoring => "--monitoring-address",
        }
    }

    /// The address by default: loopback, or in a pod all interfaces, which is where a pod's clients come from.
    pub fn default_address(self, in_pod: bool) -> SocketAddr {
        let ip = if in_pod { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        SocketAddr::new(IpAddr::V4(ip), self.port())
    }
}

/// Parses `HOST:PORT`, where a missing host means all interfaces (`:15010`), and `localhost` is 127.0.0.1.
///
/// # Errors
/// With what to write instead.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost", "127.0.0.1");
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
    whole.parse().map_err(|_| {
        format!("`{text}` is not an address; write it as IP:PORT, as in 127.0.0.1:15010, or :15010 for all interfaces")
    })
}

#[cfg(test)]
mod tests {
    use super::{Listener, parse};

    #[test]
    fn an_address_without_a_host_is_all_interfaces() {
        assert_eq!(parse(":15012").unwrap().to_string(), "0.0.0.0:15012");
        assert_eq!(parse("localhost:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(parse("[::1]:15010").unwrap().to_string(), "[::1]:15010");
        assert!(parse("15010").is_err());
    }

    #[test]
    fn outside_a_pod_only_this_machine_is_served() {
        assert_eq!(Listener::Xds.default_address(false).to_string(), "127.0.0.1:15010");
        assert_eq!(Listener::Xds.default_address(true).to_string(), "0.0.0.0:15010");
    }
}
