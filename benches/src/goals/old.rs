//! Sidecars that speak state-of-the-world: a step is a whole route configuration to each.
//!
//! Knows: its goals, and Istiod's figure that they refer to. Must not know: what the server does to meet them.

use anyhow::Result;

use super::Outcome;
use super::scene::{Kind, Scene};
use crate::fleet::Target;
use crate::simulated::Form;

const SIDECARS: usize = 300;
const SERVICES: usize = 1000;

/// Istiod 1.32-dev on such a machine: 4.7 s of CPU for one step to 300 sidecars of 1,000 services, in ms for each.
const ISTIOD_MS: f64 = 4700.0 / 300.0;

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let mut stage = scene.stage(scene.count(SERVICES), false).await?;
    let target = Target { form: Form::Sotw, ..Target::plain(stage.server.address) };
    let (fleet, connect) = stage.connect(target, sidecars).await?;
    let (before, _) = stage.memory()?;
    let (step, _) = stage.steps(&fleet, Kind::Weight).await?;
    let (after, peak) = stage.memory()?;
    outcome.told("all connect from nothing", "s", connect.seconds);
    outcome.told("a weight: last ACK", "ms", step.last_ack_ms);
    outcome.told("  bytes per sidecar", "kB", step.bytes_per_client / 1e3);
    let cpu = step.server_cpu_us_per_client.unwrap_or_default() / 1e3;
    outcome.goal("  CPU per sidecar, a fifth of Istiod's", "ms", ISTIOD_MS / 5.0, cpu);
    outcome.goal("  memory grown by the steps", "MB", 20.0, after - before);
    outcome.told("  memory at the highest", "MB", peak);
    fleet.stop().await?;
    stage.server.stop().await
}
