//! The `meltemi` binary as scripts and people use it: exit codes, output, addresses, signals.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod agent;
mod analyze;
mod analyzers;
mod bootstrap;
mod crds;
mod diff;
mod diff_words;
mod explain;
mod explain_gateway;
mod explain_told;
mod metrics_page;
mod operations;
mod program;
mod proxy_status;
mod serve;
mod translate;
mod usage;
mod validate;
mod wait;
mod yaml;
