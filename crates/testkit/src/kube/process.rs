//! One program of the cluster as a child process, with its log in a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context, Result};

use crate::envoy::tied_command;

/// Lines of a log that an error shows.
const SHOWN: usize = 30;

/// A running program. Dropping it kills it and waits until it is gone.
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program`; what it prints goes to the end of `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = tied_command(program).into_std();
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn(command).with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child })
    }

    /// Its status, if it ended by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Its process ID.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// The end of a log.
pub(super) fn end_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
}

/// The resident memory of a process, in bytes; 0 where the system does not tell.
pub(super) fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A program to start, and where to say how that went.
type Order = (Command, SyncSender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this process. A tied child ends with the thread that started
/// it, and a cluster that several tests share outlives the thread of the first one.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, incoming) = sync_channel::<Order>(1);
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                drop(answer.send(command.spawn()));
            }
        });
        orders
    });
    let (answer, started) = sync_channel(1);
    starter.send((command, answer)).map_err(io::Error::other)?;
    started.recv().map_err(io::Error::other)?
}
