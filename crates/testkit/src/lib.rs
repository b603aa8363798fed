//! What tests are made of: a real Envoy, a real Kubernetes API server, HTTP apps and load, pods as network namespaces, an
//! xDS client like Envoy's, and what serves an Envoy its certificates.
//!
//! Knows: processes, sockets, Envoy's command line and admin interface, the discovery protocol. Must not know: how
//! Meltemi translates; an expectation is never built with the code under test.   Start at [`envoy::Envoy`],
//! [`http::App`], `netns::Network`, `kube::Cluster` and `xds::Sidecar`.
//! Invariant: what is started here ends with the value that stands for it, and nothing is left on the machine.

pub mod envoy;
pub mod http;
#[cfg(feature = "kube")]
pub mod kube;
#[cfg(target_os = "linux")]
pub mod netns;
#[cfg(feature = "sds")]
pub mod sds;
#[cfg(feature = "xds")]
pub mod xds;
