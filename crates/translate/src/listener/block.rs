//! Services that are called at any address of a block: what tells their connections from others is where these were going.

use std::sync::Arc;

use meltemi_api::value::Subnet;
use meltemi_proto::envoy::config::listener::v3::FilterChainMatch;

use super::plan::Backend;
use crate::address;

/// A service behind blocks of addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The blocks; not empty.
    pub subnets: Arc<[Subnet]>,
    /// The service.
    pub backend: Backend,
}

impl Block {
    /// Which connections are its: those to its addresses, and of these, where it speaks TLS, those that name its host (Istio:
    /// core/tls.go).
    pub(super) fn matching(&self) -> FilterChainMatch {
        FilterChainMatch {
            prefix_ranges: self.subnets.iter().copied().map(address::block).collect(),
            server_names: self
                .reads_name()
                .then(|| self.backend.service.host.to_string())
                .into_iter()
                .collect(),
            ..FilterChainMatch::default()
        }
    }

    /// Whether the name in TLS is looked at.
    pub(super) fn reads_name(&self) -> bool {
        self.backend.protocol.is_tls()
    }

    /// Whether nothing tells the connections of the two apart.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let same_name = match (self.reads_name(), other.reads_name()) {
            (true, true) => self.backend.service.host == other.backend.service.host,
            (one, another) => one == another,
        };
        // Envoy refuses two chains that have one block in common.
        same_name && self.subnets.iter().any(|subnet| other.subnets.contains(subnet))
    }
}
