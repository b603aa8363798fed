//! 1,000 sidecars of 1,000 services, each with the whole mesh, in plain text.
//!
//! Knows: its goals. Must not know: what the server does to meet them.

use anyhow::Result;

use super::Outcome;
use super::scene::{Kind, Scene, percentile};
use crate::fleet::Target;
use crate::run::LIMITS;

/// Sidecars, and services.
const SIDECARS: usize = 1000;
const SERVICES: usize = 1000;

/// Sidecars of all namespaces, two of each.
const FEW: usize = 20;

/// One of so many sidecars stops reading.
const STALLED: usize = 100;

/// Endpoint changes bring the service's assignment and those of its two subsets, of which one is unchanged.
pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let floor = scene.floor(sidecars).await?;
    let mut stage = scene.stage(scene.count(SERVICES), false).await?;
    let empty = scene.empty().await?;
    let (mesh, _) = stage.memory()?;
    // The mesh as each namespace sees it is made for the first of its sidecars; after that a sidecar costs what it costs itself.
    let (few, _) = stage.connect_from(sidecars, Target::plain(stage.server.address), FEW).await?;
    let (before, _) = stage.memory()?;
    outcome.told("memory of the server: the program, with an empty folder", "MB", empty);
    outcome.told("  with the mesh and no sidecar: the model", "MB", mesh - empty);
    outcome.told(format!("  with {FEW} sidecars: layers and answers"), "MB", before - mesh);
    scene.say(&format!("server, {sidecars} sidecars"));
    let (fleet, connect) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    let (resting, _) = stage.memory()?;
    outcome.goal("all connect from nothing", "s", 8.0, connect.seconds);
    outcome.goal("  CPU of the server", "s", 8.0, connect.server_cpu_s.unwrap_or_default());
    outcome.goal("  its memory at the highest", "MB", 400.0, connect.memory_peak_mb.unwrap_or_default());
    outcome.told("  sent to each", "kB", connect.bytes_per_client / 1e3);
    outcome.told("memory of the server with all connected", "MB", resting);
    few.stop().await?;
    for (kind, name) in [(Kind::Weight, "a weight"), (Kind::Endpoint, "an endpoint")] {
        scene.say(name);
        let (step, check) = stage.steps(&fleet, kind).await?;
        outcome.times(format!("{name}: last ACK, times the floor"), 2.0, step.last_ack_ms, floor.last_ack_ms);
        outcome.told("  ms", "ms", step.last_ack_ms);
        let cpu = step.server_cpu_us_per_client.unwrap_or_default();
        outcome.goal("  CPU per sidecar", "µs", 50.0, cpu);
        outcome.told(
            "  CPU per sidecar, the floor",
            "µs",
            floor.server_cpu_us_per_client.unwrap_or_default(),
        );
        outcome.goal("  bytes per sidecar", "B", 1000.0, step.bytes_per_client);
        check.into_iter().for_each(|check| outcome.check(check));
    }
    // The allocator gives back what the first answers needed when it is used again, so a server that rests is one that has worked.
    let (rested, _) = stage.memory()?;
    outcome.told("memory of the server after these changes", "MB", rested);
    outcome.goal("memory per resting sidecar", "kB", 80.0, (rested - before) * 1e3 / sidecars as f64);
    scene.say("an open loop, then with sidecars that do not read");
    let time = scene.seconds(30);
    let quiet = stage.open_loop(&fleet, time).await?;
    let (before, _) = stage.memory()?;
    let stalled = (sidecars / STALLED).max(1);
    fleet.stall(stalled);
    let slow = stage.open_loop(&fleet, time).await?;
    let (after, _) = stage.memory()?;
    fleet.stall(0);
    let p99 = percentile(&quiet, 99);
    outcome.told("open loop, 4 changes a second: p50", "ms", percentile(&quiet, 50));
    outcome.told("  p99", "ms", p99);
    outcome.times(format!("  p99 while {stalled} do not read"), 1.25, percentile(&slow, 99), p99);
    outcome.goal("  memory grown by then", "MB", 2.0, after - before);
    // Those who read again have nothing left to wait for.
    fleet.meter().until_quiet(LIMITS.quiet).await;
    fleet.stop().await?;
    stage.server.stop().await
}
