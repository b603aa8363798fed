//! When something is due, and how often something may be done.

use std::time::{Duration, Instant};

/// Waits until then; for ever if there is no such time.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// So many at once after a pause, then so many a second. Pure, given `now`.
#[derive(Debug)]
pub(crate) struct Allowance {
    rate: f64,
    burst: f64,
    left: f64,
    since: Instant,
}

impl Allowance {
    pub(crate) fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self { rate, burst, left: burst, since: now }
    }

    /// Whether one may be done now.
    pub(crate) fn has(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.burst);
        self.since = now;
        self.left >= 1.0
    }

    /// One was done. Those that were under way when it ran out count against what comes.
    pub(crate) fn spend(&mut self) {
        self.left -= 1.0;
    }

    /// Does one, if it may be done now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let has = self.has(now);
        if has {
            self.spend();
        }
        has
    }

    /// When one may be done, if none is meanwhile.
    pub(crate) fn next(&self) -> Instant {
        let lacking = (1.0 - self.left).max(0.0);
        self.since + Duration::from_secs_f64(lacking / self.rate)
    }
}
