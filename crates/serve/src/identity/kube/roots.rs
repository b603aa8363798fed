//! The roots in every namespace: ConfigMaps that pods mount, so that their agents know this control plane.
//!
//! Knows: Istio's names for them, and which namespaces get one. Must not know: what signs.   Start at [`task::spawn`]; [`desk`] decides what
//! is due.
//! Invariant: only the leader writes, and only what differs; what others keep in such a ConfigMap stays.

mod desk;
pub(super) mod task;
