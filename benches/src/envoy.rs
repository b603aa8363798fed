//! A real Envoy beside the simulated sidecars: the proxy of one workload, started with what `meltemi bootstrap` prints.
//!
//! Knows: Envoy's command line and its `/ready`. Must not know: what it is served.
//! Invariant: it ends with the run, however that ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::StatusCode;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::scrape::page;

/// Where `cargo xtask tools` installs the pinned one, in the folder of tools.
const PINNED: &str = "envoy-1.40.0/envoy";
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools");

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is asked whether it is.
const ASK: Duration = Duration::from_millis(20);

/// Lines of its log that are shown when it fails.
const SHOWN: usize = 20;

/// Below the ports that the kernel gives to outgoing connections, of which a run has thousands.
const PORTS: std::ops::Range<u16> = 18_000..30_000;

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    folder: TempDir,
}

/// Whose proxy it is.
#[derive(Clone, Copy, Debug)]
pub struct Proxy<'a> {
    /// `NAME.NAMESPACE`.
    pub name: &'a str,
    /// `KEY=VALUE`.
    pub label: &'a str,
}

/// Where there is an Envoy: `ENVOY_BIN`, else the pinned one.
///
/// # Errors
/// When there is none; says how to get it.
pub fn binary() -> Result<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named("ENVOY_BIN")
        .unwrap_or_else(|| named("MELTEMI_TOOLS_DIR").unwrap_or_else(|| PathBuf::from(TOOLS)).join(PINNED));
    if !path.is_file() {
        bail!("no Envoy at {}: run `cargo xtask tools`, or name one in ENVOY_BIN", path.display());
    }
    Ok(path)
}

/// So many ports of 127.0.0.1 at which nobody listens now.
///
/// # Errors
/// When there are not so many.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let bound = PORTS.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let bound: Vec<TcpListener> = bound.take(N).collect();
    let ports: Vec<u16> =
        bound.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<Result<_>>()?;
    ports.try_into().ok().with_context(|| format!("{N} free ports in {PORTS:?}"))
}

impl Envoy {
    /// Starts one that listens at the ports of its services (nothing is redirected to it), and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub async fn start(meltemi: &Path, xds: SocketAddr, proxy: Proxy<'_>) -> Result<Self> {
        let mut command = Command::new(meltemi);
        command.args(["bootstrap", "--interception", "NONE", "--xds-address", &xds.to_string()]);
        let output = command.args(["--proxy", proxy.name, "--label", proxy.label]).output().await;
        let output = output.context("`meltemi bootstrap`")?;
        if !output.status.success() {
            bail!("`meltemi bootstrap`: {}", String::from_utf8_lossy(&output.stderr));
        }
        let folder = tempfile::Builder::new().prefix("meltemi-bench-envoy-").tempdir()?;
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("bootstrap.yaml"), output.stdout)?;
        let mut command = Command::new(binary()?);
        command.arg("--config-path").arg(file("bootstrap.yaml"));
        command.arg("--admin-address-path").arg(file("admin"));
        command.args(["--concurrency", "1", "--use-dynamic-base-id"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(file("log"))?);
        let child = command.kill_on_drop(true).spawn().context("starting Envoy")?;
        let mut envoy = Self { child, folder };
        match timeout(PATIENCE, envoy.ready()).await {
            Ok(Ok(())) => Ok(envoy),
            Ok(Err(error)) => Err(error.context(envoy.log())),
            Err(_) => bail!("Envoy {} is not ready after {PATIENCE:?}:\n{}", proxy.name, envoy.log()),
        }
    }

    async fn ready(&mut self) -> Result<()> {
        let mut ticks = interval(ASK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("Envoy ended with {status}");
            }
            // The file is there a moment before its content, and the port before its answers.
            let admin = std::fs::read_to_string(self.folder.path().join("admin")).unwrap_or_default();
            if let Ok(admin) = admin.trim().parse()
                && let Ok((StatusCode::OK, _)) = page(admin, "/ready").await
            {
                return Ok(());
            }
        }
    }

    /// CPU time it has used.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu(&self) -> Result<Duration> {
        crate::process::cpu(self.child.id().context("Envoy has ended")?)
    }

    fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}
