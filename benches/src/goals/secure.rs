//! 1,000 sidecars over TLS, each with a token of its account.
//!
//! Knows: its goals. Must not know: how a certificate is made.

use anyhow::Result;

use super::Outcome;
use super::scene::{Kind, Scene};
use crate::fleet::Target;
use crate::run::{LIMITS, measure};
use crate::tls::Tls;

const SIDECARS: usize = 1000;
const SERVICES: usize = 1000;

/// Sidecars of all namespaces, two of each.
const FEW: usize = 20;

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let floor = scene.floor(sidecars).await?;
    let mut stage = scene.stage(scene.count(SERVICES), true).await?;
    let Some(address) = stage.server.secure else { anyhow::bail!("the server has no port with TLS") };
    let namespaces = (0..stage.mesh.shape().namespaces).map(|number| format!("team-{number}"));
    let tls = Tls::of(scene.binary(), &stage.state(), namespaces).await?;
    let target = Target { tls: Some(tls), ..Target::plain(address) };
    // As in plain text: what the mesh costs is made for the first sidecars.
    let (few, _) = stage.connect_from(sidecars, target.clone(), FEW).await?;
    let (before, _) = stage.memory()?;
    scene.say(&format!("server, {sidecars} sidecars over TLS"));
    let (fleet, connect) = stage.connect(target, sidecars).await?;
    let (resting, _) = stage.memory()?;
    outcome.told("all connect from nothing", "s", connect.seconds);
    outcome.told("  CPU of the server", "s", connect.server_cpu_s.unwrap_or_default());
    outcome.goal("memory per resting sidecar", "kB", 120.0, (resting - before) * 1e3 / sidecars as f64);
    few.stop().await?;
    let (step, check) = stage.steps(&fleet, Kind::Weight).await?;
    check.into_iter().for_each(|check| outcome.check(check));
    outcome.times(
        "a weight: last ACK, times the floor without TLS",
        2.0,
        step.last_ack_ms,
        floor.last_ack_ms,
    );
    outcome.goal("  CPU per sidecar", "µs", 50.0, step.server_cpu_us_per_client.unwrap_or_default());
    let cpu = stage.server.cpu()?;
    fleet.cut();
    let again = measure::connect(&fleet, LIMITS, &stage.server, cpu).await?;
    outcome.told("all come back with their versions", "s", again.seconds);
    outcome.told("  CPU of the server", "s", again.server_cpu_s.unwrap_or_default());
    fleet.stop().await?;
    stage.server.stop().await
}
