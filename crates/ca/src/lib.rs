//! Workload certificates: who may have which, what signs them, and how what signs them is changed.
//!
//! Knows: X.509, SPIFFE, Istio's certificate service. Must not know: Kubernetes, xDS, the mesh.   Start at
//! [`server::CertificateServer`] for a request's way, [`Authority`] for what signs, [`Rotation`] for its change.
//! Invariant: a certificate has one name, which its key's owner was authenticated for, and verifies to a root that everybody
//! trusts until the certificate ends.

mod authority;
mod bundle;
pub mod csr;
pub mod entitlement;
mod issue;
pub mod keep;
mod key;
pub mod limits;
mod refused;
pub mod rotate;
pub mod server;
#[cfg(test)]
mod tests;
mod time;
pub mod token;

pub use authority::{Authority, Material, ROOT_LIFE, SignerId};
pub use bundle::Bundle;
pub use csr::{Csr, CsrError, KeyKind};
pub use issue::{CLOCK_SKEW, ForServer, IssueError, Issued, Lifetimes, TooLong, for_server, issue};
pub use keep::{Keep, KeepError, Kept, Replicas};
pub use refused::{Fault, Piece, Refused};
pub use rotate::Rotation;
pub use time::Time;
