//! Live traffic: the real `meltemi` on a folder of YAML, real Envoys, apps, and requests that go where the YAML says.
//!
//! Knows: the command line of `meltemi`, its pages, and how long to wait for them. Must not know: how anything is translated.
//! Start at [`World`]. Invariant: when [`World::save`] returns, the change is in force at every proxy, as far as it is to be.

pub mod edge;
pub mod https;
pub mod pods;
pub mod prometheus;
mod server;
mod world;
mod yaml;

pub(crate) use server::program;
pub use server::{Addresses, Server, meltemi};
pub use world::{Form, World};
pub use yaml::{rule, service, split, workload};

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often a process that is not ours is asked how far it is. It tells nobody, so it is polled, without blocking.
const POLL: Duration = Duration::from_millis(5);

/// How long anything may take that takes milliseconds; for a machine that is busy building.
const LIMIT: Duration = Duration::from_secs(60);

/// The ports to choose from: beneath those that Linux gives to outgoing connections (32768 on), so that none of these takes a port
/// between the choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is free, and that nobody else of this process is told.
///
/// # Errors
/// When all are in use.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run beside each other start far apart.
    let start = u32::from(count) * (std::process::id() % 64) / 64;
    for _ in 0..count {
        let offset = (start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(count);
        let port = PORTS.start + u16::try_from(offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of {PORTS:?} is free on 127.0.0.1")
}

/// Asks again until what is asked is so: of a process that is not ours, and says nothing of its own accord.
///
/// # Errors
/// What was wrong at last.
pub async fn eventually(ask: impl AsyncFn() -> Result<()>) -> Result<()> {
    let mut last = Ok(());
    let asking = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            last = ask().await;
            if last.is_ok() {
                return;
            }
        }
    };
    drop(tokio::time::timeout(LIMIT, asking).await);
    last
}

pub(crate) fn ticks() -> Interval {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
