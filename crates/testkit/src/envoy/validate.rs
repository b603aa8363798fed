//! Envoy's own validation of a configuration: the foreign judge of goldens.

use std::process::Stdio;

use anyhow::{Result, bail};
use tokio::process::Command;

use super::binary;

/// Has Envoy read and validate a bootstrap, in YAML or JSON, without serving it.
///
/// # Errors
/// When Envoy refuses it; with Envoy's words.
pub async fn validate(bootstrap: &str) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("meltemi-envoy-").tempdir()?;
    let file = folder.path().join("bootstrap.yaml");
    tokio::fs::write(&file, bootstrap).await?;
    let output = Command::new(binary()?)
        .args(["--mode", "validate", "--log-level", "warn", "--config-path"])
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("Envoy refuses the configuration: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
