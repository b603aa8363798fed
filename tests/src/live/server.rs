//! The real `meltemi serve` as a child process, and what it says of itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use meltemi_testkit::envoy::tied_command;
use meltemi_testkit::http::Request;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{LIMIT, free_port, ticks};

/// A running control plane. Dropping it kills it.
pub struct Server {
    child: Child,
    log: NamedTempFile,
    addresses: Addresses,
}

/// Where it listens; the same after a restart.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// For proxies.
    pub xds: SocketAddr,
    /// For proxies and workloads, over TLS.
    pub secure: SocketAddr,
    /// Metrics, version and debug pages.
    pub monitoring: SocketAddr,
    http: SocketAddr,
}

impl Addresses {
    /// Free ports, all on this address.
    ///
    /// # Errors
    /// When no port is free.
    pub fn all_on(address: std::net::IpAddr) -> Result<Self> {
        let free = || -> Result<SocketAddr> { Ok(SocketAddr::new(address, free_port()?)) };
        Ok(Self { xds: free()?, secure: free()?, monitoring: free()?, http: free()? })
    }

    /// Free ports; `xds` on this address.
    ///
    /// # Errors
    /// When no port is free.
    pub fn free(xds: std::net::IpAddr) -> Result<Self> {
        let loopback = || -> Result<SocketAddr> { Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?))) };
        Ok(Self {
            xds: SocketAddr::new(xds, free_port()?),
            secure: loopback()?,
            monitoring: loopback()?,
            http: loopback()?,
        })
    }
}

/// The program: `MELTEMI_BIN`, else built now with this workspace's cargo.
pub(crate) async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        if let Some(path) = std::env::var_os("MELTEMI_BIN").filter(|path| !path.is_empty()) {
            return Ok(PathBuf::from(path));
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        command.args(["build", "--locked", "--bin", "meltemi"]);
        // What cargo tells a test of its package; some build scripts (ring's) run anew when that changes, and all that needs them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command.args(["--message-format", "json-render-diagnostics"]);
        let output = command.stdin(Stdio::null()).output().await.context("starting cargo")?;
        if !output.status.success() {
            bail!("meltemi cannot be built: {}", String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == "meltemi")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .context("cargo built no program `meltemi`")
    };
    Ok(PROGRAM.get_or_try_init(build).await?)
}

/// Runs the program with those arguments to its end: its exit code, and what it said on both outputs.
///
/// # Errors
/// When it cannot be run.
pub async fn meltemi(
    arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
) -> Result<(i32, String)> {
    let output = Command::new(program().await?).args(arguments).stdin(Stdio::null()).output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

impl Server {
    /// Starts it on `folder` and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with its log.
    pub async fn start(folder: &Path, addresses: Addresses, holds: bool) -> Result<Self> {
        let folder = folder.display().to_string();
        let holds = if holds { "on" } else { "off" };
        Self::launch(&["--config", &folder, "--holds", holds], addresses).await?.when_ready().await
    }

    /// Starts it with those arguments, and waits for nothing.
    ///
    /// # Errors
    /// When there is no such program.
    pub async fn launch(arguments: &[&str], addresses: Addresses) -> Result<Self> {
        let log = NamedTempFile::with_prefix("meltemi-log-")?;
        let mut command = tied_command(program().await?);
        command.arg("serve").args(arguments);
        command.args(["--xds-address", &addresses.xds.to_string()]);
        command.args(["--secure-xds-address", &addresses.secure.to_string()]);
        command.args(["--http-address", &addresses.http.to_string()]);
        command.args(["--monitoring-address", &addresses.monitoring.to_string()]);
        command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?).kill_on_drop(true);
        Ok(Self { child: command.spawn().context("starting meltemi")?, log, addresses })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with its log.
    pub async fn when_ready(mut self) -> Result<Self> {
        match self.ready().await {
            Ok(()) => Ok(self),
            Err(error) => Err(anyhow!("{error:#}\nmeltemi's log:\n{}", self.log())),
        }
    }

    /// The page `/ready`: status and text.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ready_page(&self) -> Result<(u16, String)> {
        let answer = Request::get("/ready").send(self.addresses.http).await?;
        Ok((answer.status, answer.text()))
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its process ID, as long as it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself; whether it ended well, and its log.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(mut self) -> Result<(bool, String)> {
        match timeout(LIMIT, self.child.wait()).await {
            Ok(status) => Ok((status?.success(), self.log())),
            Err(_) => bail!("`meltemi serve` runs on after {LIMIT:?}:\n{}", self.log()),
        }
    }

    /// Tells it to end, as a kubelet does (SIGTERM), and waits until it has.
    ///
    /// # Errors
    /// When it cannot be told, or does not end in time.
    pub async fn terminate(self) -> Result<()> {
        let pid = self.child.id().context("meltemi has ended already")?.to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await?;
        if !told.success() {
            bail!("`kill -TERM {pid}` ended with {told}");
        }
        let (well, log) = self.ended().await?;
        if well { Ok(()) } else { bail!("`meltemi serve` did not end well:\n{log}") }
    }

    async fn ready(&mut self) -> Result<()> {
        let mut ticks = ticks();
        let asking = async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait()? {
                    bail!("`meltemi serve` ended with {status}");
                }
                if Request::get("/ready")
                    .send(self.addresses.http)
                    .await
                    .is_ok_and(|answer| answer.status == 200)
                {
                    return Ok(());
                }
            }
        };
        timeout(LIMIT, asking).await.unwrap_or_else(|_| bail!("`meltemi serve` is not ready after {LIMIT:?}"))
    }

    /// What `meltemi bootstrap` prints for that proxy, with those further arguments.
    ///
    /// # Errors
    /// When it fails.
    pub async fn bootstrap(&self, proxy: &str, arguments: &[&str]) -> Result<String> {
        self.bootstrap_at(self.addresses.xds, proxy, arguments).await
    }

    /// The same for a proxy that finds its control plane at another address.
    ///
    /// # Errors
    /// When it fails.
    pub async fn bootstrap_at(&self, xds: SocketAddr, proxy: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program().await?);
        command.args(["bootstrap", "--proxy", proxy, "--xds-address", &xds.to_string()]);
        let output = command.args(arguments).stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            bail!("`meltemi bootstrap` failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs the program with those arguments to its end: its exit code, and what it said on both outputs.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn command(&self, arguments: &[&str]) -> Result<(i32, String)> {
        meltemi(arguments).await
    }

    /// Runs `meltemi wait` with these arguments until it exits with 0.
    ///
    /// # Errors
    /// When it exits otherwise; with what it said.
    pub async fn wait(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program().await?);
        command.args(["wait", "--server", &self.addresses.monitoring.to_string()]).args(arguments);
        let output = command.stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            let (said, told) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("`meltemi wait {}` failed: {said}{told}", arguments.join(" "));
        }
        Ok(())
    }

    /// Kills it, as a machine that fails does: without a word to anybody.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// What it logged, findings among it.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Waits until a line of its log has all of `words`, and returns that line.
    ///
    /// # Errors
    /// When no such line comes in time; with the log.
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        self.says_within(LIMIT, words).await
    }

    /// The same with another limit, for what takes longer.
    ///
    /// # Errors
    /// As [`Server::says`].
    pub async fn says_within(&self, limit: std::time::Duration, words: &[&str]) -> Result<String> {
        let mut ticks = ticks();
        let looking = async {
            loop {
                ticks.tick().await;
                let log = self.log();
                if let Some(line) = log.lines().find(|line| words.iter().all(|word| line.contains(word))) {
                    return line.to_owned();
                }
            }
        };
        let found = timeout(limit, looking).await;
        found.map_err(|_| anyhow!("no line of meltemi's log has all of {words:?}:\n{}", self.log()))
    }

    /// The state of its proxies.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn proxies(&self) -> Result<Value> {
        let answer = Request::get("/debug/proxies").send(self.addresses.monitoring).await?;
        Ok(answer.json())
    }

    /// The generation that it serves.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn generation(&self) -> Result<u64> {
        self.proxies().await?["generation"].as_u64().context("no generation in /debug/proxies")
    }

    /// Waits until a generation after `before` is in force at `count` proxies or more, and at all that are connected.
    ///
    /// # Errors
    /// When that takes too long; with the state of the proxies, and the log.
    pub async fn in_force(&self, before: u64, count: usize) -> Result<()> {
        let mut ticks = ticks();
        let mut last = Value::Null;
        let asking = async {
            loop {
                ticks.tick().await;
                last = self.proxies().await?;
                let later = last["generation"].as_u64().is_some_and(|generation| generation > before);
                let proxies = last["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
                if later && proxies.len() >= count && proxies.iter().all(|proxy| proxy["lag"] == 0) {
                    return Ok(());
                }
            }
        };
        match timeout(LIMIT, asking).await {
            Ok(outcome) => outcome,
            Err(_) => bail!(
                "no generation after {before} is in force at {count} proxies after {LIMIT:?}: {last}\nmeltemi's log:\n{}",
                self.log()
            ),
        }
    }

    /// The sum of a metric over all its labels; 0 where there is none.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, name: &str) -> Result<u64> {
        let text = Request::get("/metrics").send(self.addresses.monitoring).await?.text();
        let of_name = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        };
        let values = text.lines().filter(of_name).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u64>().with_context(|| format!("{name} is {value}"))).sum()
    }
}
