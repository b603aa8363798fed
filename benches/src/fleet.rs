//! Thousands of sidecars in this process, started, cut and stopped together.
//!
//! Knows: tasks and connections. Must not know: what the server is, what is measured of it.
//! Invariant: a stream that ends uncalled for fails the run; no sidecar comes back quietly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use meltemi_proto::envoy::config::core::v3::Node;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::catalogue::{Catalogue, KINDS};
use crate::client::{Session, connect};
use crate::meter::Meter;
use crate::sidecar::Sidecar;

/// Streams that are being opened at one time, until the server has taken each: below the smallest usual backlog of a listener
/// (128), beyond which the kernel drops connections that the client believes to be open, and resets them later.
const OPENING: usize = 100;

/// The sidecars.
#[derive(Debug)]
pub struct Fleet {
    meter: Arc<Meter>,
    /// How often all were cut; a sidecar that sees another number reconnects.
    cuts: watch::Sender<u64>,
    failures: Mutex<mpsc::Receiver<anyhow::Error>>,
    tasks: JoinSet<[usize; KINDS]>,
}

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of the server.
    pub address: SocketAddr,
    /// Connections that the sidecars share; 0 gives each its own, as Envoys have.
    pub connections: usize,
}

impl Fleet {
    /// Starts a sidecar for each node; all connect at once.
    pub fn start(target: Target, nodes: impl IntoIterator<Item = Node>) -> Self {
        let nodes: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
        let meter = Arc::new(Meter::new(nodes.len()));
        let (cuts, cut) = watch::channel(0);
        // One is enough: the run ends with it.
        let (failed, failures) = mpsc::channel(1);
        let catalogue = Catalogue::default();
        let opening = Arc::new(Semaphore::new(OPENING));
        let shared: Vec<Shared> = (0..target.connections).map(|_| Shared::default()).collect();
        let shared = Arc::new(shared);
        let mut tasks = JoinSet::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let mut berth = Berth {
                index,
                target,
                meter: Arc::clone(&meter),
                cut: cut.clone(),
                opening: Arc::clone(&opening),
                shared: Arc::clone(&shared),
            };
            let mut sidecar = Sidecar::new(node, catalogue.clone());
            let failed = failed.clone();
            tasks.spawn(async move {
                if let Err(error) = berth.live(&mut sidecar).await {
                    let _ = failed.try_send(error.context(format!("sidecar {index}")));
                }
                sidecar.counts()
            });
        }
        Self { meter, cuts, failures: Mutex::new(failures), tasks }
    }

    /// What the sidecars received.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Waits for `work`, but not beyond the failure of a sidecar.
    ///
    /// # Errors
    /// Those of `work`, and the first failure of a sidecar.
    pub async fn during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut failures = self.failures.lock().await;
        tokio::select! {
            done = work => done,
            Some(failure) = failures.recv() => Err(failure),
        }
    }

    /// Waits until every sidecar holds all it asked for and nothing has come for `window`.
    ///
    /// # Errors
    /// When that is not so within `limit`, or a stream ends.
    pub async fn settle(&self, window: Duration, limit: Duration) -> Result<()> {
        self.during(async {
            self.meter.until_settled(limit).await?;
            self.meter.until_quiet(window).await;
            Ok(())
        })
        .await
    }

    /// Cuts every stream; each sidecar comes back at once with the versions that it holds.
    pub fn cut(&self) {
        self.meter.unsettle();
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends all streams and says how many resources of each type each sidecar held.
    ///
    /// # Errors
    /// When a sidecar panicked.
    pub async fn stop(mut self) -> Result<Vec<[usize; KINDS]>> {
        drop(self.cuts);
        let mut held = Vec::new();
        while let Some(counts) = self.tasks.join_next().await {
            held.push(counts.context("a sidecar panicked")?);
        }
        Ok(held)
    }
}

/// A connection that several sidecars share, opened by the first.
type Shared = Mutex<Option<(u64, SendRequest<Bytes>)>>;

/// The place of one sidecar.
struct Berth {
    index: usize,
    target: Target,
    meter: Arc<Meter>,
    cut: watch::Receiver<u64>,
    opening: Arc<Semaphore>,
    shared: Arc<Vec<Shared>>,
}

impl Berth {
    /// Connects, and again after each cut, until the fleet is stopped.
    async fn live(&mut self, sidecar: &mut Sidecar) -> Result<()> {
        loop {
            let cuts = *self.cut.borrow_and_update();
            let meter = Arc::clone(&self.meter);
            let turn = Arc::clone(&self.opening).acquire_owned().await?;
            let link = match self.target.connections {
                0 => {
                    let (sender, wire) = connect(self.target.address, self.index).await?;
                    (sender, Some(wire))
                }
                count => (self.share(self.index % count, cuts).await?, None),
            };
            let mut session =
                Session::open(sidecar, &meter, self.index, self.target.address, link, turn).await?;
            tokio::select! {
                biased;
                failure = session.run() => return Err(failure),
                cut = self.cut.changed() => if cut.is_err() {
                    return Ok(());
                },
            }
        }
    }

    async fn share(&self, place: usize, cuts: u64) -> Result<SendRequest<Bytes>> {
        let mut shared = self.shared[place].lock().await;
        if let Some((since, sender)) = &*shared
            && *since == cuts
        {
            return Ok(sender.clone());
        }
        let (sender, wire) = connect(self.target.address, place).await?;
        // It ends when the last of its streams and senders is gone; how, its streams say.
        tokio::spawn(wire);
        *shared = Some((cuts, sender.clone()));
        Ok(sender)
    }
}
