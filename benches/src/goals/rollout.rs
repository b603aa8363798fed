//! Rollouts of 20 services at once: their pods are replaced one by one, at fixed times, whether the last change has arrived or not.
//!
//! Knows: its figures. Must not know: what the server does with an endpoint.

use std::time::Duration;

use anyhow::Result;
use meltemi_names::TypeUrl;

use super::Outcome;
use super::scene::{Scene, changes, count_of, paced, percentile};
use crate::fleet::Target;
use crate::run::measure;

const SIDECARS: usize = 1000;
const SERVICES: usize = 1000;

/// Services whose pods are replaced.
const ROLLING: usize = 20;

/// Between two changes: 40 a second, two for each of the services.
const APART: Duration = Duration::from_millis(25);

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let (sidecars, services) = (scene.count(SIDECARS), scene.count(SERVICES));
    let rolling = ROLLING.min(services);
    let stage = scene.stage(services, false).await?;
    let (fleet, _) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    let (before, _) = stage.memory()?;
    let time = scene.seconds(30);
    scene.say(&format!("{rolling} services replace their pods for {} s", time.as_secs()));
    let (counts, cpu) = (fleet.meter().counts(), stage.server.cpu()?.unwrap_or_default());
    let took = paced(&fleet, APART, time, |number| {
        // Far from each other, as services of different teams are.
        let service = number % rolling * 37 % services;
        let cluster = format!("outbound|{}||{}", stage.mesh.shape().port, stage.mesh.host(service));
        changes(&fleet, TypeUrl::Endpoint, |name| name == cluster)?;
        stage.mesh.roll(service, number / rolling + 1)
    })
    .await?;
    let used = stage.server.cpu()?.unwrap_or_default().saturating_sub(cpu);
    let brought = measure::sum(&measure::since(&fleet, &counts));
    let (after, _) = stage.memory()?;
    let each = (count_of(APART, time) * sidecars) as f64;
    outcome.told("a changed endpoint to a sidecar: p50", "ms", percentile(&took, 50));
    outcome.told("  p99", "ms", percentile(&took, 99));
    outcome.told("  the last of all", "ms", percentile(&took, 100));
    outcome.told("  answers for each change and sidecar", "", brought.answers as f64 / each);
    let overtaken = 1.0 - took.len() as f64 / each;
    outcome.told("  changes that came with the next of their service", "%", 100.0 * overtaken.max(0.0));
    outcome.goal("  CPU for each change and sidecar", "µs", 50.0, measure::micros(used) / each);
    outcome.goal("  bytes for each change and sidecar", "B", 1000.0, brought.bytes as f64 / each);
    outcome.told("  CPU per second", "s", used.as_secs_f64() / time.as_secs_f64());
    outcome.goal("  memory grown by then", "MB", 20.0, after - before);
    fleet.stop().await?;
    stage.server.stop().await
}
