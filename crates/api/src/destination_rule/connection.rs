//! What connections to a service are wrapped in: a tunnel, a PROXY protocol header; and how many of its requests may be retries.

use std::sync::Arc;

use meltemi_names::Port;

use crate::value::{Decimal, Duration, port_or_zero};

/// Connections go through a tunnel that the service opens to somewhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tunnel {
    /// By which method it is opened; read [`Tunnel::by_post`].
    pub protocol: Arc<str>,
    /// Where it ends.
    pub target_host: Arc<str>,
    /// Where it ends; validation wants it.
    #[serde(deserialize_with = "port_or_zero")]
    pub target_port: Option<Port>,
}

impl Tunnel {
    /// Whether it is opened by POST; else by CONNECT.
    pub fn by_post(&self) -> bool {
        &*self.protocol == "POST"
    }

    /// `host:port`; an IPv6 address in brackets.
    pub fn target(&self) -> String {
        let port = self.target_port.map_or(0, Port::number);
        if self.target_host.contains(':') {
            format!("[{}]:{port}", self.target_host)
        } else {
            format!("{}:{port}", self.target_host)
        }
    }
}

/// Connections begin with a header of the PROXY protocol that says who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(default)]
pub struct ProxyProtocol {
    /// How it is written.
    pub version: ProxyProtocolVersion,
}

/// How a header of the PROXY protocol is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
pub enum ProxyProtocolVersion {
    /// As a line of text.
    #[default]
    V1,
    /// In binary.
    V2,
}

/// Retries in proportion to the requests that are under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Of the requests that are under way or wait; none: 20.
    pub percent: Option<Decimal>,
    /// So many retries at once are always allowed; 0 is "not set", which is 3.
    pub min_retry_concurrency: u32,
    /// Requests of that time count; none: those under way.
    pub budget_interval: Option<Duration>,
}
