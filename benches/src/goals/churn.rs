//! Sidecars come and go all the time beside a large fleet that stays.
//!
//! Knows: its goals. Must not know: what the server does to meet them.

use std::time::Duration;

use anyhow::Result;

use super::Outcome;
use super::scene::{Scene, nodes, percentile};
use crate::fleet::{Fleet, Life, Target};
use crate::process;

/// Who stay.
const SIDECARS: usize = 5000;
const SERVICES: usize = 1000;

/// Who come each second, and go.
const A_SECOND: usize = 300;

/// How long each of them stays.
const STAYS: Duration = Duration::from_secs(2);

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let (sidecars, a_second) = (scene.count(SIDECARS), scene.count(A_SECOND));
    let mut stage = scene.stage(scene.count(SERVICES), false).await?;
    scene.say(&format!("{sidecars} sidecars connect"));
    let target = Target::plain(stage.server.address);
    let (fleet, _) = stage.connect(target.clone(), sidecars).await?;
    let time = scene.seconds(20);
    let quiet = percentile(&stage.open_loop(&fleet, time).await?, 99);
    let (before, _) = stage.memory()?;
    scene.say(&format!("{a_second} a second come and go"));
    let slots = a_second * STAYS.as_secs() as usize;
    let apart = STAYS / u32::try_from(slots).unwrap_or(1);
    let life = Some(Life { stays: STAYS, apart, fresh: false });
    let churn = Fleet::start(Target { life, ..target }, nodes(&stage.mesh, sidecars, slots));
    // Once round, so that each comes back with what it holds, as after a restart of its connection.
    churn.during(async { churn.meter().until_count(slots as u64, Duration::from_secs(300)).await }).await?;
    let settled = churn.meter().settled();
    let (cpu, load) = (stage.server.cpu()?, process::cpu(std::process::id())?);
    let busy = churn.during(async { stage.open_loop(&fleet, time).await }).await?;
    let used = stage.server.cpu()?.zip(cpu).map(|(now, before)| now.saturating_sub(before));
    let load = process::cpu(std::process::id())?.saturating_sub(load);
    let came = churn.meter().settled() - settled;
    let (after, _) = stage.memory()?;
    let rate = came as f64 / time.as_secs_f64();
    outcome.told("quiet: p99", "ms", quiet);
    outcome.times("p99 while others come and go", 3.0, percentile(&busy, 99), quiet);
    outcome.told("  sidecars a second that came and got all", "1/s", rate);
    outcome.told("  CPU per second", "s", used.unwrap_or_default().as_secs_f64() / time.as_secs_f64());
    outcome.told("  CPU per second, the sidecars", "s", load.as_secs_f64() / time.as_secs_f64());
    outcome.told("  memory grown", "MB", after - before);
    let missing = 100.0 * (1.0 - rate / a_second as f64);
    outcome.goal(format!("  missing of {a_second} a second"), "%", 10.0, missing.max(0.0));
    churn.stop().await?;
    fleet.stop().await?;
    stage.server.stop().await
}
