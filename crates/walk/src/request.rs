//! The request that is walked, as the proxy would see it.

use std::net::IpAddr;

use serde::Serialize;

/// A request, or the first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// As sent: methods are compared letter by letter.
    pub method: String,
    /// `:scheme` as the proxy sees it: `http` for what is not encrypted when it gets there.
    pub scheme: String,
    /// The `Host` header, with its port if the client writes one.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, in the order in which they are sent; a name may come again.
    pub headers: Vec<(String, String)>,
    /// Where the client connects to.
    pub destination: Destination,
    /// The client speaks HTTP/2 from the first byte.
    pub http2: bool,
    /// What the client speaks is HTTP; else only bytes are known.
    pub http: bool,
    /// The client begins with a TLS handshake; none: it speaks in the clear.
    pub tls: Option<TlsOffer>,
}

/// Where a client connects to, before anything is redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// None where nobody knows: an address that is no service's.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// What a client offers in its TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsOffer {
    /// SNI.
    pub server_name: Option<String>,
    /// ALPN, in the client's order.
    pub protocols: Vec<String>,
    /// The name in the certificate that it can show; none: it has none.
    pub identity: Option<String>,
}

impl Request {
    /// A request in the clear by HTTP/1.1, without headers of its own.
    pub fn new(method: &str, authority: &str, path: &str, destination: Destination) -> Self {
        Self {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            destination,
            http2: false,
            http: true,
            tls: None,
        }
    }

    /// The value of a header, those of one name joined by commas. Pseudo-headers are headers.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values = self.header_values(name);
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The values of a header, in order. Pseudo-headers are headers.
    pub(crate) fn header_values(&self, name: &str) -> Vec<String> {
        match name {
            ":method" => return vec![self.method.clone()],
            ":authority" | "host" => return vec![self.authority.clone()],
            ":path" => return vec![self.path.clone()],
            ":scheme" => return vec![self.scheme.clone()],
            _ => {}
        }
        let own = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.clone()).collect()
    }

    /// The first value of a query parameter, as written.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        let query = query.split('#').next().unwrap_or_default();
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// A cookie's value.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.header("cookie")?;
        let mut pairs = cookies.split([';', ',']).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(own, _)| *own == name).map(|(_, value)| value.trim_matches('"').to_owned())
    }
}
