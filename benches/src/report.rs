//! What was measured, as JSON or as text.
//!
//! Knows: figures and their units. Must not know: how they came about.
//! Invariant: the JSON's names are what scripts compare from run to run: add, never rename.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::mesh::Endpoints;

/// The whole of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// What was served.
    pub mesh: Mesh,
    /// The server at rest.
    pub server: Server,
    /// One weight change with one sidecar connected.
    pub change: Option<Change>,
    /// One for each number of sidecars.
    pub runs: Vec<Run>,
    /// The counts that are promised.
    pub checks: Vec<Check>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// CPUs of this process.
    pub cores: usize,
    /// Whether the server (if it was started here) and the sidecars are optimized builds.
    pub release: bool,
    /// What to keep in mind.
    pub note: String,
}

/// What was served.
#[derive(Debug, Serialize)]
pub struct Mesh {
    /// Services.
    pub services: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// How endpoints are written.
    pub endpoints: Endpoints,
}

/// The server before anybody connected.
#[derive(Debug, Serialize)]
pub struct Server {
    /// From the start of the process to the first 200 of `/ready`.
    pub start_to_ready_ms: Option<f64>,
    /// Resident memory.
    pub memory_mb: Option<f64>,
    /// Resident memory at its highest until then.
    pub memory_peak_mb: Option<f64>,
}

/// One weight change, alone.
#[derive(Debug, Serialize)]
pub struct Change {
    /// From the rename of the file to the acknowledgement of the one sidecar, median.
    pub file_to_ack_us: f64,
    /// By the server's own counters: answers of translation made anew, per change.
    pub answers_made: Option<f64>,
    /// By the server's own counters: entries of the mesh read for it, per change.
    pub entries_read: Option<f64>,
    /// By the server's own histogram: from the changed objects to bytes ready, mean per change.
    pub publish_us: Option<f64>,
}

/// One number of sidecars.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Sidecars.
    pub clients: usize,
    /// All connect from nothing.
    pub connect: Connect,
    /// Resident memory of the server with all of them settled.
    pub memory_mb: Option<f64>,
    /// What a sidecar adds to it.
    pub memory_kb_per_client: Option<f64>,
    /// The same of the floor.
    pub floor_memory_kb_per_client: f64,
    /// One canary step.
    pub step: Option<Step>,
    /// The same number of ready answers, with nothing to decide.
    pub floor: Step,
    /// Last acknowledgement, as a multiple of the floor's.
    pub last_ack_ratio: Option<f64>,
    /// CPU of the server, as a multiple of the floor's.
    pub cpu_ratio: Option<f64>,
    /// Changes that nobody reads.
    pub unrelated: Option<Unrelated>,
    /// All are cut and come back with their versions.
    pub reconnect: Connect,
}

/// Every sidecar connects.
#[derive(Debug, Serialize)]
pub struct Connect {
    /// To the last acknowledgement.
    pub seconds: f64,
    /// CPU of the server.
    pub server_cpu_s: Option<f64>,
    /// CPU of the sidecars, all together: what the server cannot have at that time.
    pub load_cpu_s: f64,
    /// Bytes of answers to each.
    pub bytes_per_client: f64,
    /// Resources to each, by type.
    pub resources_per_client: BTreeMap<&'static str, f64>,
    /// Resident memory of the server at its highest until then, since its start.
    pub memory_peak_mb: Option<f64>,
}

/// One step, to all sidecars.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Steps measured.
    pub steps: usize,
    /// To the acknowledgement of the sidecar in the middle; median over the steps.
    pub median_ack_ms: f64,
    /// To the last acknowledgement; median over the steps.
    pub last_ack_ms: f64,
    /// The slowest step's last acknowledgement.
    pub worst_ack_ms: f64,
    /// CPU of the server, per step.
    pub server_cpu_ms: Option<f64>,
    /// CPU of the server, per step and sidecar.
    pub server_cpu_us_per_client: Option<f64>,
    /// Bytes of answers, per step and sidecar.
    pub bytes_per_client: f64,
    /// Resources, per step and sidecar.
    pub resources_per_client: f64,
}

/// Changes that nobody reads.
#[derive(Debug, Serialize)]
pub struct Unrelated {
    /// How many were made.
    pub changes: usize,
    /// Answers sent because of them, over all sidecars.
    pub answers: u64,
    /// CPU of the server, per change: reading the file is in it.
    pub server_cpu_us: Option<f64>,
    /// Answers of translation made anew, per change.
    pub answers_made: Option<f64>,
}

/// A count that is promised.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What is counted.
    pub what: String,
    /// What is promised.
    pub promised: String,
    /// What was counted.
    pub counted: String,
    /// Whether they agree.
    pub fine: bool,
}

impl Report {
    /// Whether every count is as promised.
    pub fn is_fine(&self) -> bool {
        self.checks.iter().all(|check| check.fine)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, promised, counted, fine } = self;
        write!(f, "{} {what}: promised {promised}, counted {counted}", if *fine { "ok  " } else { "OFF " })
    }
}

/// A figure or a dash, in a width.
struct Cell(Option<f64>, usize);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, digits) = self;
        match value {
            Some(value) => f.pad(&format!("{value:.digits$}")),
            None => f.pad("-"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, mesh, server, change, runs, checks } = self;
        writeln!(f, "{} services in {} namespaces; {}", mesh.services, mesh.namespaces, machine.note)?;
        writeln!(
            f,
            "start to ready {} ms, then {} MB resident ({} at its highest)",
            Cell(server.start_to_ready_ms, 0),
            Cell(server.memory_mb, 0),
            Cell(server.memory_peak_mb, 0)
        )?;
        if let Some(change) = change {
            writeln!(
                f,
                "one weight change, one sidecar: file saved to acknowledged {:.0} µs, of it {} µs from objects to bytes ready; \
                 {} answers made, {} entries read",
                change.file_to_ack_us,
                Cell(change.publish_us, 0),
                Cell(change.answers_made, 1),
                Cell(change.entries_read, 1)
            )?;
        }
        let columns = |f: &mut fmt::Formatter<'_>, name: &str, cells: Vec<String>| {
            write!(f, "{name:<42}")?;
            cells.iter().try_for_each(|cell| write!(f, " {cell:>16}"))?;
            writeln!(f)
        };
        let row =
            |f: &mut fmt::Formatter<'_>, name: &str, digits: usize, value: &dyn Fn(&Run) -> Option<f64>| {
                columns(f, name, runs.iter().map(|run| Cell(value(run), digits).to_string()).collect())
            };
        writeln!(f)?;
        columns(f, "", runs.iter().map(|run| format!("{} sidecars", run.clients)).collect())?;
        let step = |value: fn(&Step) -> f64| move |run: &Run| run.step.as_ref().map(value);
        row(f, "step: last ACK, ms", 1, &step(|step| step.last_ack_ms))?;
        row(f, "  floor", 1, &|run| Some(run.floor.last_ack_ms))?;
        row(f, "  times the floor", 2, &|run| run.last_ack_ratio)?;
        row(f, "  the slowest of all steps", 1, &step(|step| step.worst_ack_ms))?;
        row(f, "  the slowest of the floor's", 1, &|run| Some(run.floor.worst_ack_ms))?;
        row(f, "step: median ACK, ms", 1, &step(|step| step.median_ack_ms))?;
        row(f, "  floor", 1, &|run| Some(run.floor.median_ack_ms))?;
        row(f, "step: server CPU per sidecar, µs", 1, &|run| run.step.as_ref()?.server_cpu_us_per_client)?;
        row(f, "  floor", 1, &|run| run.floor.server_cpu_us_per_client)?;
        row(f, "  times the floor", 2, &|run| run.cpu_ratio)?;
        row(f, "step: bytes per sidecar", 0, &step(|step| step.bytes_per_client))?;
        row(f, "  floor", 0, &|run| Some(run.floor.bytes_per_client))?;
        row(f, "step: resources per sidecar", 3, &step(|step| step.resources_per_client))?;
        row(f, "unrelated change: answers sent", 0, &|run| Some(run.unrelated.as_ref()?.answers as f64))?;
        row(f, "  answers of translation made", 1, &|run| run.unrelated.as_ref()?.answers_made)?;
        row(f, "  server CPU, µs", 0, &|run| run.unrelated.as_ref()?.server_cpu_us)?;
        row(f, "connect from nothing, s", 2, &|run| Some(run.connect.seconds))?;
        row(f, "  server CPU, s", 2, &|run| run.connect.server_cpu_s)?;
        row(f, "  CPU of the sidecars, s", 2, &|run| Some(run.connect.load_cpu_s))?;
        row(f, "  kB per sidecar", 0, &|run| Some(run.connect.bytes_per_client / 1e3))?;
        row(f, "  resources per sidecar", 0, &|run| Some(run.connect.resources_per_client.values().sum()))?;
        row(f, "reconnect of all with versions, s", 2, &|run| Some(run.reconnect.seconds))?;
        row(f, "  server CPU, s", 2, &|run| run.reconnect.server_cpu_s)?;
        row(f, "  CPU of the sidecars, s", 2, &|run| Some(run.reconnect.load_cpu_s))?;
        row(f, "  kB per sidecar", 1, &|run| Some(run.reconnect.bytes_per_client / 1e3))?;
        row(f, "server memory with all settled, MB", 0, &|run| run.memory_mb)?;
        row(f, "  peak until then, MB", 0, &|run| run.connect.memory_peak_mb)?;
        row(f, "  kB per sidecar", 0, &|run| run.memory_kb_per_client)?;
        row(f, "  floor", 0, &|run| Some(run.floor_memory_kb_per_client))?;
        writeln!(f)?;
        checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}
