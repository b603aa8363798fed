//! Wires sources, engine and streams: listeners, debug pages, metrics. No rules of the mesh.
//!
//! Knows: every other crate's interface. Must not know: what a resource of the user means.   Start at [`start`] and [`Config`];
//! `mesh` is the one task that writes, `identity` says who is who, `streams` the registry of those who read, `propagation` answers who has what in force, `status` writes that
//! into the objects.
//! Invariant: nobody is served before the first whole snapshot; every listener's address, purpose and authentication is in `ports`.

pub mod client;
mod config;
mod debug;
mod file;
mod findings;
pub mod identity;
mod leader;
mod listen;
mod mesh;
mod metrics;
pub mod objects;
mod pace;
mod pages;
mod pilot;
mod ports;
pub mod propagation;
pub mod proxies;
mod secrets;
mod status;
mod streams;
mod wire;

pub use config::{Config, Own};
pub use file::source_line;
#[doc(no_inline)]
pub use meltemi_model::debounce::Patience;
#[doc(no_inline)]
pub use meltemi_sources::kube::{Access, Secrets};
pub use ports::{Listener, parse as parse_address};
pub use streams::{Stream, Streams};
pub use wire::{Failure, Running, start};
