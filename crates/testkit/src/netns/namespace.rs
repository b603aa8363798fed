//! One network namespace by name, and doing things inside it.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// A handle to a network namespace; sockets made within stay in it wherever they are used.
#[derive(Clone)]
pub struct Namespace {
    file: Arc<File>,
}

impl Namespace {
    /// The namespace that `ip netns` knows under `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(name: &str) -> Result<Self> {
        let path = format!("/run/netns/{name}");
        let file = File::open(&path).with_context(|| format!("opening the network namespace {path}"))?;
        Ok(Self { file: Arc::new(file) })
    }

    /// Runs `action` within the namespace: on a thread of its own, since a thread is in one namespace at a time and
    /// those of the runtime are shared. For short actions, such as making a socket.
    ///
    /// # Errors
    /// When the namespace cannot be entered, which needs root.
    pub async fn within<T: Send + 'static>(&self, action: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let file = Arc::clone(&self.file);
        std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            let entered = setns(&*file, CloneFlags::CLONE_NEWNET);
            // Nobody waits any more: then nobody wants it.
            drop(sender.send(entered.map(|()| action())));
        })?;
        receiver
            .await
            .context("the thread within the namespace ended early")?
            .context("entering the namespace")
    }
}
