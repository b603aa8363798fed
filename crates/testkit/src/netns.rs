//! Pods as network namespaces on one bridge, with an address and, like a sidecar's, redirect rules each.
//!
//! Needs root, and Debian's `iproute2` and `iptables`. Names carry this process's ID, so that runs do not meet; what a
//! killed run left behind is removed by the next.

mod command;
mod namespace;
mod network;
mod redirect;
#[cfg(test)]
mod tests;

pub use namespace::Namespace;
pub use network::{Network, Pod, available};
pub use redirect::{INBOUND_PORT, OUTBOUND_PORT, PROXY_GROUP};
