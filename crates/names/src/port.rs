//! Port numbers, and the protocol that a port's name declares.

use std::num::NonZeroU16;

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// 80, HTTP's own.
    pub const HTTP: Self = Self(NonZeroU16::MIN.saturating_add(79));

    /// A port of that number; none for 0 and for what does not fit 16 bits.
    pub fn new(number: u32) -> Option<Self> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self)
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl serde::Serialize for Port {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.number())
    }
}

impl<'de> serde::Deserialize<'de> for Port {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        Self::new(number)
            .ok_or_else(|| serde::de::Error::custom(format!("a port is 1 to 65535, found {number}")))
    }
}

/// What a port speaks, as declared by `appProtocol` or by the port's name (Istio: pkg/config/kube/conversion.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[allow(missing_docs, reason = "each is the protocol of that name")]
pub enum Protocol {
    Http,
    Http2,
    HttpProxy,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Mongo,
    Redis,
    Mysql,
    Udp,
    /// Not declared: the proxy finds out.
    Auto,
}

impl Protocol {
    /// The protocol of a Kubernetes service port: UDP by transport, then `appProtocol`, then the name up to its first `-`,
    /// then well-known TCP ports where the server speaks first (25, 53, 3306, 27017), else [`Protocol::Auto`].
    pub fn of_port(
        transport: Option<&str>,
        app_protocol: Option<&str>,
        name: Option<&str>,
        port: Port,
    ) -> Self {
        if transport.is_some_and(|transport| transport.eq_ignore_ascii_case("UDP")) {
            return Self::Udp;
        }
        match app_protocol {
            Some("kubernetes.io/h2c") => return Self::Http2,
            Some("kubernetes.io/ws") => return Self::Http,
            Some("kubernetes.io/wss") => return Self::Https,
            _ => {}
        }
        app_protocol
            .or(name)
            .and_then(Self::declared_by)
            .unwrap_or(if matches!(port.number(), 25 | 53 | 3306 | 27017) { Self::Tcp } else { Self::Auto })
    }

    /// The protocol that a port name (or an Istio `protocol` field) declares, if it declares one.
    pub fn declared_by(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Some(Self::GrpcWeb);
        }
        Some(match name.split('-').next().unwrap_or_default() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "http_proxy" => Self::HttpProxy,
            "grpc" => Self::Grpc,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// Routed by request: HTTP of any version.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::HttpProxy | Self::Grpc | Self::GrpcWeb)
    }

    /// HTTP/2 towards the server.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// TLS made by the application, routed by SNI.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::{Port, Protocol};

    /// By transport, appProtocol, name and number.
    fn of(transport: &str, app: Option<&str>, name: Option<&str>, number: u32) -> Protocol {
        Protocol::of_port(Some(transport), app, name, Port::new(number).unwrap())
    }

    #[test]
    fn a_name_declares_a_protocol_up_to_its_first_hyphen_in_any_case() {
        for (name, protocol) in [
            ("tcp", Protocol::Tcp),
            ("udp", Protocol::Udp),
            ("grpc-api", Protocol::Grpc),
            ("grpc-web", Protocol::GrpcWeb),
            ("gRPC-Web-x", Protocol::GrpcWeb),
            ("HTTP-admin-x", Protocol::Http),
            ("http2-x", Protocol::Http2),
            ("http_proxy", Protocol::HttpProxy),
            ("https", Protocol::Https),
            ("tls-x", Protocol::Tls),
            ("mongo", Protocol::Mongo),
            ("redis-1", Protocol::Redis),
            ("mysql", Protocol::Mysql),
            ("web-http", Protocol::Auto),
            ("httpx", Protocol::Auto),
            ("", Protocol::Auto),
        ] {
            assert_eq!(of("TCP", None, Some(name), 8000), protocol, "{name}");
        }
        assert_eq!(of("TCP", None, None, 8000), Protocol::Auto);
    }

    #[test]
    fn app_protocol_counts_before_the_name_even_where_it_is_unknown() {
        let name = Some("http-x");
        assert_eq!(of("TCP", Some("kubernetes.io/h2c"), name, 80), Protocol::Http2);
        assert_eq!(of("TCP", Some("kubernetes.io/ws"), name, 80), Protocol::Http);
        assert_eq!(of("TCP", Some("kubernetes.io/wss"), name, 80), Protocol::Https);
        assert_eq!(of("TCP", Some("GRPC"), name, 80), Protocol::Grpc);
        assert_eq!(of("TCP", Some("example.com/own"), name, 80), Protocol::Auto);
        assert_eq!(of("UDP", Some("http"), name, 80), Protocol::Udp);
    }

    #[test]
    fn where_the_server_speaks_first_nothing_is_sniffed() {
        for number in [25, 53, 3306, 27017] {
            assert_eq!(of("TCP", None, Some("db"), number), Protocol::Tcp);
            assert_eq!(of("TCP", Some("unknown"), None, number), Protocol::Tcp);
            assert_eq!(
                of("TCP", None, Some("http"), number),
                Protocol::Http,
                "what is declared counts first"
            );
        }
    }
}
