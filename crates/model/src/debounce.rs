//! When a change goes out: at once if it leaves nothing dangling that was whole, else when it is quiet. A pure state machine.

use std::time::{Duration, Instant};

/// What a pending change would leave behind if it went out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every reference that was whole stays whole, and every new one is whole.
    Whole,
    /// Something would refer to what is not there; what it needs may be on its way.
    Dangling,
}

/// How long a dangling change waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without a further change for so long, it goes out as it is. Istio's `PILOT_DEBOUNCE_AFTER`: 100 ms.
    pub quiet: Duration,
    /// However many changes follow, it goes out after so long. Istio's `PILOT_DEBOUNCE_MAX`: 10 s.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(100), limit: Duration::from_secs(10) }
    }
}

/// The state between a change's arrival and its publication.
#[derive(Clone, Debug, Default)]
pub struct Debounce {
    patience: Patience,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// Waits as `patience` says.
    pub fn new(patience: Patience) -> Self {
        Self { patience, waiting: None }
    }

    /// A change arrived, and with all that is pending the verdict is this. True: publish now.
    pub fn on_change(&mut self, verdict: Verdict, now: Instant) -> bool {
        let first = self.waiting.map_or(now, |waiting| waiting.first);
        if verdict == Verdict::Whole || now.saturating_duration_since(first) >= self.patience.limit {
            self.waiting = None;
            return true;
        }
        self.waiting = Some(Waiting { first, last: now });
        false
    }

    /// Time passed. True: publish now.
    pub fn on_tick(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.waiting = None;
        }
        due
    }

    /// When to call [`Debounce::on_tick`]; none if nothing waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting
            .map(|Waiting { first, last }| (last + self.patience.quiet).min(first + self.patience.limit))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::{Debounce, Verdict};
    use std::time::{Duration, Instant};

    #[test]
    fn a_whole_change_goes_at_once_and_takes_what_waited_along() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        assert!(!debounce.on_change(Verdict::Dangling, start));
        assert!(debounce.on_change(Verdict::Whole, start + Duration::from_millis(10)));
        assert_eq!(debounce.deadline(), None);
    }

    #[test]
    fn a_dangling_change_goes_when_it_is_quiet() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        assert!(!debounce.on_change(Verdict::Dangling, start));
        assert!(!debounce.on_tick(start + Duration::from_millis(99)));
        assert!(
            !debounce.on_change(Verdict::Dangling, start + Duration::from_millis(99)),
            "each change renews the quiet"
        );
        assert!(!debounce.on_tick(start + Duration::from_millis(150)));
        assert!(debounce.on_tick(start + Duration::from_millis(199)));
        assert!(!debounce.on_tick(start + Duration::from_secs(60)), "once");
    }

    #[test]
    fn changes_without_end_do_not_hold_it_back_for_ever() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        let mut now = start;
        while !debounce.on_change(Verdict::Dangling, now) {
            now += Duration::from_millis(50);
            assert!(now <= start + Duration::from_secs(10));
        }
        assert_eq!(now, start + Duration::from_secs(10));
    }
}
