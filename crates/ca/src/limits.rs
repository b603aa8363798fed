//! How often one identity may ask: a bound for each, remembered for a bounded number of them.
//!
//! Knows: time as it is given. Must not know: the clock, sockets.   Start at [`Rate::admit`].
//! Invariant: no more than `remembered` identities are kept; one that asks within its bound is never refused for another's sake.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use meltemi_names::SpiffeId;

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many certificates one identity may ask for at once.
    pub burst: u32,
    /// How long until one more may be asked for.
    pub interval: Duration,
    /// How many identities are remembered.
    pub remembered: usize,
    /// How many requests sign at the same time.
    pub signing: usize,
    /// How many requests wait for that; more are told to come again.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An identity is a service account, and a Deployment of a thousand pods may start at once, each asking twice.
            burst: 2000,
            interval: Duration::from_millis(10),
            // A hundred bytes each.
            remembered: 20_000,
            // One core stays for pushes on a machine of two.
            signing: 1,
            // A mesh of 10,000 sidecars that all start at once, at some kilobytes each.
            waiting: 10_000,
        }
    }
}

/// Who asked how often of late: for each identity the moment at which its allowance is whole again.
#[derive(Debug)]
pub struct Rate {
    limits: Limits,
    whole_at: HashMap<SpiffeId, Instant>,
    by_time: BTreeSet<(Instant, SpiffeId)>,
}

/// Too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many certificates were asked for under this identity; ask again in {} ms", .after.as_millis())]
pub struct TooOften {
    /// When one more may be asked for.
    pub after: Duration,
}

impl Rate {
    /// With these bounds.
    pub fn new(limits: Limits) -> Self {
        Self { limits, whole_at: HashMap::new(), by_time: BTreeSet::new() }
    }

    /// Counts a request, if it is within the bound.
    ///
    /// # Errors
    /// When it is not; it is not counted then.
    pub fn admit(&mut self, id: &SpiffeId, now: Instant) -> Result<(), TooOften> {
        let before = self.whole_at.get(id).copied();
        let whole_at = before.map_or(now, |at| at.max(now)) + self.limits.interval;
        let most = self.limits.interval * self.limits.burst;
        let owed = whole_at.duration_since(now);
        if owed > most {
            return Err(TooOften { after: owed - most });
        }
        match before {
            Some(at) => {
                self.by_time.remove(&(at, id.clone()));
            }
            None => self.make_room(),
        }
        self.by_time.insert((whole_at, id.clone()));
        self.whole_at.insert(id.clone(), whole_at);
        Ok(())
    }

    /// How many identities are remembered.
    pub fn remembered(&self) -> usize {
        self.whole_at.len()
    }

    /// Forgets whoever owes least: it is whole again the soonest, so that little is given away.
    fn make_room(&mut self) {
        while self.whole_at.len() >= self.limits.remembered.max(1) {
            let Some((_, id)) = self.by_time.pop_first() else { return };
            self.whole_at.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
