//! Settled sidecars get small changes while a crowd gets its big first answers.
//!
//! Knows: its goals. Must not know: what the server does to meet them.

use anyhow::Result;

use super::Outcome;
use super::scene::{Scene, nodes, percentile};
use crate::fleet::{Fleet, Target};
use crate::run::LIMITS;

/// Who have all they need.
const SETTLED: usize = 300;
/// Who come from nothing meanwhile.
const CROWD: usize = 2000;
const SERVICES: usize = 1000;

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let (settled, crowd) = (scene.count(SETTLED), scene.count(CROWD));
    let mut stage = scene.stage(scene.count(SERVICES), false).await?;
    scene.say(&format!("{settled} sidecars connect"));
    let target = Target::plain(stage.server.address);
    // On threads of their own: they are not to wait for the crowd's sidecars in this process, but for the server.
    let apart = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let fleet = {
        let _inside = apart.enter();
        Fleet::start(target.clone(), nodes(&stage.mesh, 0, settled))
    };
    fleet.settle(LIMITS.quiet, LIMITS.connect).await?;
    let time = scene.seconds(8);
    let quiet = stage.open_loop(&fleet, time).await?;
    scene.say(&format!("{crowd} more connect from nothing"));
    let newcomers = Fleet::start(target, nodes(&stage.mesh, settled, crowd));
    let busy = newcomers.during(async { stage.open_loop(&fleet, time).await }).await?;
    let late = newcomers.meter().settled();
    newcomers.settle(LIMITS.quiet, LIMITS.connect).await?;
    for (name, times) in [("alone", &quiet), ("while the crowd connects", &busy)] {
        outcome.told(format!("a weight to {settled} {name}: p50"), "ms", percentile(times, 50));
        outcome.told("  p99", "ms", percentile(times, 99));
    }
    outcome.told(format!("  of {crowd} that connect, settled by then"), "", late as f64);
    newcomers.stop().await?;
    fleet.stop().await?;
    apart.shutdown_background();
    stage.server.stop().await
}
