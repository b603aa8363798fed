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
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::catalogue::KINDS;
use crate::client::{Session, connect};
use crate::meter::Meter;
use crate::simulated::{Common, Form, Simulated};
use crate::tls::Tls;

/// Streams that are being opened at one time, until the server has taken each: below the smallest usual backlog of a listener
/// (128), beyond which the kernel drops connections that the client believes to be open, and resets them later.
const OPENING: usize = 100;

/// The sidecars.
#[derive(Debug)]
pub struct Fleet {
    meter: Arc<Meter>,
    /// How often all were cut; a sidecar that sees another number reconnects.
    cuts: watch::Sender<u64>,
    /// How many of them, from the first, do not read for now.
    stalled: watch::Sender<usize>,
    common: Common,
    failures: Mutex<mpsc::Receiver<anyhow::Error>>,
    tasks: JoinSet<[usize; KINDS]>,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Target {
    /// Of the server.
    pub address: SocketAddr,
    /// Connections that the sidecars share; 0 gives each its own, as Envoys have.
    pub connections: usize,
    /// Which spelling they speak.
    pub form: Form,
    /// With TLS and a token, where the server wants it.
    pub tls: Option<Tls>,
    /// That a sidecar leaves after a time and another comes in its place; none to stay until the fleet is stopped.
    pub life: Option<Life>,
}

/// How long a sidecar stays.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// From its connecting to its leaving.
    pub stays: Duration,
    /// Between the first of one sidecar and the first of the next.
    pub apart: Duration,
    /// The one that comes instead knows nothing; else it comes back with the versions that it holds.
    pub fresh: bool,
}

impl Target {
    /// Delta in plain text, with a connection for each.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, connections: 0, form: Form::Delta, tls: None, life: None }
    }
}

impl Fleet {
    /// Starts a sidecar for each node; all connect at once.
    pub fn start(target: Target, nodes: impl IntoIterator<Item = Node>) -> Self {
        let nodes: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
        let meter = Arc::new(Meter::new(nodes.len()));
        let (cuts, cut) = watch::channel(0);
        // One is enough: the run ends with it.
        let (failed, failures) = mpsc::channel(1);
        let (stalled, stall) = watch::channel(0);
        let common = Common::default();
        let opening = Arc::new(Semaphore::new(OPENING));
        let shared: Vec<Shared> = (0..target.connections).map(|_| Shared::default()).collect();
        let shared = Arc::new(shared);
        let mut tasks = JoinSet::new();
        for (index, node) in nodes.into_iter().enumerate() {
            let mut berth = Berth {
                index,
                target: target.clone(),
                common: common.clone(),
                node,
                meter: Arc::clone(&meter),
                cut: cut.clone(),
                stall: stall.clone(),
                opening: Arc::clone(&opening),
                shared: Arc::clone(&shared),
            };
            let mut sidecar = berth.sidecar();
            let failed = failed.clone();
            tasks.spawn(async move {
                if let Err(error) = berth.live(&mut sidecar).await {
                    let _ = failed.try_send(error.context(format!("sidecar {index}")));
                }
                sidecar.counts()
            });
        }
        Self { meter, cuts, stalled, common, failures: Mutex::new(failures), tasks }
    }

    /// Lets the first `count` sidecars stop reading, and all others go on; 0 lets all read.
    pub fn stall(&self, count: usize) {
        self.stalled.send_replace(count);
    }

    /// The number of the one name of that type that `is_it` knows, once a delta sidecar has met it.
    pub fn number(&self, kind: TypeUrl, is_it: impl Fn(&str) -> bool) -> Option<u32> {
        self.common.catalogue.known().find(kind, is_it)
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
    common: Common,
    node: Arc<Node>,
    meter: Arc<Meter>,
    cut: watch::Receiver<u64>,
    stall: watch::Receiver<usize>,
    opening: Arc<Semaphore>,
    shared: Arc<Vec<Shared>>,
}

impl Berth {
    fn sidecar(&self) -> Simulated {
        Simulated::new(self.target.form, Arc::clone(&self.node), &self.common)
    }

    /// Connects, and again after each cut and at the end of each life, until the fleet is stopped.
    async fn live(&mut self, sidecar: &mut Simulated) -> Result<()> {
        if let Some(life) = self.target.life {
            let turn = life.apart.saturating_mul(u32::try_from(self.index).unwrap_or(u32::MAX));
            tokio::select! {
                () = tokio::time::sleep(turn) => {}
                cut = self.cut.changed() => if cut.is_err() {
                    return Ok(());
                },
            }
        }
        loop {
            let cuts = *self.cut.borrow_and_update();
            let meter = Arc::clone(&self.meter);
            let turn = Arc::clone(&self.opening).acquire_owned().await?;
            let tls = self.target.tls.clone();
            let link = match self.target.connections {
                0 => {
                    let (sender, wire) = connect(self.target.address, self.index, tls.as_ref()).await?;
                    (sender, Some(wire))
                }
                count => (self.share(self.index % count, cuts).await?, None),
            };
            let token = tls.as_ref().and_then(|tls| tls.token(&self.node.id));
            let session = Session::open(sidecar, &meter, self.index, self.target.address, link, turn, token);
            let mut session = session.await?;
            let end = self.target.life.map(|life| tokio::time::Instant::now() + life.stays);
            loop {
                let is_stalled = self.index < *self.stall.borrow_and_update();
                tokio::select! {
                    biased;
                    failure = session.run(), if !is_stalled => return Err(failure),
                    cut = self.cut.changed() => {
                        if cut.is_err() {
                            return Ok(());
                        }
                        break;
                    }
                    // The fleet is there as long as the channel of cuts says so.
                    Ok(()) = self.stall.changed() => {}
                    () = until(end) => break,
                }
            }
            drop(session);
            if self.target.life.is_some_and(|life| life.fresh) {
                *sidecar = self.sidecar();
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
        let (sender, wire) = connect(self.target.address, place, self.target.tls.as_ref()).await?;
        // It ends when the last of its streams and senders is gone; how, its streams say.
        tokio::spawn(wire);
        *shared = Some((cuts, sender.clone()));
        Ok(sender)
    }
}

/// Until then; for ever without a time.
async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
