//! What each sidecar received and when it acknowledged it, written by the sidecars and read by the run.
//!
//! Knows: counts and times. Must not know: what was received.
//! Invariant: a sidecar writes its own slot only, so that measuring thousands costs each of them a few atomic writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::catalogue::KINDS;
use crate::sidecar::Brought;

/// Counters of all sidecars of one fleet.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    slots: Vec<Slot>,
    /// Answers acknowledged, over all sidecars.
    acknowledged: AtomicU64,
    settled: AtomicU64,
    /// The values of the two above that the run waits for.
    awaited: [AtomicU64; 2],
    reached: Notify,
    clock: Mutex<Clock>,
}

/// Changes that were made at known times, and how long each took to each sidecar: the clock of an open loop, where the next change
/// does not wait for the last.
#[derive(Debug, Default)]
struct Clock {
    /// By index of the type and number of the name, when it was changed last.
    changed: HashMap<(usize, u32), Instant>,
    took: Vec<Duration>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Nanoseconds since the meter began.
    last: AtomicU64,
    answers: AtomicU64,
    bytes: AtomicU64,
    removed: AtomicU64,
    resources: [AtomicU64; KINDS],
}

/// The counters of one sidecar, or the sum over all, at one time or between two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers.
    pub answers: u64,
    /// Bytes of the answers, gRPC's head included.
    pub bytes: u64,
    /// Names told as removed.
    pub removed: u64,
    /// Resources by type, in the order of [`crate::sidecar::TYPES`].
    pub resources: [u64; KINDS],
}

impl Counts {
    /// Resources of all types.
    pub fn total(&self) -> u64 {
        self.resources.iter().sum()
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            answers: self.answers - earlier.answers,
            bytes: self.bytes - earlier.bytes,
            removed: self.removed - earlier.removed,
            resources: std::array::from_fn(|kind| self.resources[kind] - earlier.resources[kind]),
        }
    }
}

impl Meter {
    /// For that many sidecars; times count from now.
    pub fn new(sidecars: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(sidecars, Slot::default);
        Self {
            began: Instant::now(),
            slots,
            acknowledged: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            awaited: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            reached: Notify::new(),
            clock: Mutex::default(),
        }
    }

    /// A sidecar has handed the acknowledgement of an answer to its socket.
    pub(crate) fn record(&self, sidecar: usize, brought: &Brought, bytes: usize) {
        if !brought.names.is_empty() {
            let now = Instant::now();
            let mut clock = self.clock();
            for name in &brought.names {
                if let Some(since) = clock.changed.get(&(brought.kind, *name)) {
                    let took = now.saturating_duration_since(*since);
                    clock.took.push(took);
                }
            }
        }
        let slot = &self.slots[sidecar];
        let add = |counter: &AtomicU64, count: usize| counter.fetch_add(count as u64, Ordering::Relaxed);
        slot.last.store(nanos(self.began.elapsed()), Ordering::Relaxed);
        add(&slot.answers, 1);
        add(&slot.bytes, bytes);
        add(&slot.removed, brought.removed);
        add(&slot.resources[brought.kind], brought.resources);
        self.advance(&self.acknowledged, &self.awaited[0], 1);
    }

    /// The resource of that type and number is changed now; how long it takes to each sidecar is kept until [`Meter::took`].
    pub fn changes(&self, kind: usize, name: u32) {
        self.clock().changed.insert((kind, name), Instant::now());
    }

    /// How long marked changes took to the acknowledgement of each sidecar, since this was last asked, in ascending order.
    pub fn took(&self) -> Vec<Duration> {
        let mut clock = self.clock();
        clock.changed.clear();
        let mut took = std::mem::take(&mut clock.took);
        took.sort_unstable();
        took
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Clock> {
        // A panic while writing ends the whole measurement; nothing reads the half after it.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have settled since the beginning, or since all were cut.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::SeqCst)
    }

    /// A sidecar holds all it asked for.
    pub(crate) fn settle(&self) {
        self.advance(&self.settled, &self.awaited[1], 1);
    }

    /// That many sidecars start anew.
    pub(crate) fn unsettle(&self) {
        self.settled.store(0, Ordering::SeqCst);
    }

    fn advance(&self, counter: &AtomicU64, awaited: &AtomicU64, by: u64) {
        // Both sides write theirs before they read the other's, so that one of them sees the end.
        if counter.fetch_add(by, Ordering::SeqCst) + by >= awaited.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }

    /// How many sidecars there are.
    pub fn sidecars(&self) -> usize {
        self.slots.len()
    }

    /// Answers acknowledged since the beginning, over all sidecars.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until that many answers were acknowledged since the beginning.
    ///
    /// # Errors
    /// When they were not within `limit`.
    pub async fn until_acknowledged(&self, count: u64, limit: Duration) -> Result<()> {
        if timeout(limit, self.until(&self.acknowledged, &self.awaited[0], count)).await.is_err() {
            let missing = count.saturating_sub(self.acknowledged());
            bail!("{missing} of the answers to {} sidecars did not come within {limit:?}", self.sidecars());
        }
        Ok(())
    }

    /// Waits until every sidecar holds all it asked for.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub async fn until_settled(&self, limit: Duration) -> Result<()> {
        self.until_count(self.slots.len() as u64, limit).await
    }

    /// Waits until sidecars have held all they asked for so often, over all and since the beginning.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub async fn until_count(&self, count: u64, limit: Duration) -> Result<()> {
        if timeout(limit, self.until(&self.settled, &self.awaited[1], count)).await.is_err() {
            bail!("{} of {count} sidecars got all they asked for within {limit:?}", self.settled());
        }
        Ok(())
    }

    /// Waits until no sidecar got anything for `window`.
    pub async fn until_quiet(&self, window: Duration) {
        loop {
            let next = self.acknowledged() + 1;
            if timeout(window, self.until(&self.acknowledged, &self.awaited[0], next)).await.is_err() {
                return;
            }
        }
    }

    async fn until(&self, counter: &AtomicU64, awaited: &AtomicU64, value: u64) {
        awaited.store(value, Ordering::SeqCst);
        while counter.load(Ordering::SeqCst) < value {
            self.reached.notified().await;
        }
        awaited.store(u64::MAX, Ordering::SeqCst);
    }

    /// The counters of each sidecar.
    pub fn counts(&self) -> Vec<Counts> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.slots
            .iter()
            .map(|slot| Counts {
                answers: load(&slot.answers),
                bytes: load(&slot.bytes),
                removed: load(&slot.removed),
                resources: std::array::from_fn(|kind| load(&slot.resources[kind])),
            })
            .collect()
    }

    /// How long after `start` each sidecar last acknowledged something, in ascending order.
    pub fn last_after(&self, start: Instant) -> Vec<Duration> {
        let start = nanos(start.duration_since(self.began));
        let mut times: Vec<Duration> = self
            .slots
            .iter()
            .map(|slot| Duration::from_nanos(slot.last.load(Ordering::Relaxed).saturating_sub(start)))
            .collect();
        times.sort_unstable();
        times
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
