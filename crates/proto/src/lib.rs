//! The wire messages, generated, thin.
//!
//! Knows: Protobuf. Must not know: Istio, Kubernetes, sockets.   Start at [`envoy`] for the messages, [`any`] for
//! packing, [`json`] for showing them and [`dynamic`] for merging them.
//! Invariant: the same value always encodes to the same bytes (maps are sorted; see the top level `build.rs`).

pub mod any;
pub mod dynamic;
pub mod json;

#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "generated from Envoy's .proto files, whose own comments are the documentation"
)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::{envoy, google, istio, meltemi};
