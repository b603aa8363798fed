//! Meltemi in a real Kubernetes: the API server of `meltemi_testkit::kube`, the rights of the Helm chart, the real program.
//!
//! Knows: the chart, the program's options and pages, and how long to wait for them. Must not know: how anything is translated.
//! Start at [`Home`]: a namespace that Meltemi runs in; [`Client`] is a sidecar without an Envoy,
//! [`Shop`] an app with real requests through a real Envoy.
//! Invariant: Meltemi has exactly the rights that the chart gives it, unless a test takes some away.

mod certificates;
mod client;
mod door;
mod home;
mod run;
mod shop;
mod state;
mod yaml;

pub use certificates::{Asker, Certificate, certificate};
pub use client::Client;
pub use door::Door;
pub use home::{Home, define};
pub use run::{Case, Needs, main, run};
pub use shop::{APP, Shop};
pub use state::{State, endpoints, same_as_from_scratch, settled, state, until_page};
pub use yaml::{rule, service, slice, split};

use std::time::Duration;

/// After so long a test has failed: for a machine that is busy building.
pub const LIMIT: Duration = Duration::from_secs(60);
