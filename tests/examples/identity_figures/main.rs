//! What certificates cost, and what a storm of them does to everything else. Prints figures, judges nothing.
//!
//! With a release build in `MELTEMI_BIN` and an Envoy in `ENVOY_BIN`: `cargo run --release -p meltemi-tests --example identity_figures`.
//! Rates are this machine's; the ratios to bare cryptography of the same run are what to look at. Who asks is on the same cores as who
//! answers, so that rates through the service are lower bounds, and times of pushes upper ones. A quiet machine, some four minutes.

#![allow(clippy::print_stdout, reason = "an example prints what it is for")]

mod bare;
mod process;
mod pushes;
mod rest;
mod service;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("storm", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        // This program again, as the workloads.
        return service::workloads(rest).await;
    }
    let parts = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let bare = bare::measure()?;
    if parts("service") {
        service::rates(&bare).await?;
    }
    if parts("pushes") {
        pushes::measure().await?;
    }
    if parts("agent") {
        rest::measure().await?;
    }
    Ok(())
}
