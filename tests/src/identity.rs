//! The certificate authority of a real `meltemi serve`, as workloads and attackers meet it: over TLS, with keys, tokens and certificates
//! that are made here.
//!
//! Start at [`Authority`] (the process, and what its operator does), [`Client`] (a connection), [`forge`] (certificates and tokens that the
//! mesh did not give, some with the mesh's own keys).

mod client;
pub mod forge;
mod server;

pub use self::client::{Client, Holder, Peer, request};
pub use self::server::{Authority, until};
