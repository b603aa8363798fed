//! A sidecar without an Envoy that goes on by itself: takes and acknowledges each answer, and comes back when its stream breaks.
//!
//! It has a thread of its own, as an Envoy is a process of its own: to take a large answer blocks, and must not hold up the requests of a
//! load or the app that answers them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held, Node, Sidecar, Step, connect};
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::LIMIT;

/// Between two tries to connect. Envoy waits half a second and more.
const PAUSE: Duration = Duration::from_millis(20);

/// The sidecar. Dropping it ends it.
pub struct Client {
    held: watch::Receiver<Held>,
    streams: watch::Receiver<usize>,
    steps: Arc<Mutex<Vec<Step>>>,
    _alive: oneshot::Sender<()>,
}

impl Client {
    /// Begins to connect to that address, again and again; waits for nothing.
    pub fn start(address: SocketAddr, node: Node, form: Form) -> Self {
        let (held_sender, held) = watch::channel(Held::default());
        let (stream_sender, streams) = watch::channel(0);
        let (alive, dropped) = oneshot::channel();
        let steps = Arc::new(Mutex::new(Vec::new()));
        let life = live(address, node, form, held_sender, stream_sender, Arc::clone(&steps));
        let thread = std::thread::Builder::new().name("sidecar".to_owned()).spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                tokio::select! {
                    () = life => {}
                    _ = dropped => {}
                }
            });
        });
        // Where the system gives no thread, what waits for the client hears that it has ended.
        drop(thread);
        Self { held, streams, steps, _alive: alive }
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.held.borrow().clone()
    }

    /// Waits for the next answer after the last that was looked at.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn changed(&mut self) -> Result<()> {
        self.held.changed().await.context("the client has ended")
    }

    /// The answers since the last such call.
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.steps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often it connected.
    pub fn streams(&self) -> usize {
        *self.streams.borrow()
    }

    /// Waits until it has connected that often.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn connected(&mut self, times: usize) -> Result<()> {
        let found =
            timeout(LIMIT, self.streams.wait_for(|now| *now >= times)).await.map(|found| found.map(drop));
        match found {
            Ok(found) => found.context("the client has ended"),
            Err(_) => bail!("the client connected {} times after {LIMIT:?}, not {times}", self.streams()),
        }
    }

    /// Waits until what it holds is such.
    ///
    /// # Errors
    /// When it is not in time; says what it holds.
    pub async fn until(&mut self, what: &str, is_such: impl FnMut(&Held) -> bool) -> Result<()> {
        let found = timeout(LIMIT, self.held.wait_for(is_such)).await.map(|found| found.map(drop));
        match found {
            Ok(found) => found.context("the client has ended"),
            Err(_) => {
                let held = self.held();
                let names = TypeUrl::ALL.map(|kind| format!("{kind} {:?}", held.names(kind)));
                bail!("{what}: not so after {LIMIT:?}; held: {}", names.join(", "))
            }
        }
    }
}

async fn live(
    address: SocketAddr,
    node: Node,
    form: Form,
    held: watch::Sender<Held>,
    streams: watch::Sender<usize>,
    steps: Arc<Mutex<Vec<Step>>>,
) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sidecar = loop {
        ticks.tick().await;
        if let Ok(sidecar) = Sidecar::connect(address, node.clone(), form).await {
            break sidecar;
        }
    };
    loop {
        streams.send_modify(|count| *count += 1);
        while let Ok(step) = sidecar.step().await {
            steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
            held.send_replace(sidecar.held().clone());
        }
        loop {
            ticks.tick().await;
            let Ok(channel) = connect(address).await else { continue };
            if sidecar.reconnect_over(channel).await.is_ok() {
                break;
            }
        }
    }
}
