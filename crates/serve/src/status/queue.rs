//! Which object's status is looked at when, and how often may be written. Pure, given `now`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use meltemi_names::ObjectKey;

use crate::pace::Allowance;

/// For so long an object is left alone after something about it changed: a change is in force after some milliseconds, and one write says
/// so; without this there would be two.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// Writes per second, beyond [`BURST`]: a tenth of what client-go may do by default would be 2; a mesh of 1,000 rules whose leader is new is
/// through in a minute, and the API server does not feel it.
pub(crate) const RATE: f64 = 20.0;

/// Writes at once after a pause.
pub(crate) const BURST: f64 = 20.0;

/// Objects to be looked at, each once, in the order in which they are due.
#[derive(Debug)]
pub(crate) struct Queue {
    due: BTreeMap<ObjectKey, Instant>,
    order: BTreeSet<(Instant, ObjectKey)>,
    /// How many may be written now.
    allowance: Allowance,
}

impl Queue {
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: BTreeMap::new(), order: BTreeSet::new(), allowance: Allowance::new(RATE, BURST, now) }
    }

    /// Something about the object changed: it is looked at once that is settled. One that waits already does not wait longer.
    pub(crate) fn push(&mut self, key: ObjectKey, now: Instant) {
        self.push_at(key, now + SETTLE);
    }

    /// The object is looked at then, or when it is anyway.
    pub(crate) fn push_at(&mut self, key: ObjectKey, due: Instant) {
        let due = match self.due.get(&key) {
            Some(sooner) if *sooner <= due => return,
            Some(later) => {
                self.order.remove(&(*later, key.clone()));
                due
            }
            None => due,
        };
        self.order.insert((due, key.clone()));
        self.due.insert(key, due);
    }

    /// When something is to be done; none if nothing waits.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.order.first()?.0;
        Some(due.max(self.allowance.next()))
    }

    /// The next object that is due, if it may be written.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<ObjectKey> {
        if !self.allowance.has(now) || self.order.first()?.0 > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.due.remove(&key);
        Some(key)
    }

    /// One was written.
    pub(crate) fn wrote(&mut self) {
        self.allowance.spend();
    }

    /// Nothing is to be looked at any more.
    pub(crate) fn clear(&mut self) {
        self.due.clear();
        self.order.clear();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::{BURST, Queue, RATE, SETTLE};
    use meltemi_names::{Kind, ObjectKey};
    use std::time::{Duration, Instant};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::VirtualService, "shop", name)
    }

    #[test]
    fn changes_of_one_object_in_a_row_are_looked_at_once_when_the_first_has_settled() {
        let start = Instant::now();
        let mut queue = Queue::new(start);
        queue.push(key("a"), start);
        queue.push(key("a"), start + SETTLE / 2);
        assert_eq!(queue.pop(start + SETTLE / 2), None);
        assert_eq!(queue.next(), Some(start + SETTLE));
        assert_eq!(queue.pop(start + SETTLE), Some(key("a")));
        assert_eq!(queue.pop(start + 9 * SETTLE), None);
    }

    #[test]
    fn an_object_that_is_wanted_sooner_is_looked_at_sooner() {
        let start = Instant::now();
        let mut queue = Queue::new(start);
        queue.push_at(key("a"), start + Duration::from_secs(60));
        queue.push(key("a"), start);
        assert_eq!(queue.pop(start + SETTLE), Some(key("a")));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn writes_are_no_more_than_the_rate_after_the_burst() {
        let start = Instant::now();
        let mut queue = Queue::new(start);
        for index in 0..1000 {
            queue.push(key(&index.to_string()), start);
        }
        let mut now = start + SETTLE;
        let mut written = 0;
        while now < start + SETTLE + Duration::from_secs(10) {
            while queue.pop(now).is_some() {
                queue.wrote();
                written += 1;
            }
            now = queue.next().unwrap().max(now + Duration::from_millis(1));
        }
        let most = BURST + 10.0 * RATE + 1.0;
        assert!(f64::from(written) <= most && f64::from(written) > most * 0.9, "{written}");
    }

    #[test]
    fn what_needs_no_write_costs_none() {
        let start = Instant::now();
        let mut queue = Queue::new(start);
        for index in 0..1000 {
            queue.push(key(&index.to_string()), start);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop(start + SETTLE)).count(), 1000);
    }
}
