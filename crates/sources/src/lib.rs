//! Where the mesh's objects come from: folders of YAML.
//!
//! Knows: files, their places, what changes in a folder and when it is whole. Must not know: what the objects mean to each other,
//! Envoy, streams.   Start at [`file::FolderSource`].
//! Invariant: what comes out is a difference: equal input gives nothing, and what cannot be read never counts as deleted.

pub mod file;
