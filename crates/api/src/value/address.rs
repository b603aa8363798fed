//! Where a workload outside Kubernetes listens.

use std::net::IpAddr;

use meltemi_names::Host;

use crate::value::from_text;

/// The address of a WorkloadEntry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A name that is resolved by DNS.
    Name(Host),
    /// A Unix domain socket, `unix:///path`.
    Unix(String),
}

impl Address {
    /// Parses an address.
    ///
    /// # Errors
    /// When it is neither an IP address, a DNS name nor an absolute `unix://` path.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') || path.starts_with('@') {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err(format!("`{text}`: the path of a Unix socket must be absolute"))
            };
        }
        match Host::parse(text) {
            Ok(host) if !host.is_wildcard() => Ok(Self::Name(host)),
            Ok(_) => Err(format!("`{text}` is a wildcard; an address is an IP address or a DNS name")),
            Err(error) => Err(error.to_string()),
        }
    }
}

from_text!(Address);
