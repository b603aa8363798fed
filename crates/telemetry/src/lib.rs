//! The metrics of traffic: their names, the few packed tags that Envoy counts by, and how a scrape spreads these into Istio's labels.
//!
//! Knows: Istio's names of metrics and labels; texts. Must not know: Envoy's messages, the mesh, sockets.   Start at [`metric`] (what is
//! counted), [`tag`] (by what) and [`rule::rules`] (how tags become labels).
//! Invariant: there is one table of rules. [`spread`] applies it as Prometheus would, and `deploy/prometheus/relabel.yaml` is the same
//! table for who scrapes Envoy itself: both give the same series.
//!
//! Why packed. A tag costs: bytes in every listener, memory for each listener in each Envoy, time at each request and metric. What a
//! workload is has seven labels, and it is one text in an endpoint's metadata already; cutting it up is for whoever scrapes, who does
//! it every some seconds and not at every request.

mod exposition;
pub mod metric;
pub mod rule;
pub mod tag;
mod workload;

pub use exposition::spread;
pub use workload::{Workload, service};
