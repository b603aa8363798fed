//! Where the mesh's objects come from: folders of YAML, a Kubernetes API server, or both.
//!
//! Knows: files, their places, what changes in a folder and when it is whole; lists, watches and how they fail. Must not know: what the
//! objects mean to each other, Envoy, streams.   Start at [`Source`], [`file::FolderSource`] and [`kube::KubeSource`].
//! Invariant: what comes out is a difference: equal input gives nothing, and what cannot be read never counts as deleted.

mod batch;
pub mod file;
mod join;
pub mod kube;
mod source;

pub use batch::{Batch, PlaceIndex, Status};
pub use source::Source;
