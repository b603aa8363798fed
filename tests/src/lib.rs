//! What the tests that cross crates share: meshes from YAML, proxies, what an engine serves in comparable form, a control plane.
//!
//! Start in `tests/`: `property_*` (incremental equals scratch), `cost_*` (what a change remakes), `feature` (YAML to decoded xDS over
//! gRPC), `golden` (readable cases, each accepted by Envoy), `compat_fields`
//! (docs/compat.md against the CRDs and those cases), `live_*` (real Envoys), `live_identity` (real TLS and OpenSSL),
//! `live_agents` (both: pods with `meltemi agent`), `kube_*` (a real Kubernetes API server), `istio_agent` (Istio's own agent, where there
//! is one), `storm` (certificates by the thousand).

pub mod compat;
pub mod control_plane;
pub mod golden;
pub mod identity;
pub mod istio;
pub mod kubernetes;
pub mod live;
pub mod mesh;
pub mod meshed;
pub mod not_run;
pub mod served;
pub mod storm;
