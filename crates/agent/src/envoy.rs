//! Envoy: its bootstrap, its command line, its life, and questions to it.
//!
//! Knows: Envoy's bootstrap, flags and admin interface, and what of Istio's bootstrap dashboards and control planes rely on.
//! Must not know: the mesh's configuration.   Start at [`bootstrap::Bootstrap`]; [`process`] keeps one running.

pub(crate) mod arguments;
pub mod bootstrap;
pub(crate) mod client;
pub mod node;
pub(crate) mod process;
pub(crate) mod restart;
mod stats;
#[cfg(test)]
mod tests;
