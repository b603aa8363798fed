//! The mesh: a typed store, immutable snapshots with indexes, and the joins that translation asks for.
//!
//! Knows: what Istio's and Kubernetes' objects mean to each other. Must not know: files, Kubernetes clients, Envoy's messages,
//! streams, the clock.   Start at [`Store`] (how the mesh changes), [`Mesh`] (one state of it) and [`read`] (the only way to read it
//! for an answer that is remembered).
//! Invariants: a snapshot never changes; publishing the next costs the size of the change; every index entry that changed is in the
//! [`ChangeSet`], and the list of entries of an object is in one function, [`index::keys_of`].

pub mod debounce;
mod discovery;
pub mod endpoints;
pub mod entry;
pub mod envoy_filter;
pub mod exposure;
mod filed;
pub mod gateway;
pub mod index;
pub mod mesh;
pub mod peer;
pub mod place;
pub mod proxy;
pub mod read;
pub mod reference;
pub mod rule;
pub mod scope;
pub mod service;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod virtual_service;
pub mod workload;

pub use discovery::is_settings;
pub use entry::{Entry, IndexKey};
pub use mesh::Mesh;
pub use store::{ChangeSet, Event, Store};
