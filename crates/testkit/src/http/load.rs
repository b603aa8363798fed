//! Load: workers that send one request after the other on kept-alive connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::client::Connection;
use super::{Answer, Connect, Request, Tally};

/// Requests that a load sends at most when it is told no number: one that nobody stops ends too.
const MOST: u64 = 1_000_000;

/// A load to be run.
#[derive(Clone)]
pub struct Load {
    address: SocketAddr,
    request: Request,
    connect: Connect,
    workers: usize,
    requests: u64,
    pace: Option<Duration>,
    look: Option<Look>,
}

/// Looks at each answer.
type Look = Arc<dyn Fn(&Answer) + Send + Sync>;

/// A load that runs. Dropping it stops it.
pub struct Running {
    workers: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    left: AtomicU64,
    tally: Mutex<Tally>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// `request` to `address`, again and again, by one worker.
    pub fn new(address: SocketAddr, request: Request) -> Self {
        Self {
            address,
            request,
            connect: Connect::default(),
            workers: 1,
            requests: MOST,
            pace: None,
            look: None,
        }
    }

    /// This many workers, each with a connection of its own.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// At most this many requests, of all workers together.
    #[must_use]
    pub fn requests(mut self, requests: u64) -> Self {
        self.requests = requests;
        self
    }

    /// At most one request of each worker in this time; without it, the next follows the answer at once.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.pace = Some(pace);
        self
    }

    /// From where `connect` makes its sockets.
    #[must_use]
    pub fn through(mut self, connect: Connect) -> Self {
        self.connect = connect;
        self
    }

    /// Shows each answer to `look` as it comes, for what a [`Tally`] does not count.
    #[must_use]
    pub fn showing(mut self, look: impl Fn(&Answer) + Send + Sync + 'static) -> Self {
        self.look = Some(Arc::new(look));
        self
    }

    /// Sends all requests, and returns what they met.
    pub async fn run(self) -> Tally {
        self.start().done().await
    }

    /// Starts to send, until all requests are sent or [`Running::stop`].
    pub fn start(self) -> Running {
        let shared = Arc::new(Shared {
            left: AtomicU64::new(self.requests),
            tally: Mutex::default(),
            stop: watch::Sender::new(false),
        });
        let mut workers = JoinSet::new();
        for _ in 0..self.workers {
            workers.spawn(self.clone().work(Arc::clone(&shared)));
        }
        Running { workers, shared }
    }

    async fn work(self, shared: Arc<Shared>) {
        let mut stop = shared.stop.subscribe();
        let mut pace = self.pace.map(interval);
        if let Some(pace) = &mut pace {
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut connection = None;
        while shared.take() {
            if let Some(pace) = &mut pace {
                tokio::select! {
                    _ = pace.tick() => {}
                    _ = stop.wait_for(|stop| *stop) => break,
                }
            }
            if *stop.borrow() {
                break;
            }
            let outcome = self.send(&mut connection).await;
            if let (Some(look), Ok(answer)) = (&self.look, &outcome) {
                look(answer);
            }
            let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(answer) => tally.answer(&answer),
                Err(error) => {
                    connection = None;
                    tally.failure(&error);
                }
            }
        }
    }

    /// On the kept connection, or on a new one where the other side closed it between two requests.
    async fn send(&self, kept: &mut Option<Connection>) -> Result<Answer> {
        if let Some(connection) = kept
            && connection.is_open().await
        {
            return connection.send(&self.request).await;
        }
        let connection = kept.insert(Connection::open(&self.connect, self.address).await?);
        connection.send(&self.request).await
    }
}

impl Shared {
    /// Takes the right to send one request; false when all are taken.
    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl Running {
    /// What it met so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it met since the last such call.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until all requests are answered, and returns what they met. For a load of so many requests.
    pub async fn done(mut self) -> Tally {
        while self.workers.join_next().await.is_some() {}
        self.tally()
    }

    /// Lets each worker end with the answer it waits for, and returns what they met.
    pub async fn stop(mut self) -> Tally {
        self.shared.stop.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        self.tally()
    }
}
