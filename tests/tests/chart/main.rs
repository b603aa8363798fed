//! The Helm chart without a cluster: it lints, every value has an effect, and what it renders asks for no more than is needed.
//!
//! What an API server says of it is in `kube_chart`. Helm is `HELM_BIN`, else the one that `cargo xtask tools` builds.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod helm;
mod pods;
mod roles;
mod values;
