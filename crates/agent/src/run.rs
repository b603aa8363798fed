//! The order of things: certificate, then Envoy; and at the end connections first, then Envoy.
//!
//! Start at [`run`].
//! Invariant: Envoy is started once its certificate is there; after that, only its own end or the agent's ends it.

mod task;

pub use task::{Failure, run};
