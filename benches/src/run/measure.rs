//! One step, one connect: what is read before and after, and what it comes to.
//!
//! Knows: fleets and their meters. Must not know: what makes a step.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Limits;
use crate::fleet::Fleet;
use crate::meter::Counts;
use crate::process;
use crate::report::{Check, Connect, Step};
use crate::server::Server;
use crate::sidecar::TYPES;

/// After the last acknowledgement was sent, the server still reads it; the next step comes later than that.
const BREATH: Duration = Duration::from_millis(30);

/// Makes a step and waits until as many answers as there are sidecars were acknowledged; says when each last was, in
/// ascending order.
pub(crate) async fn step(
    fleet: &Fleet,
    limits: Limits,
    make: impl Future<Output = Result<()>>,
) -> Result<Vec<Duration>> {
    step_to(fleet, fleet.meter().sidecars(), limits, make).await
}

/// The same where a step reaches `count` of them.
pub(crate) async fn step_to(
    fleet: &Fleet,
    count: usize,
    limits: Limits,
    make: impl Future<Output = Result<()>>,
) -> Result<Vec<Duration>> {
    let meter = fleet.meter();
    let goal = meter.acknowledged() + count as u64;
    let start = Instant::now();
    fleet
        .during(async {
            make.await?;
            meter.until_acknowledged(goal, limits.step).await
        })
        .await?;
    let mut times = meter.last_after(start);
    meter.until_quiet(BREATH).await;
    // Those whom it does not reach acknowledged something before it, if anything.
    Ok(times.split_off(times.len().saturating_sub(count)))
}

/// Waits until all sidecars, which have been told to connect just now, are settled.
pub(crate) async fn connect(
    fleet: &Fleet,
    limits: Limits,
    server: &Server,
    cpu: Option<Duration>,
) -> Result<Connect> {
    let before = fleet.meter().counts();
    let load = process::cpu(std::process::id())?;
    let start = Instant::now();
    fleet.settle(limits.quiet, limits.connect).await?;
    let load = process::cpu(std::process::id())?.saturating_sub(load);
    let took = fleet.meter().last_after(start).last().copied().unwrap_or_default();
    let used = server.cpu()?.zip(cpu).map(|(now, before)| now.saturating_sub(before));
    let brought = sum(&since(fleet, &before));
    let clients = fleet.meter().sidecars() as f64;
    Ok(Connect {
        seconds: took.as_secs_f64(),
        server_cpu_s: used.map(|used| used.as_secs_f64()),
        load_cpu_s: load.as_secs_f64(),
        bytes_per_client: brought.bytes as f64 / clients,
        resources_per_client: TYPES
            .iter()
            .zip(brought.resources)
            .map(|(kind, count)| (kind.short(), count as f64 / clients))
            .collect::<BTreeMap<_, _>>(),
        memory_peak_mb: server.memory()?.map(|(_, peak)| mb(peak)),
    })
}

/// Some steps under measurement.
pub(crate) struct Measured {
    before: Vec<Counts>,
    cpu: Option<Duration>,
    median: Vec<Duration>,
    last: Vec<Duration>,
}

impl Measured {
    /// From here on; `cpu` is what the server has used until now.
    pub(crate) fn start(fleet: &Fleet, cpu: Option<Duration>) -> Self {
        Self { before: fleet.meter().counts(), cpu, median: Vec::new(), last: Vec::new() }
    }

    /// One step was acknowledged so long after its start, in ascending order.
    pub(crate) fn took(&mut self, times: Vec<Duration>) {
        self.last.extend(times.last());
        self.median.push(median(times));
    }

    /// Whether every sidecar got one answer with one virtual host for each step, and nothing else.
    pub(crate) fn exactly_one_each(&self, fleet: &Fleet, what: &str) -> Check {
        let steps = self.last.len() as u64;
        let promised = Counts { answers: steps, resources: [0, 0, 0, 0, steps], ..Counts::default() };
        let brought = since(fleet, &self.before);
        let is_promised = |counts: &Counts| Counts { bytes: 0, ..counts.clone() } == promised;
        let other = brought.iter().find(|counts| !is_promised(counts));
        let sidecars = brought.len();
        Check {
            what: format!("{what}, {steps} times, {sidecars} sidecars: resources to each"),
            promised: format!("{steps} VHDS in {steps} answers"),
            counted: other.map_or_else(|| "so many".to_owned(), describe),
            fine: other.is_none(),
        }
    }

    /// What they came to; `cpu` is what the server has used until now.
    pub(crate) fn finish(self, fleet: &Fleet, cpu: Option<Duration>) -> Step {
        let brought = sum(&since(fleet, &self.before));
        let (steps, clients) = (self.last.len() as f64, fleet.meter().sidecars() as f64);
        let used = cpu.zip(self.cpu).map(|(now, before)| micros(now.saturating_sub(before)) / steps);
        Step {
            steps: self.last.len(),
            median_ack_ms: micros(median(self.median)) / 1e3,
            worst_ack_ms: micros(self.last.iter().max().copied().unwrap_or_default()) / 1e3,
            last_ack_ms: micros(median(self.last)) / 1e3,
            server_cpu_ms: used.map(|used| used / 1e3),
            server_cpu_us_per_client: used.map(|used| used / clients),
            bytes_per_client: brought.bytes as f64 / steps / clients,
            resources_per_client: brought.total() as f64 / steps / clients,
        }
    }
}

/// Answers to all sidecars since then.
pub(crate) fn answers_since(fleet: &Fleet, before: &[Counts]) -> u64 {
    sum(&since(fleet, before)).answers
}

/// What each sidecar got since then.
pub(crate) fn since(fleet: &Fleet, before: &[Counts]) -> Vec<Counts> {
    fleet.meter().counts().iter().zip(before).map(|(now, before)| now.since(before)).collect()
}

pub(crate) fn sum(counts: &[Counts]) -> Counts {
    counts.iter().fold(Counts::default(), |sum, counts| Counts {
        answers: sum.answers + counts.answers,
        bytes: sum.bytes + counts.bytes,
        removed: sum.removed + counts.removed,
        resources: std::array::from_fn(|kind| sum.resources[kind] + counts.resources[kind]),
    })
}

fn describe(counts: &Counts) -> String {
    let by_type = TYPES.iter().zip(counts.resources).filter(|(_, count)| *count > 0);
    let by_type: Vec<String> = by_type.map(|(kind, count)| format!("{count} {}", kind.short())).collect();
    format!("{} in {} answers, {} removed", by_type.join(", "), counts.answers, counts.removed)
}

/// The one in the middle; zero of none.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Millions of bytes.
pub(crate) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
