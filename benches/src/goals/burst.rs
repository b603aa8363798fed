//! 1,000 VirtualServices changed at once, in one file.
//!
//! Knows: its goals. Must not know: how changes are gathered.

use anyhow::{Context, Result};

use super::Outcome;
use super::scene::Scene;
use crate::fleet::Target;
use crate::report::Check;
use crate::run::{LIMITS, PUBLISH_COUNT, PUBLISH_SUM, measure};

const SIDECARS: usize = 100;
const SERVICES: usize = 1000;
const BURSTS: usize = 5;

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let stage = scene.stage(scene.count(SERVICES), false).await?;
    // From here on the routing is one file.
    stage.mesh.weigh_all(10)?;
    let (fleet, _) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    stage.mesh.weigh_all(11)?;
    fleet.meter().until_quiet(LIMITS.quiet * 4).await;
    let before = stage.server.numbers().await?.context("the server counts")?;
    let cpu = stage.server.cpu()?;
    for burst in 0..BURSTS {
        let goal = fleet.meter().acknowledged() + sidecars as u64;
        fleet
            .during(async {
                stage.mesh.weigh_all(12 + burst)?;
                fleet.meter().until_acknowledged(goal, LIMITS.step).await
            })
            .await?;
        fleet.meter().until_quiet(LIMITS.quiet).await;
    }
    let used = stage.server.cpu()?.zip(cpu).map(|(now, before)| now.saturating_sub(before));
    let after = stage.server.numbers().await?.context("the server counts")?;
    let passes = after.grown(PUBLISH_COUNT, &before).unwrap_or_default();
    let spent = after.grown(PUBLISH_SUM, &before).unwrap_or_default();
    outcome.goal("from changed objects to bytes ready", "ms", 100.0, spent * 1e3 / passes.max(1.0));
    outcome.told("  CPU, reading and sending included", "ms", {
        measure::micros(used.unwrap_or_default()) / 1e3 / BURSTS as f64
    });
    outcome.check(Check {
        what: format!("{} VirtualServices in one file, {BURSTS} times: passes", stage.mesh.shape().services),
        promised: BURSTS.to_string(),
        counted: passes.to_string(),
        fine: passes == BURSTS as f64,
    });
    fleet.stop().await?;
    stage.server.stop().await
}
