//! Pods of a mesh with identities: an app, a token, the real `meltemi agent` and the Envoy that it starts; and the real control plane.
//!
//! Knows: the files and variables that an injected pod has, the command line of `meltemi`, TLS from outside. Must not know: how anything
//! is translated or signed.
//! Start at [`Mesh`], a mesh without Kubernetes; [`MeshedPod`] is one pod of any mesh; [`Visitor`] talks TLS to a pod or to the control plane
//! as whoever a test likes, with certificates of [`crate::identity::forge`], too.
//! Invariant: a pod has only what a kubelet would give it. What is expected of a certificate is judged by OpenSSL and webpki, never by
//! the code that made it.

mod mesh;
mod openssl;
mod pod;
mod process;
mod tap;
mod verify;
mod visitor;
mod yaml;

pub use mesh::{Mesh, SERVICE, Settings, TARGET};
pub use openssl::Openssl;
pub use pod::{MeshedPod, Plan};
pub use process::{Agent, Pids};
pub use tap::{Hello, Tap};
pub use verify::{Use, chain, uri_names, verified};
pub use visitor::{Answered, Visitor};
pub use yaml::{entry, peer_authentication, service};

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// After so long a test has failed: for a machine that is busy building.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How often a process that is not ours is asked how far it is. It tells nobody, so it is polled, without blocking.
const POLL: Duration = Duration::from_millis(50);

/// Asks again and again until there is an answer.
///
/// # Errors
/// When there is none in time, with what was last in the way.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    let asking = async {
        loop {
            ticks.tick().await;
            match ask().await {
                Ok(found) => return found,
                Err(error) => last = Some(error),
            }
        }
    };
    match timeout(LIMIT, asking).await {
        Ok(found) => Ok(found),
        Err(elapsed) => Err(last.unwrap_or_else(|| elapsed.into()))
            .with_context(|| format!("not so after {LIMIT:?}: {what}")),
    }
}
