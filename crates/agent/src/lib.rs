//! The sidecar's companion: the workload's key and certificate, secrets for Envoy, Envoy's bootstrap and life.
//!
//! Knows: Istio's certificate service as a client, SDS as a server, Envoy's command line and admin interface, what injected pods rely
//! on. Must not know: what the mesh's configuration means; it talks to a control plane over the wire only.
//! Start at [`run()`] for the order of things, [`Options`] for what may be set.
//! Invariant: the private key is in this process's and Envoy's memory and nowhere else. While the control plane is away, nothing that
//! works is taken away.

mod client;
pub mod envoy;
mod health;
mod host_port;
pub mod identity;
mod metrics;
mod options;
mod run;
pub mod sds;

pub use host_port::HostPort;
pub use options::{Flags, Kind, Note, Options, OptionsError, Surroundings};
pub use run::{Failure, run};
