//! An xDS client that acts like Envoy's, in both forms of the aggregated discovery service.
//!
//! [`Sidecar`] asks in Envoy's order and learns names as Envoy does; [`Stream`] is one bare stream, for a test that
//! writes each request itself.

mod held;
mod node;
mod reference;
mod sidecar;
mod stream;
#[cfg(test)]
mod tests;

pub use held::{Held, Resource};
pub use node::Node;
pub use sidecar::{Form, Sidecar, Step};
pub use stream::{DeltaStream, SotwStream, Stream, connect};
