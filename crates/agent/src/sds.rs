//! Secrets for Envoy, over the secret discovery service on a unix socket.
//!
//! Knows: SDS, the names that Istio's control planes use for secrets. Must not know: where a certificate comes from.
//! Start at [`Machine`], the pure half of a stream; [`server`] carries it, [`watch`] keeps the secrets of files up to date.
//! Invariant: a client gets a secret when it is there, and again when its bytes change, never otherwise.

mod machine;
mod name;
mod request;
mod secrets;
pub mod server;
#[cfg(test)]
mod tests;
pub mod watch;

pub use machine::{Close, Event, Form, Machine, Response};
pub use name::Name;
pub use request::{MAX_MESSAGE_BYTES, MAX_NAME_BYTES, MAX_NAMES, Request};
pub use secrets::{Secrets, Served};
