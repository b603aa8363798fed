//! What runs: two versions of the app in this process, `meltemi serve`, and a client Envoy that it configures.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use meltemi_testkit::envoy::{Envoy, Launch, tied_command};
use meltemi_testkit::http::{App, Request};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::HOST;
use super::script::{V1, V2, Version};
use crate::process;
use crate::workspace::Workspace;

/// How long `meltemi serve` may take until it is ready; it takes milliseconds.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How often a process of the demo is asked whether it is ready, or still there.
const POLL: Duration = Duration::from_millis(50);

/// The apps and the client Envoy. Dropping it ends them.
pub(super) struct World {
    _v1: App,
    pub(super) v2: App,
    envoy: Envoy,
}

/// A running `meltemi serve`. Dropping it kills it.
pub(super) struct Meltemi {
    child: Child,
    log: NamedTempFile,
}

/// Whether the ports that the example names are free.
///
/// # Errors
/// Names the first that is not.
pub(super) fn check_ports(ports: &[u16]) -> Result<()> {
    for port in ports {
        if let Err(error) = TcpListener::bind(("127.0.0.1", *port)) {
            bail!(
                "port {port} of 127.0.0.1 cannot be used ({error}): the demo needs {ports:?}, as examples/canary says; \
                 end what listens there (`ss -ltnp` shows it)"
            );
        }
    }
    Ok(())
}

/// Builds `meltemi`, and says where it is; `MELTEMI_BIN` names one that is built already.
pub(super) fn build(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MELTEMI_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return path.canonicalize().with_context(|| {
            format!("MELTEMI_BIN is {}, which is not there: unset it or mend it", path.display())
        });
    }
    eprintln!("building meltemi");
    let mut command = workspace.cargo();
    command.args(["build", "--locked", "--bin", "meltemi"]);
    process::build_program(&mut command, "meltemi")
}

impl World {
    /// Starts all of it; when this returns, the client Envoy takes requests.
    pub(super) async fn start(envoy: &Path, meltemi: &Path, folder: &Path) -> Result<(Self, Meltemi)> {
        let app = |version: &Version| App::builder(HOST, version.name).port(version.port).start();
        let (v1, v2) = (app(&V1).await?, app(&V2).await?);
        let (server, xds) = Meltemi::start(meltemi, folder).await?;
        let bootstrap = Command::new(meltemi)
            .args(["bootstrap", "--proxy", "client.default", "--interception", "NONE"])
            .args(["--xds-address", &xds.to_string()])
            .output()
            .await?;
        if !bootstrap.status.success() {
            bail!("`meltemi bootstrap` failed: {}", String::from_utf8_lossy(&bootstrap.stderr).trim());
        }
        let bootstrap = String::from_utf8(bootstrap.stdout).context("what `meltemi bootstrap` printed")?;
        let envoy =
            Launch::new(bootstrap).binary(envoy).start().await.map_err(|error| server.explain(error))?;
        Ok((Self { _v1: v1, v2, envoy }, server))
    }

    /// How many requests with that path v2 has had, once they are `count` or `limit` has passed.
    pub(super) async fn count_v2(&self, path: &str, count: u64, limit: Duration) -> u64 {
        let counted = || u64::try_from(self.v2.count(|seen| seen.path == path)).unwrap_or(u64::MAX);
        let mut ticks = ticks();
        let reached = async {
            while counted() < count {
                ticks.tick().await;
            }
        };
        // Too few is told by the count itself.
        drop(timeout(limit, reached).await);
        counted()
    }

    /// Ends Envoy well, and the apps by dropping them.
    pub(super) async fn stop(self) -> Result<()> {
        self.envoy.stop().await.map(drop)
    }
}

impl Meltemi {
    /// Starts it on that folder and waits until it is ready; returns its xDS address too.
    async fn start(program: &Path, folder: &Path) -> Result<(Self, SocketAddr)> {
        let [xds, http, monitoring] = [free_address()?, free_address()?, free_address()?];
        let log = NamedTempFile::with_prefix("meltemi-demo-")?;
        let mut command = tied_command(program);
        command.arg("serve").arg("--config").arg(folder);
        command.args(["--xds-address", &xds.to_string(), "--http-address", &http.to_string()]);
        command.args(["--monitoring-address", &monitoring.to_string()]);
        command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?).kill_on_drop(true);
        let mut server = Self { child: command.spawn().context("starting meltemi")?, log };
        match server.ready(http).await {
            Ok(()) => Ok((server, xds)),
            Err(error) => Err(server.explain(error)),
        }
    }

    /// Waits until it says that it is ready. It tells nobody, so it is asked.
    async fn ready(&mut self, address: SocketAddr) -> Result<()> {
        let mut ticks = ticks();
        let asking = async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait()? {
                    bail!("`meltemi serve` ended with {status}");
                }
                if Request::get("/ready").send(address).await.is_ok_and(|answer| answer.status == 200) {
                    return Ok(());
                }
            }
        };
        timeout(READY_LIMIT, asking)
            .await
            .unwrap_or_else(|_| Err(anyhow!("`meltemi serve` is not ready after {READY_LIMIT:?}")))
    }

    /// Waits until it ends, which it should not.
    pub(super) async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("`meltemi serve` ended with {status}"),
            Err(error) => anyhow!(error).context("waiting for `meltemi serve`"),
        }
    }

    /// An error of the demo, with the end of what it logged.
    pub(super) fn explain(&self, error: Error) -> Error {
        let log = std::fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let start = lines.len().saturating_sub(20);
        match lines.get(start..) {
            Some(end) if !end.is_empty() => {
                anyhow!("{error:#}\nthe end of meltemi's log:\n{}", end.join("\n"))
            }
            _ => error,
        }
    }
}

/// A port that is free now. Another program may take it before it is used; then the start fails, and says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?)
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
