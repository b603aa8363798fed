//! kubectl and helm, as the administrator of the cluster.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{Cluster, assets};
use crate::envoy::tied_command;

/// How long one command may take, waits of its own included.
const LIMIT: Duration = Duration::from_secs(120);

impl Cluster {
    /// Runs kubectl, and returns what it prints.
    ///
    /// # Errors
    /// When it ends with anything but 0; with its own words.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", arguments, "").await
    }

    /// Runs kubectl with `input` on its standard input (`-f -`).
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.run("kubectl", arguments, input).await
    }

    /// Runs helm, and returns what it prints.
    ///
    /// # Errors
    /// When it ends with anything but 0; with its own words.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run("helm", arguments, "").await
    }

    async fn run(&self, name: &str, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = tied_command(&assets::program(name)?);
        // Both keep caches and settings at home; this one is the run's own.
        command.env("HOME", self.folder()).env("KUBECONFIG", self.kubeconfig());
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_NAMESPACE"] {
            command.env_remove(variable);
        }
        for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env_remove(variable);
        }
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let line = format!("`{name} {}`", arguments.join(" "));
        let mut child = command.spawn().with_context(|| format!("starting {line}"))?;
        let stdin = child.stdin.take();
        let output = timeout(LIMIT, async {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    // One that reads no input has closed it already; its own words say what is wrong, if anything is.
                    stdin.write_all(input.as_bytes()).await.unwrap_or_default();
                }
            };
            tokio::join!(feed, child.wait_with_output()).1
        })
        .await
        .with_context(|| format!("{line} takes more than {LIMIT:?}"))??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{line} ended with {}:\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }
}
