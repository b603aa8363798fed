//! The resource kinds: from the text of a file, or a value of the Kubernetes API, to typed objects and findings.
//!
//! Knows: the fields of each kind, their written forms, the rules within one object. Must not know: other objects, Envoy, where
//! the text came from.   Start at [`Object`] and [`Spec`]; one file per kind.
//! Invariant: whatever is read, the answer is an object or a finding with its place, never a panic; an object's values are in
//! range, and equal objects compare equal.

pub mod crd;
mod decode;
pub mod destination_rule;
mod document;
pub mod endpoint_slice;
pub mod envoy_filter;
mod field;
mod finding;
pub mod gateway;
pub mod markers;
pub mod mesh_config;
mod object;
pub mod parallel;
pub mod peer_authentication;
pub mod pod;
pub mod proxy_config;
pub mod secret;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod target_ref;
pub mod telemetry;
mod validate;
pub mod value;
pub mod virtual_service;
pub mod workload_entry;
pub mod workload_group;

pub use decode::{Decoded, decode};
pub use destination_rule::DestinationRule;
pub use document::{
    Chunk, File, MAX_FILE, Parsed, Places, chunks, parse, parse_all, parse_chunks, parse_mesh_config,
    skipped_finding, skipped_kind, values,
};
pub use endpoint_slice::EndpointSlice;
pub use envoy_filter::EnvoyFilter;
pub use field::{FieldPath, Segment};
pub use finding::{Finding, Place, Severity};
pub use gateway::Gateway;
pub use mesh_config::{ConfigMap, MeshConfig};
pub use object::{Meta, Object, Spec, Text};
pub use peer_authentication::PeerAuthentication;
pub use pod::Pod;
pub use proxy_config::ProxyConfig;
pub use secret::{Credential, NO_CREDENTIALS};
pub use service::Service;
pub use service_entry::ServiceEntry;
pub use sidecar::Sidecar;
pub use telemetry::Telemetry;
pub use virtual_service::VirtualService;
pub use workload_entry::WorkloadEntry;
pub use workload_group::WorkloadGroup;
