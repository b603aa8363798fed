//! The real `meltemi serve` in front of the cluster, and the other commands of the same program.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use meltemi_testkit::envoy::tied_command;
use meltemi_testkit::http::Request;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long `meltemi serve` may take until it is ready: until it has read the cluster.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How often it is asked. It tells nobody when it is ready.
const POLL: Duration = Duration::from_millis(25);

/// Lines of its log that an error shows.
const SHOWN: usize = 20;

/// A running `meltemi serve`. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

/// The program, and where the one that serves is asked.
pub(crate) struct Meltemi {
    program: PathBuf,
    /// Where proxies connect.
    pub(crate) xds: SocketAddr,
    /// Where it is asked what is in force.
    pub(crate) monitoring: SocketAddr,
}

impl Meltemi {
    /// Free ports; proxies are to connect at `address`.
    pub(crate) fn new(program: &Path, address: IpAddr) -> Result<Self> {
        let free = |address: IpAddr| -> Result<SocketAddr> {
            Ok(TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr())?)
        };
        Ok(Self {
            program: program.to_owned(),
            xds: free(address)?,
            monitoring: free([127, 0, 0, 1].into())?,
        })
    }

    /// Starts it with that kubeconfig and waits until it is ready. Its log goes to `folder`.
    pub(crate) async fn serve(&self, kubeconfig: &Path, folder: &Path) -> Result<Server> {
        let http = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?;
        let log = folder.join("meltemi.log");
        let output = std::fs::File::create(&log)?;
        let mut command = tied_command(&self.program);
        command.arg("serve").arg("--kubeconfig").arg(kubeconfig);
        command.args(["--pod-namespace", "istio-system", "--pod-name", "meltemi-demo"]);
        command.args(["--xds-address", &self.xds.to_string(), "--http-address", &http.to_string()]);
        command.args(["--monitoring-address", &self.monitoring.to_string()]);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let mut server = Server { child: command.spawn().context("starting meltemi")?, log };
        match server.ready(http).await {
            Ok(()) => Ok(server),
            Err(error) => Err(server.explain(error)),
        }
    }

    /// What the program prints with these arguments.
    ///
    /// # Errors
    /// When it ends with anything but 0; with its own words.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        match self.try_run(arguments).await? {
            (true, text) => Ok(text),
            (false, text) => bail!("`meltemi {}` failed: {text}", arguments.join(" ")),
        }
    }

    /// Whether the program ends well with these arguments, and what it prints; what it says meanwhile only if it does not.
    pub(crate) async fn try_run(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output =
            command.output().await.with_context(|| format!("starting {}", self.program.display()))?;
        // Progress goes to standard error, and where it failed without an answer the reason, too.
        let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        Ok((output.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned()))
    }

    /// Its path.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }
}

impl Server {
    async fn ready(&mut self, address: SocketAddr) -> Result<()> {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
    pub(crate) async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("`meltemi serve` ended with {status}"),
            Err(error) => anyhow!(error).context("waiting for `meltemi serve`"),
        }
    }

    /// An error of the demo, with the end of what it logged.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n");
        if end.is_empty() { error } else { anyhow!("{error:#}\nthe end of meltemi's log:\n{end}") }
    }
}
