//! The workload's identity: a key that is made here, a certificate that is asked for and renewed, and what the mesh trusts.
//!
//! Knows: X.509, Istio's certificate service as a client. Must not know: Envoy, who uses the certificate.
//! Start at [`Credential`]; [`renew`] decides when to ask, [`client`] asks, [`task`] is the loop around both.
//! Invariant: a [`Credential`] verifies to its own roots, has the workload's own name, and its key is the certificate's.

mod answer;
pub mod client;
mod key;
pub mod renew;
pub mod task;
#[cfg(test)]
mod tests;
mod time;

pub use answer::{Credential, Wrong, accept};
pub use key::{Key, KeyError, Request};
pub use time::Time;
