//! Keeps an Envoy running: starts it, starts it again after it ended, and ends it when told.
//!
//! Start at [`Supervisor`].
//! Invariant: one Envoy at most; nothing but its own end, or the agent's, ends it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::restart::Restarts;
use crate::metrics::Metrics;

/// How long an Envoy that was told to end may take before it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no Envoy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("cannot start Envoy at {}: {reason}; name one with --envoy or ENVOY_BIN", path.display())]
    Start { path: PathBuf, reason: std::io::Error },
    #[error("cannot wait for Envoy: {0}")]
    Wait(std::io::Error),
}

/// What to run.
pub(crate) struct Supervisor {
    pub(crate) binary: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Removed before each start: an address of the Envoy before must not be taken for this one's.
    pub(crate) address_file: PathBuf,
    pub(crate) metrics: Metrics,
    /// How often it was started.
    pub(crate) starts: watch::Sender<u64>,
}

impl Supervisor {
    /// Runs until `stop` says so, then ends Envoy and returns.
    ///
    /// # Errors
    /// When it cannot be started at all: the path is wrong. Later failures are tried again.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), ProcessError> {
        let mut restarts = Restarts::default();
        let mut child = self.start().await?;
        loop {
            let since = Instant::now();
            let status = tokio::select! {
                status = child.wait() => status.map_err(ProcessError::Wait)?,
                _ = stop.wait_for(|stop| *stop) => {
                    end(&mut child).await?;
                    self.metrics.ended();
                    return Ok(());
                }
            };
            self.metrics.ended();
            child = loop {
                let again_in = restarts.ended(since.elapsed());
                tracing::error!(
                    ?again_in,
                    in_a_row = restarts.in_a_row(),
                    "Envoy ended: {}; it is started again",
                    described(status)
                );
                tokio::select! {
                    () = sleep(again_in) => {}
                    _ = stop.wait_for(|stop| *stop) => return Ok(()),
                }
                match self.start().await {
                    Ok(child) => break child,
                    Err(error) => tracing::error!("{error}"),
                }
            };
        }
    }

    async fn start(&self) -> Result<Child, ProcessError> {
        // It is not there the first time.
        drop(tokio::fs::remove_file(&self.address_file).await);
        let mut command = Command::new(&self.binary);
        // Its log and its access log are the agent's own output, as in Istio's image.
        command.args(&self.arguments).stdin(Stdio::null()).kill_on_drop(true);
        let child =
            command.spawn().map_err(|reason| ProcessError::Start { path: self.binary.clone(), reason })?;
        self.metrics.started();
        self.starts.send_modify(|starts| *starts += 1);
        tracing::info!(pid = child.id(), "Envoy started");
        Ok(child)
    }
}

/// Envoy ends at SIGTERM at once; draining came before.
async fn end(child: &mut Child) -> Result<(), ProcessError> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended this moment.
        let _ended = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if let Ok(ended) = timeout(END_LIMIT, child.wait()).await {
        let status = ended.map_err(ProcessError::Wait)?;
        tracing::info!("Envoy ended: {}", described(status));
        return Ok(());
    }
    tracing::warn!("Envoy did not end within {END_LIMIT:?}; it is killed");
    child.kill().await.map_err(ProcessError::Wait)
}

fn described(status: ExitStatus) -> String {
    status.to_string()
}
