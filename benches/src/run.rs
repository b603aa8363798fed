//! The runs: floor and server in turn, with the same sidecars, in one process beside them.
//!
//! Knows: in what order things are done, and what is read before and after. Must not know: how a sidecar or a server works.
//! Invariant: times are only reported; a count that is promised is checked.

pub(crate) mod measure;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_proto::envoy::config::core::v3::Node;
use tokio::process::Command;

use crate::args::RunArgs;
use crate::fleet::{Fleet, Target};
use crate::mesh::{Mesh, Shape, Unrelated};
use crate::node::node;
use crate::process;
use crate::report::{self, Change, Check, Report, Run};
use crate::scrape::Numbers;
use crate::server::{FloorProcess, Options, Server};
use measure::{Measured, mb, median, micros};

/// Answers of translation, entries read, and the time for it, as `meltemi serve` counts them.
pub(crate) const ANSWERS_MADE: &str = "meltemi_serve_answers_made_total";
pub(crate) const ENTRIES_READ: &str = "meltemi_serve_entries_read_total";
pub(crate) const PUBLISH_SUM: &str = "meltemi_serve_publish_duration_seconds_sum";
pub(crate) const PUBLISH_COUNT: &str = "meltemi_serve_publish_duration_seconds_count";

/// Changes of each kind that nobody reads.
const DISTURBANCES: usize = 5;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All connect and get the whole mesh.
    pub(crate) connect: Duration,
    /// One step reaches all.
    pub(crate) step: Duration,
    /// Nothing came for so long: nothing comes.
    pub(crate) quiet: Duration,
}

pub(crate) const LIMITS: Limits = Limits {
    connect: Duration::from_secs(600),
    step: Duration::from_secs(120),
    quiet: Duration::from_millis(300),
};

/// Steps before the first that is measured.
pub(crate) const WARM_UP: usize = 3;

/// Runs everything that is asked for, and says on the way what it does.
///
/// # Errors
/// When a process cannot be started, a stream ends, or something does not come in time. A count that is off is no error
/// but in the report.
pub async fn run(arguments: &RunArgs, say: impl Fn(&str)) -> Result<Report> {
    let plan = Plan::of(arguments);
    let most = plan.clients.iter().copied().max().unwrap_or(1);
    process::allow_connections(if arguments.connections == 0 { most } else { arguments.connections })?;
    let temporary = tempfile::Builder::new().prefix("meltemi-bench-").tempdir()?;
    let mut bench = Bench::start(arguments, plan, temporary.path(), &say).await?;
    let measured = bench.measure(&say).await;
    let log = bench.server.log();
    match measured {
        Ok(report) => {
            bench.server.stop().await?;
            Ok(report)
        }
        Err(error) if log.is_empty() => Err(error),
        Err(error) => Err(error.context(format!("the end of the server's log:\n{log}"))),
    }
}

/// A folder beside `folder`, on the same file system and outside what a server of `folder` reads.
///
/// # Errors
/// When `folder` has no parent.
pub fn staging(folder: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    let name = folder.file_name().context("the mesh needs a folder of its own")?.to_string_lossy();
    Ok(folder.with_file_name(format!(".{name}-staging")))
}

/// What is asked for, after `--smoke`.
#[derive(Clone, Debug)]
struct Plan {
    shape: Shape,
    clients: Vec<usize>,
    steps: usize,
}

impl Plan {
    fn of(arguments: &RunArgs) -> Self {
        let shape = arguments.shape.shape();
        if arguments.smoke {
            let shape = Shape { services: 100, namespaces: 4, ..shape };
            return Self { shape, clients: vec![1, 20], steps: 3 };
        }
        // One alone comes first: what a change costs by itself.
        let mut clients = vec![1];
        clients.extend(arguments.clients.iter().copied().filter(|clients| *clients > 1));
        Self { shape, clients, steps: arguments.steps.max(1) }
    }
}

/// What makes a step.
enum Lever {
    /// A VirtualService in a folder that the server reads.
    Mesh(Mesh),
    /// A command of the user's.
    Command(String),
    /// Nothing: only connecting is measured.
    None,
}

impl Lever {
    /// Makes step number `step`: another weight than the one before it, each time of another service.
    async fn pull(&self, step: usize) -> Result<()> {
        match self {
            Self::Mesh(mesh) => mesh.weigh(step * 37 % mesh.shape().services, 10 + step % 79),
            Self::Command(command) => {
                let status =
                    Command::new("sh").args(["-c", command]).env("STEP", step.to_string()).status().await?;
                if !status.success() {
                    bail!("`{command}` ended with {status}");
                }
                Ok(())
            }
            Self::None => bail!("nothing is known that makes a step"),
        }
    }
}

struct Bench {
    plan: Plan,
    connections: usize,
    server: Server,
    lever: Lever,
    /// Steps made so far.
    steps: usize,
    /// Changes that nobody reads, made so far.
    disturbances: usize,
    is_ours: bool,
    checks: Vec<Check>,
}

impl Bench {
    async fn start(arguments: &RunArgs, plan: Plan, temporary: &Path, say: &impl Fn(&str)) -> Result<Self> {
        let bench = |server, lever, is_ours| Self {
            plan: plan.clone(),
            connections: arguments.connections,
            server,
            lever,
            steps: 0,
            disturbances: 0,
            is_ours,
            checks: Vec::new(),
        };
        if let Some(address) = arguments.against {
            let server = Server::running(address, arguments.pid, arguments.metrics);
            let lever = match (&arguments.mesh, &arguments.change) {
                (Some(folder), _) => Lever::Mesh(Mesh::open(folder, &staging(folder)?, plan.shape)?),
                (None, Some(command)) => Lever::Command(command.clone()),
                (None, None) => Lever::None,
            };
            // Its folder is ours to disturb, and it promises what a Meltemi promises.
            let is_ours = arguments.mesh.is_some();
            return Ok(bench(server, lever, is_ours));
        }
        say(&format!("writing {} services", plan.shape.services));
        let mesh = Mesh::write(&temporary.join("mesh"), &temporary.join("staging"), plan.shape)?;
        let binary = match &arguments.meltemi {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?.with_file_name("meltemi"),
        };
        say(&format!("starting {} serve", binary.display()));
        let server = Server::start(&binary, mesh.folder(), &Options::default()).await?;
        Ok(bench(server, Lever::Mesh(mesh), true))
    }

    async fn measure(&mut self, say: &impl Fn(&str)) -> Result<Report> {
        let memory = self.server.memory()?;
        let server = report::Server {
            start_to_ready_ms: self.server.start_to_ready.map(|took| took.as_secs_f64() * 1e3),
            memory_mb: memory.map(|(now, _)| mb(now)),
            memory_peak_mb: memory.map(|(_, peak)| mb(peak)),
        };
        let mut change = None;
        let mut runs = Vec::new();
        for clients in self.plan.clients.clone() {
            say(&format!("floor, {clients} sidecars"));
            let (floor, floor_memory) = self.floor(clients).await?;
            say(&format!("server, {clients} sidecars"));
            let (run, of_change) = self.one(clients, floor, floor_memory).await?;
            change = change.or(of_change);
            runs.push(run);
        }
        let Shape { services, namespaces, endpoints, .. } = self.plan.shape;
        let cores = std::thread::available_parallelism()?.get();
        let release = !cfg!(debug_assertions);
        let beside = if self.is_ours || self.server.cpu()?.is_some() { "server and " } else { "" };
        let build = if release { "" } else { "; a DEBUG build, whose times mean nothing" };
        Ok(Report {
            machine: report::Machine {
                cores,
                release,
                note: format!("{beside}sidecars share {cores} cores, over loopback{build}"),
            },
            mesh: report::Mesh { services, namespaces, endpoints },
            server,
            change,
            runs,
            checks: std::mem::take(&mut self.checks),
        })
    }

    fn nodes(&self, clients: usize) -> Vec<Node> {
        // Any mesh of this shape has these pods; nothing is read from a folder for them.
        Mesh::named(self.plan.shape).pods().take(clients).map(|pod| node(&pod)).collect()
    }

    /// The same sidecars against the floor.
    async fn floor(&mut self, clients: usize) -> Result<(report::Step, f64)> {
        let (mut floor, address) = FloorProcess::sending().await?;
        let empty = floor.memory()?;
        let fleet = Fleet::start(self.target(address), self.nodes(clients));
        fleet.settle(LIMITS.quiet, LIMITS.connect).await?;
        let per_client = (floor.memory()?.saturating_sub(empty)) as f64 / 1e3 / clients as f64;
        for _ in 0..WARM_UP {
            measure::step(&fleet, LIMITS, floor.step()).await?;
        }
        let mut measured = Measured::start(&fleet, Some(floor.cpu()?));
        for _ in 0..self.plan.steps {
            measured.took(measure::step(&fleet, LIMITS, floor.step()).await?);
        }
        let step = measured.finish(&fleet, Some(floor.cpu()?));
        fleet.stop().await?;
        floor.stop().await?;
        Ok((step, per_client))
    }

    /// The sidecars against the server.
    async fn one(
        &mut self,
        clients: usize,
        floor: report::Step,
        floor_memory_kb_per_client: f64,
    ) -> Result<(Run, Option<Change>)> {
        let memory_before = self.server.memory()?;
        let cpu = self.server.cpu()?;
        let fleet = Fleet::start(self.target(self.server.address), self.nodes(clients));
        let connect = measure::connect(&fleet, LIMITS, &self.server, cpu).await?;
        let memory = self.server.memory()?;
        let (mut step, mut change, mut unrelated) = (None, None, None);
        if !matches!(self.lever, Lever::None) {
            for _ in 0..WARM_UP {
                self.step(&fleet).await?;
            }
            let numbers = self.server.numbers().await?;
            let mut measured = Measured::start(&fleet, self.server.cpu()?);
            let mut last = Vec::new();
            for _ in 0..self.plan.steps {
                let times = self.step(&fleet).await?;
                last.extend(times.last().copied());
                measured.took(times);
            }
            if self.is_ours {
                self.checks.push(measured.exactly_one_each(&fleet, "a weight change"));
            }
            step = Some(measured.finish(&fleet, self.server.cpu()?));
            if clients == 1 {
                change = Some(self.change(last, numbers).await?);
            }
            if self.is_ours {
                unrelated = Some(self.unrelated(&fleet).await?);
            }
        }
        let cpu = self.server.cpu()?;
        fleet.cut();
        let reconnect = measure::connect(&fleet, LIMITS, &self.server, cpu).await?;
        fleet.stop().await?;
        let grown = memory.zip(memory_before).map(|((now, _), (before, _))| now.saturating_sub(before));
        let cpu_of = |step: &report::Step| step.server_cpu_us_per_client;
        let run = Run {
            clients,
            connect,
            memory_mb: memory.map(|(now, _)| mb(now)),
            memory_kb_per_client: grown.map(|grown| grown as f64 / 1e3 / clients as f64),
            floor_memory_kb_per_client,
            last_ack_ratio: step.as_ref().map(|step| step.last_ack_ms / floor.last_ack_ms),
            cpu_ratio: step
                .as_ref()
                .and_then(cpu_of)
                .zip(cpu_of(&floor))
                .map(|(server, floor)| server / floor),
            step,
            floor,
            unrelated,
            reconnect,
        };
        Ok((run, change))
    }

    /// Makes one step and returns when each sidecar acknowledged it.
    async fn step(&mut self, fleet: &Fleet) -> Result<Vec<Duration>> {
        let step = self.steps;
        self.steps += 1;
        measure::step(fleet, LIMITS, self.lever.pull(step)).await
    }

    /// What the steps of one sidecar alone cost, where the server counts it.
    async fn change(&self, last: Vec<Duration>, before: Option<Numbers>) -> Result<Change> {
        let after = self.server.numbers().await?;
        let grown = |name: &str| after.as_ref()?.grown(name, before.as_ref()?);
        let steps = self.plan.steps as f64;
        let publish = grown(PUBLISH_SUM).zip(grown(PUBLISH_COUNT)).filter(|(_, count)| *count > 0.0);
        Ok(Change {
            file_to_ack_us: micros(median(last)),
            answers_made: grown(ANSWERS_MADE).map(|made| made / steps),
            entries_read: grown(ENTRIES_READ).map(|read| read / steps),
            publish_us: publish.map(|(sum, count)| sum / count * 1e6),
        })
    }

    /// Changes what nobody reads, and then one weight: when that has come, whatever the others caused has come too.
    async fn unrelated(&mut self, fleet: &Fleet) -> Result<report::Unrelated> {
        let Lever::Mesh(mesh) = &self.lever else { bail!("only a mesh in a folder can be disturbed") };
        let numbers = self.server.numbers().await?;
        let before = fleet.meter().counts();
        let cpu = self.server.cpu()?;
        for kind in [Unrelated::Application, Unrelated::PodLabel] {
            for _ in 0..DISTURBANCES {
                self.disturbances += 1;
                mesh.disturb(kind, self.disturbances)?;
                fleet.meter().until_quiet(LIMITS.quiet / 3).await;
            }
        }
        let used = self.server.cpu()?.zip(cpu).map(|(now, before)| now.saturating_sub(before));
        let after = self.server.numbers().await?;
        let answers = measure::answers_since(fleet, &before);
        let changes = 2 * DISTURBANCES;
        let mut fence = Measured::start(fleet, None);
        let times = self.step(fleet).await?;
        fence.took(times);
        let clients = fleet.meter().sidecars();
        self.checks.push(Check {
            what: format!("{changes} changes that nobody reads, {clients} sidecars: answers sent"),
            promised: "0".to_owned(),
            counted: answers.to_string(),
            fine: answers == 0,
        });
        self.checks.push(fence.exactly_one_each(fleet, "the weight change after them"));
        Ok(report::Unrelated {
            changes,
            answers,
            server_cpu_us: used.map(|used| micros(used) / changes as f64),
            answers_made: after
                .as_ref()
                .zip(numbers.as_ref())
                .and_then(|(after, before)| after.grown(ANSWERS_MADE, before))
                .map(|made| made / changes as f64),
        })
    }

    fn target(&self, address: std::net::SocketAddr) -> Target {
        Target { connections: self.connections, ..Target::plain(address) }
    }
}
