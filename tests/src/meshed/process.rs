//! `meltemi agent` as the first process of a container in a pod: when it ends, so does all that it started.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use meltemi_testkit::netns::{PROXY_GROUP, Pod};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::LIMIT;
use crate::live::program;

/// A running agent. Dropping it kills it and its Envoy.
pub struct Agent {
    /// Of `unshare`, which waits for the agent.
    child: Child,
    log: NamedTempFile,
}

/// The process IDs in a container, as this machine counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    /// Of the agent.
    pub agent: u32,
    /// Of its Envoy.
    pub envoy: u32,
}

impl Agent {
    /// Starts it in that pod and that folder, with these variables and no others but `PATH`; waits for nothing.
    ///
    /// # Errors
    /// When there is no such program.
    pub async fn start(pod: &Pod, folder: &Path, variables: &[(String, String)]) -> Result<Self> {
        let log = NamedTempFile::with_prefix("meltemi-agent-log-")?;
        let group = PROXY_GROUP.to_string();
        let mut command = pod.command("setpriv");
        // The redirect rules leave alone what this group sends. A process namespace, as a container has: whoever ends its first
        // process ends all in it, even by force.
        command.args(["--pdeathsig", "KILL", "--regid", &group, "--clear-groups", "--"]);
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--"]);
        command.arg(program().await?).arg("agent");
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(variables.iter().cloned());
        command.current_dir(folder).stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
        Ok(Self { child: command.spawn().context("starting `meltemi agent`")?, log })
    }

    /// Who runs.
    ///
    /// # Errors
    /// When the agent or its Envoy does not.
    pub fn pids(&self) -> Result<Pids> {
        let root = self.child.id().context("the agent has ended")?;
        let all = processes()?;
        let child = |parent: u32, name: &str| {
            let found = all.iter().find(|process| process.parent == parent && process.name == name);
            found
                .map(|process| process.id)
                .with_context(|| format!("no `{name}` runs beneath {parent}: {}", self.log()))
        };
        let agent = child(root, "meltemi")?;
        Ok(Pids { agent, envoy: child(agent, "envoy")? })
    }

    /// Fails when it has ended.
    ///
    /// # Errors
    /// With its log.
    pub fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("`meltemi agent` ended with {status}:\n{}", self.log())),
        }
    }

    /// Tells it to end, as a kubelet does (SIGTERM), and waits until it has; its log.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn terminate(mut self) -> Result<String> {
        let pid = self.pids()?.agent.to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await?;
        if !told.success() {
            bail!("`kill -TERM {pid}` ended with {told}");
        }
        match timeout(LIMIT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(self.log()),
            Ok(status) => bail!("`meltemi agent` did not end well ({status:?}):\n{}", self.log()),
            Err(_) => bail!("`meltemi agent` runs on after {LIMIT:?}:\n{}", self.log()),
        }
    }

    /// What it and its Envoy said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

struct Process {
    id: u32,
    parent: u32,
    name: String,
}

/// All processes of this machine.
fn processes() -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // One that ended meanwhile is none.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // `12 (a name) S 34 ...`; a name may have brackets of its own.
        let Some((_, rest)) = stat.split_once('(') else { continue };
        let Some((name, rest)) = rest.rsplit_once(") ") else { continue };
        let Some(parent) = rest.split(' ').nth(1).and_then(|parent| parent.parse().ok()) else { continue };
        all.push(Process { id, parent, name: name.to_owned() });
    }
    Ok(all)
}
