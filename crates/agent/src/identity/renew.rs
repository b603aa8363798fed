//! When to ask for a certificate: a state machine without a clock.
//!
//! Knows: when the present certificate came and ends, and how the last attempts went. Must not know: the clock, sockets, keys.
//! Start at [`Renewal`].
//! Invariant: it never gives up, and never waits longer than its bounds.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::time::Time;

/// The first wait after a failure.
pub const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest wait after a failure; with jitter a wait may be twice as long.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// A wait is never longer than this part of the certificate's life, so that a short one is not lost to waiting.
const PART_OF_LIFE: u32 = 20;

/// The clock may be set, or the machine may sleep: so often it is looked at again.
pub const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// How much of its life is left when a certificate is renewed (Istio: `SECRET_GRACE_PERIOD_RATIO`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grace {
    /// The part of the life, 0.5 in Istio.
    pub ratio: f64,
    /// More or less by up to this, 0.01 in Istio, so that workloads that started together do not renew together.
    pub jitter: f64,
}

impl Default for Grace {
    fn default() -> Self {
        Self { ratio: 0.5, jitter: 0.01 }
    }
}

impl Grace {
    /// When a certificate is renewed that came at `created` and ends at `not_after`; `chance` is between 0 and 1.
    pub fn renew_at(&self, created: Time, not_after: Time, chance: f64) -> Time {
        let part = self.ratio + self.jitter * (chance * 2.0 - 1.0);
        // What is no number stands for the usual.
        let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.5 };
        created.after(created.until(not_after).mul_f64(1.0 - part))
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again after that.
    Wait(Duration),
    /// Ask now.
    Ask {
        /// Whether to present the certificate that there is: it has not expired. Every second attempt in a row goes without,
        /// since a control plane with a new root would refuse the connection, and the token alone would do.
        present: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Held {
    not_after: Time,
    renew_at: Time,
    life: Duration,
}

/// When to ask next.
#[derive(Debug)]
pub struct Renewal {
    grace: Grace,
    held: Option<Held>,
    failures: u32,
    not_before: Option<Time>,
    delays: ExponentialBackoff,
    seed: u64,
}

impl Renewal {
    /// Nothing is held yet. `seed` makes the delays differ from workload to workload.
    pub fn new(grace: Grace, seed: u64) -> Self {
        Self { grace, held: None, failures: 0, not_before: None, delays: delays(None, seed), seed }
    }

    /// What is to be done at `now`.
    pub fn step(&self, now: Time) -> Step {
        let at = match (self.not_before, &self.held) {
            // A clock that was set back must not make a wait of seconds one of years.
            (Some(at), _) if now.until(at) <= 2 * LONGEST_DELAY => at,
            (Some(_), _) | (None, None) => now,
            (None, Some(held)) => held.renew_at,
        };
        let wait = now.until(at);
        if wait.is_zero() {
            let valid = self.held.is_some_and(|held| now < held.not_after);
            Step::Ask { present: valid && self.failures.is_multiple_of(2) }
        } else {
            Step::Wait(wait.min(LOOK_AGAIN))
        }
    }

    /// A certificate came at `now`; it ends at `not_after`. `chance` is between 0 and 1.
    pub fn came(&mut self, now: Time, not_after: Time, chance: f64) {
        let life = now.until(not_after);
        self.held = Some(Held { not_after, renew_at: self.grace.renew_at(now, not_after, chance), life });
        self.failures = 0;
        // A certificate that is old when it comes is not asked for again without a pause.
        self.not_before =
            (self.grace.renew_at(now, not_after, chance) <= now).then(|| now.after(FIRST_DELAY));
        self.delays = delays(Some(life), self.seed);
    }

    /// Asking failed at `now`. How long until it is tried again.
    pub fn failed(&mut self, now: Time) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let life = self.held.map(|held| held.life);
        // The iterator has no end; were it to end, the longest delay is what is meant.
        let delay = self.delays.next().unwrap_or(LONGEST_DELAY).min(2 * longest(life));
        self.not_before = Some(now.after(delay));
        delay
    }

    /// How often asking has failed since it last did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn longest(life: Option<Duration>) -> Duration {
    life.map_or(LONGEST_DELAY, |life| (life / PART_OF_LIFE).clamp(FIRST_DELAY, LONGEST_DELAY))
}

fn delays(life: Option<Duration>, seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(longest(life))
        .with_factor(2.0)
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build()
}
