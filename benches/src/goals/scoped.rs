//! A mesh in which each namespace has a Sidecar: what a sidecar does not see costs it nothing.
//!
//! Knows: its goals. Must not know: how a server finds out who sees what.

use std::time::Duration;

use anyhow::Result;

use super::Outcome;
use super::scene::Scene;
use crate::fleet::Target;
use crate::mesh::{Beside, Shape};
use crate::meter::Counts;
use crate::node::Pod;
use crate::report::Check;
use crate::run::{LIMITS, WARM_UP, measure};

const SIDECARS: usize = 1000;
const SERVICES: usize = 1000;
const STEPS: usize = 20;

/// Sidecars of all namespaces, two of each.
const FEW: usize = 20;

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let shape = Shape { services: scene.count(SERVICES), beside: Beside::Scopes, ..Shape::default() };
    let stage = scene.stage_of(shape, false, &[]).await?;
    let (few, _) = stage.connect_from(sidecars, Target::plain(stage.server.address), FEW).await?;
    let (before, _) = stage.memory()?;
    let (fleet, connect) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
    let (resting, _) = stage.memory()?;
    few.stop().await?;
    outcome.told("all connect from nothing", "s", connect.seconds);
    outcome.told("  CPU of the server", "s", connect.server_cpu_s.unwrap_or_default());
    outcome.told("  its memory at the highest", "MB", connect.memory_peak_mb.unwrap_or_default());
    outcome.told("  sent to each", "kB", connect.bytes_per_client / 1e3);
    outcome.told(format!("memory of the server with {FEW} sidecars"), "MB", before);
    outcome.goal("memory per resting sidecar", "kB", 80.0, (resting - before) * 1e3 / sidecars as f64);

    let pods: Vec<Pod> = stage.mesh.pods().take(sidecars).collect();
    let promised = Counts { answers: 1, resources: [0, 0, 0, 0, 1], ..Counts::default() };
    let (mut astray, mut wrong, mut reached) = (Counts::default(), 0, 0);
    let (mut last, mut cpu) = (Vec::new(), Duration::ZERO);
    for step in 0..WARM_UP + STEPS {
        let service = step * 37 % shape.services;
        let sees: Vec<bool> = pods.iter().map(|pod| stage.mesh.sees(pod, service)).collect();
        let count = sees.iter().filter(|sees| **sees).count();
        let (before, used) = (fleet.meter().counts(), stage.server.cpu()?.unwrap_or_default());
        let change = async { stage.mesh.weigh(service, 10 + step) };
        let times = measure::step_to(&fleet, count, LIMITS, change).await?;
        if step < WARM_UP {
            continue;
        }
        last.extend(times.last());
        reached += count;
        cpu += stage.server.cpu()?.unwrap_or_default().saturating_sub(used);
        let brought = measure::since(&fleet, &before);
        let (of_those, of_others): (Vec<_>, Vec<_>) =
            brought.into_iter().zip(sees).partition(|(_, sees)| *sees);
        wrong += of_those.iter().filter(|(got, _)| Counts { bytes: 0, ..got.clone() } != promised).count();
        let others: Vec<Counts> = of_others.into_iter().map(|(got, _)| got).chain([astray]).collect();
        astray = measure::sum(&others);
    }
    let each = reached / STEPS;
    let last = measure::micros(measure::median(last)) / 1e3;
    let floor = scene.floor(each).await?;
    outcome.told("sidecars that see a service", "", each as f64);
    outcome.told("a weight: last ACK of those", "ms", last);
    outcome.ratio("  times the floor of so many", last, floor.last_ack_ms);
    outcome.goal("  CPU per sidecar reached", "µs", 50.0, measure::micros(cpu) / reached as f64);
    outcome.check(Check {
        what: format!(
            "{STEPS} weights: sidecars that see the service and got another thing than one VHDS in one answer"
        ),
        promised: "0".to_owned(),
        counted: wrong.to_string(),
        fine: wrong == 0,
    });
    outcome.check(Check {
        what: format!("{STEPS} weights: sent to sidecars that do not see the service"),
        promised: "0 answers, 0 bytes".to_owned(),
        counted: format!("{} answers, {} bytes", astray.answers, astray.bytes),
        fine: astray == Counts::default(),
    });
    fleet.stop().await?;
    stage.server.stop().await
}
