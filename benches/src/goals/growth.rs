//! The same step in small and in large meshes: what it costs does not depend on what it does not touch.
//!
//! Knows: its goals. Must not know: what the server does to meet them.

use anyhow::Result;

use super::Outcome;
use super::scene::{Kind, Scene};
use crate::fleet::Target;

const SIDECARS: usize = 100;

/// All services are of one port, so these are the virtual hosts of its route configuration, too.
const SERVICES: [usize; 4] = [100, 1000, 5000, 10_000];

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let mut used = Vec::new();
    for services in SERVICES {
        let services = scene.count(services);
        scene.say(&format!("{services} services, {sidecars} sidecars"));
        let mut stage = scene.stage(services, false).await?;
        let (fleet, connect) = stage.connect(Target::plain(stage.server.address), sidecars).await?;
        let (step, check) = stage.steps(&fleet, Kind::Weight).await?;
        check.into_iter().for_each(|check| outcome.check(check));
        let (resting, peak) = stage.memory()?;
        outcome.told(format!("{services} services: start to ready"), "ms", {
            stage.server.start_to_ready.map_or(0.0, |took| took.as_secs_f64() * 1e3)
        });
        outcome.told("  all connect from nothing", "s", connect.seconds);
        outcome.told("  memory of the server", "MB", resting);
        outcome.told("  memory at the highest", "MB", peak);
        outcome.told("  a weight: CPU", "ms", step.server_cpu_ms.unwrap_or_default());
        used.push((services, step.server_cpu_ms.unwrap_or_default()));
        fleet.stop().await?;
        stage.server.stop().await?;
    }
    if let [hundred, thousand, five, ten] = used[..] {
        outcome.times(
            format!("a weight's CPU, {} services to {}", thousand.0, ten.0),
            1.2,
            ten.1,
            thousand.1,
        );
        outcome.times(
            format!("a weight's CPU, {} virtual hosts to {}", hundred.0, five.0),
            1.2,
            five.1,
            hundred.1,
        );
    }
    Ok(())
}
