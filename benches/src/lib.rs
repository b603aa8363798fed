//! What a change costs, measured from outside: a generated mesh, thousands of simulated sidecars in one process, and
//! beside them the floor, a server that only sends ready bytes.
//!
//! Knows: the discovery protocol as a client speaks it, Istio's YAML as a user writes it, `meltemi serve` as its command
//! line and its metrics. Must not know: how Meltemi works within; no code of the server is linked.
//! Start at [`run::run`], which is what `cargo xtask bench` calls; [`sidecar::Sidecar`] is the simulated client.
//! Invariant: times and costs are reported, as ratios to a floor of the same run; only counts are asserted.

pub mod answer;
pub mod args;
pub mod catalogue;
pub mod client;
pub mod envoy;
pub mod fleet;
pub mod floor;
pub mod frames;
pub mod goals;
pub mod hear;
mod learn;
pub mod mesh;
pub mod meter;
pub mod node;
pub mod process;
pub mod report;
pub mod requests;
pub mod run;
pub mod scrape;
pub mod server;
pub mod sidecar;
pub mod simulated;
pub mod sotw;
pub mod tls;
pub mod traffic;
