//! The processes that are measured: `meltemi serve`, a server that runs already, the floor.
//!
//! Knows: their command lines, logs and pages. Must not know: how they work.
//! Invariant: a process that was started here ends with the run, however that ends.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::StatusCode;
use nix::sys::signal::{Signal, kill};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::process::{self, pid_of};
use crate::scrape::{Numbers, page};

/// How long a server may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often readiness is asked: the error of the time to ready.
const ASK: Duration = Duration::from_millis(2);

/// Lines of a server's log that are kept, to be shown when it fails.
const KEPT: usize = 20;

/// A server under measurement.
#[derive(Debug)]
pub struct Server {
    /// Where sidecars connect.
    pub address: SocketAddr,
    /// Where they connect with TLS, if it has a state.
    pub secure: Option<SocketAddr>,
    /// From its start to ready, if it was started here.
    pub start_to_ready: Option<Duration>,
    monitoring: Option<SocketAddr>,
    pid: Option<u32>,
    child: Option<Child>,
    log: Log,
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A folder for its certificate authority's state: it then has a port with TLS, too.
    pub state: Option<PathBuf>,
}

type Log = Arc<Mutex<VecDeque<String>>>;

impl Server {
    /// Starts `meltemi serve` on that folder and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub async fn start(binary: &Path, folder: &Path, options: &Options) -> Result<Self> {
        let started = Instant::now();
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(folder);
        for option in ["--xds-address", "--http-address", "--monitoring-address"] {
            command.args([option, "127.0.0.1:0"]);
        }
        if let Some(state) = &options.state {
            command.arg("--state-dir").arg(state).args(["--secure-xds-address", "127.0.0.1:0"]);
        }
        command.args(["--log-format", "json"]).env("RUST_LOG", "info");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| {
            format!("starting {} (built by `cargo build -p meltemi-cli`)", binary.display())
        })?;
        let stderr = child.stderr.take().context("the server has no log")?;
        let log = Log::default();
        let up = Self::come_up(BufReader::new(stderr).lines(), &log, options.state.is_some());
        let ports = timeout(PATIENCE, up).await;
        let Ok(Ok(Ports { xds, secure, monitoring })) = ports else {
            bail!(
                "`{} serve` is not ready after {PATIENCE:?}, or has ended:\n{}",
                binary.display(),
                tail(&log)
            );
        };
        let start_to_ready = Some(started.elapsed());
        Ok(Self {
            address: xds,
            secure,
            start_to_ready,
            monitoring: Some(monitoring),
            pid: child.id(),
            child: Some(child),
            log,
        })
    }

    /// A server that runs already.
    pub fn running(address: SocketAddr, pid: Option<u32>, monitoring: Option<SocketAddr>) -> Self {
        Self {
            address,
            secure: None,
            start_to_ready: None,
            monitoring,
            pid,
            child: None,
            log: Log::default(),
        }
    }

    /// Reads its addresses from the log, and waits for readiness.
    async fn come_up(mut lines: Lines<BufReader<ChildStderr>>, log: &Log, is_secure: bool) -> Result<Ports> {
        // Its root is in the state folder before its first certificate is in use.
        let (mut secure, mut has_certificate) = (None, false);
        let (mut xds, mut http, mut monitoring) = (None, None, None);
        let (xds, http, monitoring) = loop {
            let line = lines.next_line().await?.context("the server ended")?;
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) {
                let address = line["address"].as_str().and_then(|address| address.parse::<SocketAddr>().ok());
                match line["message"].as_str() {
                    Some("xds listens") => xds = address,
                    Some("xds over TLS listens") => secure = address,
                    Some("the TLS port has a new certificate") => has_certificate = true,
                    Some("http listens") => http = address,
                    Some("monitoring listens") => monitoring = address,
                    _ => {}
                }
            }
            keep(log, line);
            if let (Some(xds), Some(http), Some(monitoring)) = (xds, http, monitoring)
                && (!is_secure || secure.is_some() && has_certificate)
            {
                break (xds, http, monitoring);
            }
        };
        // Its log is read to the end, or it would stand still when the pipe is full.
        let log = Arc::clone(log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Thousands of sidecars come and go, and each is a line.
                if !line.contains("\"level\":\"INFO\"") {
                    keep(&log, line);
                }
            }
        });
        let mut ticks = interval(ASK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok((StatusCode::OK, _)) = page(http, "/ready").await {
                return Ok(Ports { xds, secure, monitoring });
            }
        }
    }

    /// Its own counters; none where it shows none.
    ///
    /// # Errors
    /// When its page cannot be had.
    pub async fn numbers(&self) -> Result<Option<Numbers>> {
        let Some(monitoring) = self.monitoring else { return Ok(None) };
        let (status, text) = page(monitoring, "/metrics").await?;
        if status != StatusCode::OK {
            bail!("/metrics of {monitoring} answers {status}");
        }
        Ok(Some(Numbers::parse(&text)))
    }

    /// CPU time it has used; none for a server elsewhere.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Option<Duration>> {
        self.pid.map(process::cpu).transpose()
    }

    /// Its memory in bytes, now and at its highest; none for a server elsewhere.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<Option<(u64, u64)>> {
        self.pid.map(process::memory).transpose()
    }

    /// Lets its highest memory count from now.
    ///
    /// # Errors
    /// When it has ended, or the kernel does not let this process ask that.
    pub fn forget_peak(&self) -> Result<()> {
        self.pid.map_or(Ok(()), process::forget_peak)
    }

    /// The end of its log, to be shown beside a failure.
    pub fn log(&self) -> String {
        tail(&self.log)
    }

    /// Asks it to end, if it was started here, and waits until it has.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id() {
            kill(pid_of(pid)?, Signal::SIGTERM).context("the server is gone")?;
        }
        let Ok(status) = timeout(PATIENCE, child.wait()).await else {
            bail!("the server has not ended {PATIENCE:?} after SIGTERM:\n{}", tail(&self.log));
        };
        let status = status?;
        if !status.success() {
            bail!("the server ended with {status}:\n{}", tail(&self.log));
        }
        Ok(())
    }
}

struct Ports {
    xds: SocketAddr,
    secure: Option<SocketAddr>,
    monitoring: SocketAddr,
}

fn keep(log: &Log, line: String) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    if log.len() == KEPT {
        log.pop_front();
    }
    log.push_back(line);
}

fn tail(log: &Log) -> String {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().map(|line| format!("  {line}\n")).collect()
}

/// A floor as a process: this binary again.
#[derive(Debug)]
pub struct FloorProcess {
    child: Child,
    input: ChildStdin,
}

impl FloorProcess {
    /// What sends ready bytes, and where sidecars connect.
    ///
    /// # Errors
    /// When this binary cannot be started again.
    pub async fn sending() -> Result<(Self, SocketAddr)> {
        let (floor, address) = Self::start(&["floor".as_ref()]).await?;
        Ok((floor, address.parse()?))
    }

    /// What hears of each file that is renamed into a folder, and reads it; it listens when this returns.
    ///
    /// # Errors
    /// When this binary cannot be started again, or there is no such folder.
    pub async fn hearing(folder: &Path) -> Result<Self> {
        Ok(Self::start(&["hear".as_ref(), folder.as_os_str()]).await?.0)
    }

    /// It, and the first line that it says.
    async fn start(arguments: &[&OsStr]) -> Result<(Self, String)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting the floor")?;
        let input = child.stdin.take().context("the floor has no input")?;
        let stdout = child.stdout.take().context("the floor has no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("the floor did not start")?;
        Ok((Self { child, input }, line))
    }

    /// Makes it send to every stream.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn step(&mut self) -> Result<()> {
        self.input.write_all(b"step\n").await?;
        Ok(self.input.flush().await?)
    }

    /// CPU time it has used.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.child.id().context("the floor has ended")?)
    }

    /// Its memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<u64> {
        Ok(process::memory(self.child.id().context("the floor has ended")?)?.0)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(self) -> Result<()> {
        let Self { mut child, input } = self;
        drop(input);
        let status = timeout(PATIENCE, child.wait()).await.context("the floor does not end")??;
        if !status.success() {
            bail!("the floor ended with {status}");
        }
        Ok(())
    }
}
