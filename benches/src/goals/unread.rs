//! What nobody reads: an application's own objects, and a label that no rule asks for, beside 1,000 sidecars that hold everything.
//!
//! Knows: its goal. Must not know: how a server finds out that nobody reads something.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::interval;

use super::Outcome;
use super::scene::Scene;
use crate::fleet::Target;
use crate::mesh::Unrelated;
use crate::report::Check;
use crate::run::{ANSWERS_MADE, ENTRIES_READ, PUBLISH_COUNT, PUBLISH_SUM, measure};
use crate::server::FloorProcess;

/// Sidecars, and services.
const SIDECARS: usize = 1000;
const SERVICES: usize = 1000;

/// Changes of each kind, at fixed times: one turn of the server's HTTP/2 keepalive, in which every connection is asked once, with a change
/// and without. So many that what the connections cost is little beside them, and so far apart that each is acted on by itself.
const CHANGES: usize = 1500;
const APART: Duration = Duration::from_millis(20);

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let stage = scene.stage(scene.count(SERVICES), false).await?;
    let (fleet, _) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    let cpu = || stage.server.cpu()?.context("a server of this machine");
    let mut number = 0;
    let before = fleet.meter().counts();
    // Each once before it counts: a file that is new is a change for everybody, and what connecting has made is counted, and given back, with
    // the first state that is published after it.
    scene.say("a turn that does not count");
    for kind in [Unrelated::Application, Unrelated::PodLabel] {
        number += 1;
        stage.mesh.disturb(kind, number)?;
    }
    cpu_of(scene, &cpu, || Ok(())).await?;
    for (kind, name) in [
        (Unrelated::Application, "an application's ConfigMap and Deployment"),
        (Unrelated::PodLabel, "a pod's label that no rule reads"),
    ] {
        scene.say(name);
        let rest = cpu_of(scene, &cpu, || Ok(())).await?;
        let numbers = stage.server.numbers().await?.context("a Meltemi")?;
        let used = cpu_of(scene, &cpu, || {
            number += 1;
            stage.mesh.disturb(kind, number)
        })
        .await?;
        let after = stage.server.numbers().await?.context("a Meltemi")?;
        let grown = |name| after.grown(name, &numbers).unwrap_or_default();
        let count = grown(PUBLISH_COUNT);
        outcome.told(format!("{name}: CPU of the server, at rest for as long"), "µs", rest);
        let beyond = "  with the change, beyond that";
        match kind {
            Unrelated::Application => outcome.goal(beyond, "µs", 100.0, used - rest),
            // Pods are the mesh's own: any rule may select by any label of them.
            Unrelated::PodLabel => outcome.told(beyond, "µs", used - rest),
        }
        outcome.told("  states published in that time", "", count);
        if count > 0.0 {
            outcome.told("  from a batch to views, each", "µs", grown(PUBLISH_SUM) / count * 1e6);
            outcome.told("  answers made, each", "", grown(ANSWERS_MADE) / count);
            outcome.told("  entries read, each", "", grown(ENTRIES_READ) / count);
        }
    }
    let answers = measure::answers_since(&fleet, &before);
    outcome.check(Check {
        what: format!("{number} changes that nobody reads, {sidecars} sidecars: answers sent"),
        promised: "0".to_owned(),
        counted: answers.to_string(),
        fine: answers == 0,
    });
    fleet.stop().await?;
    let (mesh, _folder) = stage.end().await?;
    scene.say("the floor of a folder");
    let floor = FloorProcess::hearing(&mesh.applications()).await?;
    let heard = cpu_of(scene, &|| floor.cpu(), || {
        number += 1;
        mesh.disturb(Unrelated::Application, number)
    })
    .await?;
    floor.stop().await?;
    outcome.told("the floor: a process that hears of the file and reads it", "µs", heard);
    Ok(())
}

/// CPU of a process in µs while that is done at fixed times, for each.
async fn cpu_of(
    scene: &Scene,
    cpu: &impl Fn() -> Result<Duration>,
    mut change: impl FnMut() -> Result<()>,
) -> Result<f64> {
    let changes = scene.count(CHANGES);
    let mut ticks = interval(APART);
    ticks.tick().await;
    let before = cpu()?;
    for _ in 0..changes {
        change()?;
        ticks.tick().await;
    }
    Ok(measure::micros(cpu()?.saturating_sub(before)) / changes as f64)
}
