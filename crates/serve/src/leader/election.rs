//! The election as a value: a Lease is seen, something is done. Pure.
//!
//! Other machines' clocks are not believed: a Lease is held as long as it changes, seen from here (client-go's leaderelection does the same).

use std::time::{Duration, Instant};

/// A Lease that has not changed for so long is nobody's. Istio's is 30 s; what waits for a leader here is a status, not traffic, and it is
/// wanted soon.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// How often the leader says that it is there, and the others look whether it is.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);

/// A leader that could not renew for so long is none any more: well before [`LEASE`], so that there are never two.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Lease, as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The object's `resourceVersion`: it differs if anything does.
    pub(crate) version: String,
    /// Empty: released.
    pub(crate) holder: String,
    /// How often it changed hands.
    pub(crate) transitions: i32,
}

/// What to do about a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Make it, held by us.
    Create,
    /// Say in it that we hold it (still, or from now on), if it is of that version.
    Hold {
        /// The version that was seen: a write that finds another one loses.
        version: String,
        /// How often it has changed hands then.
        transitions: i32,
        /// We did not hold it before.
        is_new: bool,
    },
    /// Another one holds it: look again later.
    Look,
}

/// One replica's part in the election.
#[derive(Debug)]
pub(crate) struct Election {
    identity: String,
    /// The version that was seen last, and since when it has been that.
    seen: Option<(String, Instant)>,
    /// When it was last held by us for sure: when the request that wrote so was begun.
    held: Option<Instant>,
}

impl Election {
    pub(crate) fn new(identity: String) -> Self {
        Self { identity, seen: None, held: None }
    }

    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// The Lease is this, or there is none: what to do.
    pub(crate) fn on_seen(&mut self, lease: Option<&Seen>, now: Instant) -> Act {
        let Some(lease) = lease else { return Act::Create };
        let since = match &self.seen {
            Some((version, since)) if *version == lease.version => *since,
            _ => now,
        };
        self.seen = Some((lease.version.clone(), since));
        let is_own = lease.holder == self.identity;
        let is_free = lease.holder.is_empty() || now.saturating_duration_since(since) >= LEASE;
        if is_own || is_free {
            let transitions = if is_own { lease.transitions } else { lease.transitions.saturating_add(1) };
            Act::Hold { version: lease.version.clone(), transitions, is_new: !is_own }
        } else {
            // It was taken from us, or never ours.
            self.held = None;
            Act::Look
        }
    }

    /// A write that was begun at `began` said that we hold it.
    pub(crate) fn on_held(&mut self, began: Instant) {
        self.held = Some(began);
    }

    /// Until when this replica leads, if it does not renew; in the past, or none: it does not.
    pub(crate) fn leads_until(&self) -> Option<Instant> {
        self.held.map(|held| held + PATIENCE)
    }

    /// When to look again, at the latest.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        now + PERIOD
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::{Act, Election, LEASE, PATIENCE, Seen};
    use std::time::{Duration, Instant};

    impl Election {
        fn leads(&self, now: Instant) -> bool {
            self.leads_until().is_some_and(|until| now < until)
        }
    }

    fn lease(version: &str, holder: &str) -> Seen {
        Seen { version: version.into(), holder: holder.into(), transitions: 3 }
    }

    fn hold(version: &str, transitions: i32, is_new: bool) -> Act {
        Act::Hold { version: version.into(), transitions, is_new }
    }

    #[test]
    fn the_first_one_makes_the_lease_and_renews_it() {
        let (mut election, now) = (Election::new("a".into()), Instant::now());
        assert!(!election.leads(now));
        assert_eq!(election.on_seen(None, now), Act::Create);
        election.on_held(now);
        assert!(election.leads(now));
        assert_eq!(election.on_seen(Some(&lease("1", "a")), now), hold("1", 3, false));
    }

    #[test]
    fn a_leader_that_cannot_renew_gives_up_before_another_one_takes_over() {
        let (mut leader, start) = (Election::new("a".into()), Instant::now());
        leader.on_held(start);
        let mut other = Election::new("b".into());
        assert_eq!(other.on_seen(Some(&lease("1", "a")), start), Act::Look);
        let late = start + LEASE - Duration::from_millis(1);
        assert_eq!(other.on_seen(Some(&lease("1", "a")), late), Act::Look);
        assert!(!leader.leads(start + PATIENCE));
        assert_eq!(other.on_seen(Some(&lease("1", "a")), start + LEASE), hold("1", 4, true));
    }

    #[test]
    fn a_lease_that_changes_is_held_whatever_the_clocks_say() {
        let (mut other, start) = (Election::new("b".into()), Instant::now());
        for turn in 0..10 {
            let seen = lease(&turn.to_string(), "a");
            assert_eq!(
                other.on_seen(Some(&seen), start + turn * (LEASE - Duration::from_secs(1))),
                Act::Look
            );
        }
    }

    #[test]
    fn a_lease_that_was_released_is_taken_at_once() {
        let (mut other, now) = (Election::new("b".into()), Instant::now());
        assert_eq!(other.on_seen(Some(&lease("9", "")), now), hold("9", 4, true));
    }

    #[test]
    fn one_from_whom_it_was_taken_leads_no_more() {
        let (mut leader, now) = (Election::new("a".into()), Instant::now());
        leader.on_held(now);
        assert_eq!(leader.on_seen(Some(&lease("2", "b")), now), Act::Look);
        assert!(!leader.leads(now));
    }
}
