//! A real Kubernetes without machines: etcd, API server and controllers of this test run alone, and a harness that plays
//! the kubelet.
//!
//! Knows: how the parts are started, asked and played along with. Must not know: Meltemi.   Start at [`Cluster`]; a
//! [`Proxy`] stands in front of the API server where a test wants it to misbehave.
//! Invariant: all that a pod, a token, a role or an EndpointSlice is comes from Kubernetes' own code; only what a machine
//! would do (run the containers) is played.

mod access;
mod apply;
mod assets;
mod audit;
mod cluster;
mod command;
mod flags;
mod keys;
mod kubelet;
mod pod;
mod ports;
mod process;
mod proxy;
#[cfg(test)]
mod tests;
mod tls;
mod wait;

pub use access::Access;
pub use audit::Asked;
pub use cluster::Cluster;
pub use keys::Identity;
pub use kubelet::{Kubelet, Runtime};
pub use pod::Pod;
pub use proxy::{Fault, Proxy};

/// The version that Meltemi is tested with.
pub const VERSION: &str = "1.36.1";
