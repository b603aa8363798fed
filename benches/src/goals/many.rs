//! 10,000 sidecars of 1,000 services.
//!
//! Knows: its goals. Must not know: what the server does to meet them.

use anyhow::Result;

use super::Outcome;
use super::scene::{Kind, Scene};
use crate::fleet::Target;
use crate::run::{LIMITS, measure};

/// As many as one machine of two cores is to hold.
pub(super) const SIDECARS: usize = 10_000;
const SERVICES: usize = 1000;

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let floor = scene.floor(sidecars).await?;
    let mut stage = scene.stage(scene.count(SERVICES), false).await?;
    scene.say(&format!("server, {sidecars} sidecars"));
    let (fleet, connect) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    outcome.told("all connect from nothing", "s", connect.seconds);
    outcome.told("  CPU of the server", "s", connect.server_cpu_s.unwrap_or_default());
    outcome.told("  memory at the highest", "MB", connect.memory_peak_mb.unwrap_or_default());
    let (step, check) = stage.steps(&fleet, Kind::Weight).await?;
    check.into_iter().for_each(|check| outcome.check(check));
    outcome.goal("a weight: last ACK", "ms", 1500.0, step.last_ack_ms);
    outcome.told("  times the floor", "x", step.last_ack_ms / floor.last_ack_ms);
    outcome.told("  CPU per sidecar", "µs", step.server_cpu_us_per_client.unwrap_or_default());
    let (resting, _) = stage.memory()?;
    outcome.told("memory at rest", "MB", resting);
    scene.say("all come back");
    stage.server.forget_peak()?;
    let cpu = stage.server.cpu()?;
    fleet.cut();
    let again = measure::connect(&fleet, LIMITS, &stage.server, cpu).await?;
    let (_, peak) = stage.memory()?;
    outcome.told("all come back with their versions", "s", again.seconds);
    outcome.told("  CPU of the server", "s", again.server_cpu_s.unwrap_or_default());
    outcome.times("  memory at the highest, times the resting", 2.0, peak, resting);
    fleet.stop().await?;
    stage.server.stop().await
}
