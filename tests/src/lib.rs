//! What the tests that cross crates share: meshes from YAML, proxies, and what an engine serves, in comparable form.
//!
//! Start in `tests/`: `property_*` (incremental equals scratch), `cost_*` (what a change remakes), `feature_*` (YAML to decoded xDS),
//! `golden` (readable cases, each accepted by Envoy), `live_*` (real Envoys).

pub mod golden;
pub mod mesh;
pub mod served;
