//! What scenarios have in common: a mesh with its server, the floor, closed and open loops.
//!
//! Knows: how a mesh is made and changed, what is read before and after. Must not know: any one scenario.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval};

use super::GoalArgs;
use crate::fleet::{Fleet, Target};
use crate::mesh::{Mesh, Shape};
use crate::node::node;
use crate::report::{Check, Connect, Step};
use crate::run::measure::{self, Measured};
use crate::run::{LIMITS, WARM_UP};
use crate::server::{FloorProcess, Options, Server};

/// Steps of a closed loop.
const STEPS: usize = 20;

/// Between two changes of an open loop.
const APART: Duration = Duration::from_millis(250);

/// Where scenarios play.
pub(super) struct Scene {
    binary: PathBuf,
    temporary: TempDir,
    scale: usize,
    say: fn(&str),
}

/// A mesh and the server that reads it.
pub(super) struct Stage {
    pub(super) mesh: Mesh,
    pub(super) server: Server,
    folder: TempDir,
    steps: usize,
    /// Services whose second endpoint is out.
    drained: BTreeSet<usize>,
}

/// What a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Other weights in a VirtualService.
    Weight,
    /// One endpoint of a service leaves, or comes back.
    Endpoint,
}

impl Scene {
    pub(super) fn new(arguments: &GoalArgs, say: fn(&str)) -> Result<Self> {
        let binary = match &arguments.meltemi {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?.with_file_name("meltemi"),
        };
        let temporary = tempfile::Builder::new().prefix("meltemi-goals-").tempdir()?;
        Ok(Self { binary, temporary, scale: usize::from(arguments.scale_down), say })
    }

    pub(super) fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// So many, scaled down where that is asked for.
    pub(super) fn count(&self, count: usize) -> usize {
        (count / self.scale).max(2)
    }

    /// So many seconds, scaled down where that is asked for.
    pub(super) fn seconds(&self, seconds: u64) -> Duration {
        (Duration::from_secs(seconds) / u32::try_from(self.scale).unwrap_or(1)).max(Duration::from_secs(1))
    }

    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    /// A mesh of so many services, and a server that is ready with it.
    pub(super) async fn stage(&self, services: usize, is_secure: bool) -> Result<Stage> {
        self.stage_of(Shape { services, ..Shape::default() }, is_secure, &[]).await
    }

    /// A mesh of that shape with these files (name and text) beside it, and a server that is ready with all.
    pub(super) async fn stage_of(
        &self,
        shape: Shape,
        is_secure: bool,
        files: &[(&str, &str)],
    ) -> Result<Stage> {
        let folder = tempfile::Builder::new().tempdir_in(self.temporary.path())?;
        let mesh = Mesh::write(&folder.path().join("mesh"), &folder.path().join("staging"), shape)?;
        for (name, text) in files {
            mesh.write_file(name, text)?;
        }
        let state = is_secure.then(|| folder.path().join("state"));
        let server = Server::start(&self.binary, mesh.folder(), &Options { state }).await?;
        Ok(Stage { mesh, server, folder, steps: 0, drained: BTreeSet::new() })
    }

    /// Resident memory in MB of a server of nothing.
    pub(super) async fn empty(&self) -> Result<f64> {
        let folder = tempfile::Builder::new().tempdir_in(self.temporary.path())?;
        let server = Server::start(&self.binary, folder.path(), &Options::default()).await?;
        let (now, _) = server.memory()?.context("a server of this machine")?;
        server.stop().await?;
        Ok(measure::mb(now))
    }

    /// What one change to so many sidecars costs when nothing is to be decided.
    pub(super) async fn floor(&self, sidecars: usize) -> Result<Step> {
        self.say(&format!("floor, {sidecars} sidecars"));
        let (mut floor, address) = FloorProcess::sending().await?;
        let shape = Shape { services: 1, namespaces: 1, ..Shape::default() };
        let fleet = Fleet::start(Target::plain(address), nodes(&Mesh::named(shape), 0, sidecars));
        fleet.settle(LIMITS.quiet, LIMITS.connect).await?;
        for _ in 0..WARM_UP {
            measure::step(&fleet, LIMITS, floor.step()).await?;
        }
        let mut measured = Measured::start(&fleet, Some(floor.cpu()?));
        for _ in 0..STEPS {
            measured.took(measure::step(&fleet, LIMITS, floor.step()).await?);
        }
        let step = measured.finish(&fleet, Some(floor.cpu()?));
        fleet.stop().await?;
        floor.stop().await?;
        Ok(step)
    }
}

/// The nodes of `count` pods of that mesh, from pod number `first`.
pub(super) fn nodes(mesh: &Mesh, first: usize, count: usize) -> Vec<Node> {
    mesh.pods().skip(first).take(count).map(|pod| node(&pod)).collect()
}

impl Stage {
    /// The mesh of a server that has ended.
    pub(super) async fn end(self) -> Result<(Mesh, TempDir)> {
        let Self { mesh, server, folder, .. } = self;
        server.stop().await?;
        Ok((mesh, folder))
    }

    /// Where its state is, if it has one.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// All of a new fleet connect from nothing.
    pub(super) async fn connect(&self, target: Target, count: usize) -> Result<(Fleet, Connect)> {
        self.connect_from(0, target, count).await
    }

    /// The same, of the pods from number `first`.
    pub(super) async fn connect_from(
        &self,
        first: usize,
        target: Target,
        count: usize,
    ) -> Result<(Fleet, Connect)> {
        let cpu = self.server.cpu()?;
        let fleet = Fleet::start(target, nodes(&self.mesh, first, count));
        let connect = measure::connect(&fleet, LIMITS, &self.server, cpu).await?;
        Ok((fleet, connect))
    }

    /// Resident memory of the server in MB, now and at its highest.
    pub(super) fn memory(&self) -> Result<(f64, f64)> {
        let (now, peak) = self.server.memory()?.context("a server of this machine")?;
        Ok((measure::mb(now), measure::mb(peak)))
    }

    /// Steps of a closed loop: the next change is made when every sidecar has acknowledged the last.
    pub(super) async fn steps(&mut self, fleet: &Fleet, kind: Kind) -> Result<(Step, Option<Check>)> {
        for _ in 0..WARM_UP {
            self.step(fleet, kind).await?;
        }
        let mut measured = Measured::start(fleet, self.server.cpu()?);
        for _ in 0..STEPS {
            measured.took(self.step(fleet, kind).await?);
        }
        let check = match kind {
            Kind::Weight => Some(measured.exactly_one_each(fleet, "a weight change")),
            Kind::Endpoint => None,
        };
        Ok((measured.finish(fleet, self.server.cpu()?), check))
    }

    async fn step(&mut self, fleet: &Fleet, kind: Kind) -> Result<Vec<Duration>> {
        let (service, change) = self.next();
        measure::step(fleet, LIMITS, async {
            match kind {
                Kind::Weight => self.mesh.weigh(service, change),
                Kind::Endpoint => {
                    let is_out = self.drained.insert(service);
                    if !is_out {
                        self.drained.remove(&service);
                    }
                    self.mesh.drain(service, is_out)
                }
            }
        })
        .await
    }

    /// Another service for each change, and another value when its turn comes again.
    fn next(&mut self) -> (usize, usize) {
        let step = self.steps;
        self.steps += 1;
        let services = self.mesh.shape().services;
        // 37 is prime to any round number of services; 79 values keep both subsets in use.
        (step * 37 % services, 10 + (step / services + step) % 79)
    }

    /// Weights of an open loop, as [`paced`] makes them.
    pub(super) async fn open_loop(&mut self, fleet: &Fleet, time: Duration) -> Result<Vec<Duration>> {
        paced(fleet, APART, time, |_| {
            let (service, percent) = self.next();
            let host = self.mesh.host(service);
            changes(fleet, TypeUrl::VirtualHost, |name| name.contains(&host))?;
            self.mesh.weigh(service, percent)
        })
        .await
    }
}

/// An open loop: `change` makes another change every so often for `time`, whether the last has arrived or not. How long those that it
/// marks took to each sidecar of those that read, in ascending order.
pub(super) async fn paced(
    fleet: &Fleet,
    apart: Duration,
    time: Duration,
    mut change: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Duration>> {
    fleet.meter().took();
    let mut ticks = interval(apart);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    fleet
        .during(async {
            for number in 0..count_of(apart, time) {
                ticks.tick().await;
                change(number)?;
            }
            fleet.meter().until_quiet(LIMITS.quiet).await;
            Ok(())
        })
        .await?;
    Ok(fleet.meter().took())
}

/// How many changes that are so far apart fill that time.
pub(super) fn count_of(apart: Duration, time: Duration) -> usize {
    usize::try_from(time.as_nanos() / apart.as_nanos().max(1)).unwrap_or(usize::MAX).max(1)
}

/// The one resource of that type whose name `is_it` knows is changed now.
pub(super) fn changes(fleet: &Fleet, kind: TypeUrl, is_it: impl Fn(&str) -> bool) -> Result<()> {
    let number = fleet.number(kind, is_it).with_context(|| format!("nobody holds these {kind}"))?;
    fleet.meter().changes(kind as usize, number);
    Ok(())
}

/// Of times in ascending order, that which so many in a hundred do not exceed, in ms; 0 of none.
pub(super) fn percentile(times: &[Duration], percent: usize) -> f64 {
    let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), 100.0);
        assert_eq!(percentile(&times, 99), 198.0);
        assert_eq!(percentile(&times[..1], 99), 1.0);
        assert_eq!(percentile(&[], 99), 0.0);
    }
}
