//! A real Envoy as a child process: started from a bootstrap, asked through its admin interface, stopped.

mod admin;
mod binary;
mod golden;
#[cfg(test)]
mod tests;
mod validate;

pub use admin::Admin;
pub use binary::{VERSION, binary};
pub use golden::bootstrap_of;
pub use validate::validate;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;
use tokio::fs;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::http::Connect;

/// How long an Envoy may take from its start until its admin interface answers and, for [`Launch::start`], says that it
/// is ready; on a loaded machine of two cores a second is usual.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often a process that is not ours is asked whether it is ready. Envoy tells nobody when it is, so it is polled:
/// without blocking, and for at most [`START_LIMIT`].
const POLL: Duration = Duration::from_millis(20);

/// How long an Envoy that was told to end may take before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Merged over every bootstrap: the admin interface on a port that the system chooses.
const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";

/// How to start an Envoy.
pub struct Launch {
    bootstrap: String,
    binary: Option<PathBuf>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    connect: Connect,
    group: Option<u32>,
}

/// A running Envoy. Dropping it kills it.
pub struct Envoy {
    child: Child,
    admin: Admin,
    folder: TempDir,
}

impl Launch {
    /// An Envoy with that bootstrap, in YAML or JSON. The bootstrap's admin address, if any, is replaced.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            binary: None,
            arguments: Vec::new(),
            wrapper: Vec::new(),
            connect: Connect::default(),
            group: None,
        }
    }

    /// This Envoy instead of [`binary()`]'s.
    #[must_use]
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// One more argument on Envoy's command line.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// As the sidecar of `pod`: in its network namespace, under the group whose traffic its redirect rules leave alone.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn inside(mut self, pod: &crate::netns::Pod) -> Self {
        self.wrapper = pod.wrapper();
        self.connect = pod.connector();
        self.group = Some(crate::netns::PROXY_GROUP);
        self
    }

    /// Starts it and waits until it is ready: its clusters and listeners have come, and are warm.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with the end of its log.
    pub async fn start(self) -> Result<Envoy> {
        let mut envoy = self.start_unready().await?;
        envoy.ready().await?;
        Ok(envoy)
    }

    /// Starts it and waits only until its admin interface answers: for a test in which it is not to become ready.
    ///
    /// # Errors
    /// When it ends, or does not answer in time; with the end of its log.
    pub async fn start_unready(self) -> Result<Envoy> {
        let folder = tempfile::Builder::new().prefix("meltemi-envoy-").tempdir()?;
        let bootstrap = folder.path().join("bootstrap.yaml");
        fs::write(&bootstrap, &self.bootstrap).await?;
        let log = std::fs::File::create(folder.path().join("envoy.log"))?;
        let access_log = std::fs::File::create(folder.path().join("access.log"))?;
        let address_file = folder.path().join("admin-address");

        let envoy = self.binary.map_or_else(binary, Ok)?;
        let mut words = self.wrapper;
        words.extend(leash(self.group));
        let mut command = command_after(&words, &envoy);
        command.arg("--config-path").arg(&bootstrap).args(["--config-yaml", ADMIN]);
        command
            .args(["--concurrency", "1", "--use-dynamic-base-id", "--admin-address-path"])
            .arg(&address_file);
        command.args(["--log-format", "%Y-%m-%dT%T.%e %l %n: %v"]);
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(access_log).stderr(log).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting {}", envoy.display()))?;

        let mut ticks = ticks();
        let found = timeout(START_LIMIT, async {
            loop {
                ticks.tick().await;
                if let Some(status) = child.try_wait()? {
                    bail!("Envoy ended with {status}");
                }
                // Written in one go, but the file is there a moment before its content.
                if let Ok(text) = fs::read_to_string(&address_file).await
                    && let Ok(address) = text.trim().parse()
                {
                    return Ok(Admin::new(address, self.connect.clone()));
                }
            }
        })
        .await
        .unwrap_or_else(|_| Err(anyhow!("Envoy opened no admin port within {START_LIMIT:?}")));
        match found {
            Ok(admin) => Ok(Envoy { child, admin, folder }),
            Err(error) => Err(explained(&error, folder.path())),
        }
    }
}

impl Envoy {
    /// Starts an Envoy with that bootstrap on this machine's network, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Launch::start`].
    pub async fn start(bootstrap: impl Into<String>) -> Result<Self> {
        Launch::new(bootstrap).start().await
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time; with the end of its log.
    pub async fn ready(&mut self) -> Result<()> {
        let mut ticks = ticks();
        let mut last = String::new();
        let outcome = timeout(START_LIMIT, async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait()? {
                    bail!("Envoy ended with {status}");
                }
                match self.admin.ready().await {
                    Ok(true) => return Ok(()),
                    Ok(false) => "it answers that it is initializing".clone_into(&mut last),
                    Err(error) => last = format!("{error:#}"),
                }
            }
        })
        .await;
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(explained(&error, self.folder.path())),
            Err(_) => {
                let error = anyhow!("Envoy is not ready after {START_LIMIT:?}: {last}");
                Err(explained(&error, self.folder.path()))
            }
        }
    }

    /// Its admin interface.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Its process ID, as long as it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        read(&self.folder.path().join("envoy.log"))
    }

    /// What it wrote to its standard output so far: the access log, where it is written to `/dev/stdout`.
    pub fn access_log(&self) -> String {
        read(&self.folder.path().join("access.log"))
    }

    /// Tells it to end, waits for that, and returns its log. Kills it if it does not end in time.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(mut self) -> Result<String> {
        let asked = self.admin.quit().await;
        if asked.is_err() || timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(self.log())
    }
}

/// A command that ends with this process, even when this one is killed, where the machine can do that.
///
/// It ends with the thread that starts it, too: start it from one that lives as long.
pub fn tied_command(program: &Path) -> Command {
    command_after(&leash(None), program)
}

/// Words before a program that tie it to the life of this process, and give it a group.
///
/// `setpriv` is part of util-linux; without it, a child outlives this process when this one is killed by force.
fn leash(group: Option<u32>) -> Vec<String> {
    let mut words = Vec::new();
    if cfg!(target_os = "linux") && (group.is_some() || Path::new("/usr/bin/setpriv").exists()) {
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        if let Some(group) = group {
            words.extend(["--regid".to_owned(), group.to_string(), "--clear-groups".to_owned()]);
        }
        words.push("--".to_owned());
    }
    words
}

fn command_after(words: &[String], program: &Path) -> Command {
    match words.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// An error with the end of Envoy's log.
fn explained(error: &anyhow::Error, folder: &Path) -> anyhow::Error {
    let log = read(&folder.join("envoy.log"));
    let lines: Vec<&str> = log.lines().collect();
    let start = lines.len().saturating_sub(30);
    let end = lines.get(start..).unwrap_or_default().join("\n");
    anyhow!("{error:#}\nthe end of Envoy's log:\n{end}")
}
