//! When an Envoy that ended is started again: a value without a clock.

use std::time::Duration;

/// The first wait.
pub(crate) const FIRST: Duration = Duration::from_millis(200);

/// The longest wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// An Envoy that ran for so long has done its work; the next end counts as the first.
const GOOD: Duration = Duration::from_secs(60);

/// How often it has ended of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// It ended after it ran for so long. How long until it is started again.
    pub(crate) fn ended(&mut self, ran: Duration) -> Duration {
        if ran >= GOOD {
            self.in_a_row = 0;
        }
        let doubled = 2u32.saturating_pow(self.in_a_row.min(16));
        self.in_a_row = self.in_a_row.saturating_add(1);
        FIRST.saturating_mul(doubled).min(LONGEST)
    }

    /// How often it has ended in a row.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}
