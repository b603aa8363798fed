//! A bounded memory of what the API server said, each for a while. Pure, given `now`.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

/// What is remembered; the oldest goes when there are too many.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    most: usize,
    entries: HashMap<K, Entry<V>>,
    /// In the order in which they came; with those that were replaced since.
    order: VecDeque<(K, u64)>,
    number: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    until: Instant,
    number: u64,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    /// Remembers so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), order: VecDeque::new(), number: 0 }
    }

    /// What is remembered, if it is good still.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<&V> {
        self.entries.get(key).filter(|entry| now < entry.until).map(|entry| &entry.value)
    }

    /// Remembers this until then.
    pub(super) fn put(&mut self, key: K, value: V, until: Instant, now: Instant) {
        self.number += 1;
        self.entries.insert(key.clone(), Entry { value, until, number: self.number });
        self.order.push_back((key, self.number));
        while let Some((oldest, number)) = self.order.front() {
            let entry = self.entries.get(oldest).filter(|entry| entry.number == *number);
            let (is_present, is_over) = (entry.is_some(), entry.is_none_or(|entry| entry.until <= now));
            if !is_over && self.entries.len() <= self.most && self.order.len() <= 2 * self.most {
                break;
            }
            if is_present {
                self.entries.remove(oldest);
            }
            self.order.pop_front();
        }
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.order.len())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use super::Cache;
    use std::time::{Duration, Instant};

    fn digest(number: u32) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        digest
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_over_is_not_believed() {
        let now = Instant::now();
        let mut cache = Cache::new(10);
        cache.put(digest(1), "a", now + MINUTE, now);
        assert_eq!(cache.get(&digest(1), now), Some(&"a"));
        assert_eq!(cache.get(&digest(1), now + MINUTE), None);
        assert_eq!(cache.get(&digest(2), now), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let now = Instant::now();
        let mut cache = Cache::new(10);
        for number in 0..11 {
            cache.put(digest(number), number, now + MINUTE, now);
        }
        assert_eq!(cache.get(&digest(0), now), None);
        assert_eq!(cache.get(&digest(1), now), Some(&1));
        assert_eq!(cache.get(&digest(10), now), Some(&10));
    }

    #[test]
    fn it_stays_small_whatever_is_put_into_it() {
        let now = Instant::now();
        let mut cache = Cache::new(10);
        for number in 0..1_000 {
            cache.put(digest(number % 7), number, now + MINUTE, now);
            cache.put(digest(number), number, now + MINUTE, now);
            let (entries, order) = cache.len();
            assert!(entries <= 10 && order <= 20, "{entries} {order}");
        }
        // What is over makes room by itself.
        cache.put(digest(5_000), 0, now + 2 * MINUTE, now + MINUTE);
        assert_eq!(cache.len().0, 1);
    }
}
