//! What work was done: counted, never timed.

use std::collections::BTreeMap;

/// Work done since the last [`crate::Memo::take_cost`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How many answers of each kind of question were made.
    pub made: BTreeMap<&'static str, usize>,
    /// How many of those came out different (or new).
    pub changed: BTreeMap<&'static str, usize>,
    /// How many entries of the world were read for that.
    pub entries_read: usize,
}

impl Cost {
    /// How many answers of that kind were made.
    pub fn made(&self, name: &str) -> usize {
        self.made.get(name).copied().unwrap_or_default()
    }

    /// How many answers of that kind changed.
    pub fn changed(&self, name: &str) -> usize {
        self.changed.get(name).copied().unwrap_or_default()
    }
}
