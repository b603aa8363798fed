//! The mesh in, Envoy's configuration out: pure functions, remembered by `memo`.
//!
//! Knows: Istio's meaning and Envoy's messages. Must not know: streams, files, the clock, a proxy as such.   Start at [`layer`] (what
//! one proxy is served from), [`key`] (the facets of a proxy that each function may read) and one of `cluster`, `endpoint`,
//! `listener`, `route`.
//! Invariants: no function takes a proxy; what a function may know of one is its key, and equal keys share one answer. Set questions
//! answer names only; each member is made by its own question. The same key and mesh give the same bytes, always and everywhere.

pub mod address;
pub mod cluster;
mod dynamic;
pub mod encode;
pub mod endpoint;
mod external_name;
pub mod finding;
#[cfg(test)]
mod fixture;
pub mod gateway;
pub mod key;
pub mod layer;
pub mod listener;
pub mod metadata;
pub mod names;
pub mod patch;
pub mod resource_names;
pub mod route;
mod session;
mod tls;
mod wrap;
