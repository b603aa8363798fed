//! A mesh with policies and EnvoyFilters everywhere, beside the plain mesh of the same size.
//!
//! Knows: what is compared. Must not know: how a patch is applied.

use anyhow::{Context, Result};
use tokio::process::Command;

use super::Outcome;
use super::scene::{Kind, Scene};
use crate::fleet::Target;
use crate::mesh::{Beside, Shape};
use crate::report::{Check, Connect, Step};

const SIDECARS: usize = 300;
const SERVICES: usize = 1000;

/// What one mesh cost.
struct Cost {
    ready_ms: f64,
    connect: Connect,
    step: Step,
    memory_mb: f64,
}

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let plain = cost(scene, outcome, Beside::Nothing).await?;
    let full = cost(scene, outcome, Beside::Policies).await?;
    outcome.told("start to ready", "ms", full.ready_ms);
    outcome.ratio("  times that of the plain mesh", full.ready_ms, plain.ready_ms);
    outcome.told("all connect from nothing", "s", full.connect.seconds);
    outcome.ratio("  times the plain", full.connect.seconds, plain.connect.seconds);
    let cpu = |cost: &Cost| cost.connect.server_cpu_s.unwrap_or_default();
    outcome.told("  CPU of the server", "s", cpu(&full));
    outcome.ratio("  times the plain", cpu(&full), cpu(&plain));
    outcome.ratio("  bytes, times the plain", full.connect.bytes_per_client, plain.connect.bytes_per_client);
    outcome.told("memory of the server with all at rest", "MB", full.memory_mb);
    outcome.ratio("  times the plain", full.memory_mb, plain.memory_mb);
    outcome.told("a weight: last ACK", "ms", full.step.last_ack_ms);
    outcome.ratio("  times the plain", full.step.last_ack_ms, plain.step.last_ack_ms);
    let cpu = |cost: &Cost| cost.step.server_cpu_us_per_client.unwrap_or_default();
    outcome.told("  CPU per sidecar", "µs", cpu(&full));
    outcome.ratio("  times the plain", cpu(&full), cpu(&plain));
    Ok(())
}

async fn cost(scene: &Scene, outcome: &mut Outcome, beside: Beside) -> Result<Cost> {
    let shape = Shape { services: scene.count(SERVICES), beside, ..Shape::default() };
    let mut stage = scene.stage_of(shape, false, &[]).await?;
    if beside == Beside::Policies {
        let mut analyze = Command::new(scene.binary());
        analyze.args(["analyze", "--failure-threshold", "warning", "--config"]).arg(stage.mesh.folder());
        let said = analyze.output().await;
        let said = said.context("`meltemi analyze`")?;
        let text = String::from_utf8_lossy(&said.stdout);
        outcome.check(Check {
            what: "the mesh with policies: what `meltemi analyze` says of it".to_owned(),
            promised: "nothing".to_owned(),
            counted: text.lines().find(|_| !said.status.success()).unwrap_or("nothing").to_owned(),
            fine: said.status.success(),
        });
    }
    let sidecars = scene.count(SIDECARS);
    scene.say(&format!("{sidecars} sidecars"));
    let (fleet, connect) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    let (memory_mb, _) = stage.memory()?;
    let (step, check) = stage.steps(&fleet, Kind::Weight).await?;
    check.into_iter().for_each(|check| outcome.check(check));
    let ready_ms = stage.server.start_to_ready.map_or(0.0, |took| took.as_secs_f64() * 1e3);
    fleet.stop().await?;
    stage.server.stop().await?;
    Ok(Cost { ready_ms, connect, step, memory_mb })
}
