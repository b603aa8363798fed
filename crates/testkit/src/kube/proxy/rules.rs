//! Which fault is set for which requests, and which watches are under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

/// Orders that a slow watch may be behind; further behind it takes the newest for all.
const ORDERS: usize = 64;

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing is answered, and what a watch would bring stays away, while connections stay open; new connections are
    /// accepted and left so where the part is empty. [`super::Proxy::heal`] lets it all go on.
    Hold,
    /// Answers, and each event of a watch, come that much later.
    Delay(Duration),
    /// Requests are answered with that status and an error of Kubernetes' form, without asking the API server.
    Status(u16),
    /// The same for new watches alone.
    WatchStatus(u16),
    /// New watches begin, and say as their first event that what they are at is too old (410 Gone).
    WatchGone,
    /// Each event of a watch comes twice.
    Duplicate,
    /// The next event of a watch comes by half, and then the connection breaks.
    Truncate,
    /// Reads that are no watch are answered with this body: what [`super::Proxy::record`] returned earlier, say.
    Answer(Bytes),
    /// The object of that name has a `spec` that is a number, in lists and events.
    Garble(String),
}

/// What a watch is told to do now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Cut,
    End,
    Expire,
}

/// All that may be changed while the proxy runs.
pub(super) struct Rules {
    faults: watch::Sender<Arc<Vec<(String, Fault)>>>,
    orders: broadcast::Sender<(String, Order)>,
    requests: Arc<Mutex<Requests>>,
}

#[derive(Default)]
struct Requests {
    /// How many of each method and path.
    seen: BTreeMap<String, usize>,
    /// The watches under way, by number.
    watches: BTreeMap<u64, String>,
    next: u64,
}

/// One request: what is set for it, as that changes.
pub(super) struct Rule {
    /// Method and path.
    pub(super) request: String,
    faults: watch::Receiver<Arc<Vec<(String, Fault)>>>,
    orders: broadcast::Receiver<(String, Order)>,
}

/// A watch under way, until this is dropped.
pub(super) struct Live {
    requests: Arc<Mutex<Requests>>,
    number: u64,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self {
            faults: watch::channel(Arc::new(Vec::new())).0,
            orders: broadcast::channel(ORDERS).0,
            requests: Arc::default(),
        }
    }

    pub(super) fn set(&self, part: &str, fault: Fault) {
        self.faults.send_modify(|faults| Arc::make_mut(faults).push((part.to_owned(), fault)));
    }

    pub(super) fn heal(&self) {
        self.faults.send_replace(Arc::default());
    }

    pub(super) fn order(&self, part: &str, order: Order) {
        // Without a watch there is nobody to tell.
        drop(self.orders.send((part.to_owned(), order)));
    }

    /// The rule for a connection before its first request: only what is for everything.
    pub(super) fn connection(&self) -> Rule {
        self.rule(String::new())
    }

    /// The rule for a request, which counts from now.
    pub(super) fn request(&self, request: String) -> Rule {
        *lock(&self.requests).seen.entry(request.clone()).or_default() += 1;
        self.rule(request)
    }

    fn rule(&self, request: String) -> Rule {
        Rule { request, faults: self.faults.subscribe(), orders: self.orders.subscribe() }
    }

    pub(super) fn requests(&self, part: &str) -> usize {
        lock(&self.requests)
            .seen
            .iter()
            .filter(|(request, _)| request.contains(part))
            .map(|(_, count)| count)
            .sum()
    }

    pub(super) fn watches(&self, part: &str) -> usize {
        lock(&self.requests).watches.values().filter(|request| request.contains(part)).count()
    }

    /// Counts a watch as under way.
    pub(super) fn live(&self, request: &str) -> Live {
        let mut requests = lock(&self.requests);
        let number = requests.next;
        requests.next += 1;
        requests.watches.insert(number, request.to_owned());
        Live { requests: Arc::clone(&self.requests), number }
    }
}

impl Clone for Rule {
    fn clone(&self) -> Self {
        Self { request: self.request.clone(), faults: self.faults.clone(), orders: self.orders.resubscribe() }
    }
}

impl Rule {
    /// What is set for it now, in the order in which it was set.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let faults = self.faults.borrow();
        faults
            .iter()
            .filter(|(part, _)| self.request.contains(part.as_str()))
            .map(|(_, fault)| fault.clone())
            .collect()
    }

    /// Waits until nothing is held.
    pub(super) async fn released(&mut self) {
        let request = &self.request;
        let is_free = |faults: &Arc<Vec<(String, Fault)>>| {
            !faults
                .iter()
                .any(|(part, fault)| matches!(fault, Fault::Hold) && request.contains(part.as_str()))
        };
        if self.faults.wait_for(is_free).await.is_err() {
            // The proxy is gone, and so will the connection be.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for an order to this watch.
    pub(super) async fn order(&mut self) -> Order {
        loop {
            match self.orders.recv().await {
                Ok((part, order)) if self.request.contains(&part) => return order,
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Order::Cut,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        lock(&self.requests).watches.remove(&self.number);
    }
}

fn lock(requests: &Mutex<Requests>) -> MutexGuard<'_, Requests> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}
