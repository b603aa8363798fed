//! A refused response: halved and sent again until what is refused stands alone, then set aside for this stream.
//!
//! Envoy's NACK may name no resource, and of a CDS response with one bad cluster it applies nothing; so the culprit is
//! found by asking again. Two resources may also be refused only in each other's absence (a domain that moves between
//! virtual hosts), so what was refused alone gets one more try once others of that response were accepted.
//! Invariant: each refusal either splits a set or ends a resource's tries; it cannot go on for ever.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use meltemi_catalog::{Generation, ResourceName};
use meltemi_names::Version;

use crate::flight::Entry;
use crate::watch::{Due, Watch};

/// A resource that the client refused alone.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    /// The version that it refused; another one is sent again.
    pub(crate) version: Version,
    /// The first generation whose effect the client lacks for it.
    pub(crate) since: Generation,
    /// There will be no other try: it was the second, or nothing else can have been missing.
    pub(crate) last_try: bool,
    /// Something else of the same response was accepted since, which may have been what was missing.
    pub(crate) earned: bool,
    /// The client's words.
    pub(crate) words: Arc<str>,
}

/// Names that must go in responses of their own, in this order, before any other.
#[derive(Debug, Default)]
pub(crate) struct Batches(VecDeque<BTreeSet<ResourceName>>);

impl Batches {
    /// The names of the next response; none when all names may go.
    pub(crate) fn front(&self) -> Option<&BTreeSet<ResourceName>> {
        self.0.front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop_front();
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a refusal came down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// More than one resource: it will be sent in two halves.
    Halved,
    /// One resource: set aside until its version changes.
    Alone,
    /// It carried no resource that could be refused.
    Nothing,
}

impl Watch {
    /// The client refused these. `current` tells the version that the view has now, none if it does not.
    pub(crate) fn refuse(
        &mut self,
        entries: Vec<Entry>,
        words: &str,
        current: impl Fn(&ResourceName) -> Option<Version>,
    ) -> Outcome {
        let (suspects, removals): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.version.is_some());
        if suspects.is_empty() {
            // Removals alone cannot be refused in any way that asking again would mend; they count as applied.
            return Outcome::Nothing;
        }
        // What came along with what was refused was not applied either.
        for entry in removals {
            self.mark(entry.name, entry.due);
        }
        let mut suspects: Vec<(ResourceName, Version, Due)> =
            suspects.into_iter().filter_map(|entry| Some((entry.name, entry.version?, entry.due))).collect();
        // One that is known to be refused explains it; the others go again without it.
        let known = |(name, version, _): &(ResourceName, Version, Due)| {
            self.aside.get(name).is_some_and(|aside| aside.version == *version)
        };
        if suspects.iter().any(known) {
            suspects.retain(|suspect| !known(suspect));
            for (name, _, due) in suspects {
                self.mark(name, due);
            }
            return Outcome::Nothing;
        }
        match suspects.len() {
            1 => {
                for (name, version, due) in suspects {
                    if current(&name) == Some(version) && !self.due.contains_key(&name) {
                        // What went alone from the start missed no other.
                        let last_try = due.again || !due.halved;
                        let aside =
                            Aside { version, since: due.since, last_try, earned: false, words: words.into() };
                        self.aside.insert(name, aside);
                    } else {
                        // It has changed since: another version is another try.
                        self.mark(name, due);
                    }
                }
                Outcome::Alone
            }
            count => {
                let second = suspects.split_off(count / 2);
                for half in [second, suspects] {
                    let mut names = BTreeSet::new();
                    for (name, _, due) in half {
                        names.insert(name.clone());
                        self.mark(name, Due { halved: true, ..due });
                    }
                    self.batches.0.push_front(names);
                }
                Outcome::Halved
            }
        }
    }

    /// The client accepted a response with resources, which may be what a refused one was missing.
    pub(crate) fn accepted(&mut self) {
        for aside in self.aside.values_mut() {
            aside.earned = true;
        }
    }

    /// When all halves were sent and answered: what was refused alone and has earned it, once more, each alone.
    pub(crate) fn try_again(&mut self) {
        if !self.batches.is_empty() || self.open().next().is_some() {
            return;
        }
        let names: Vec<ResourceName> = self
            .aside
            .iter()
            .filter(|(_, aside)| aside.earned && !aside.last_try)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(aside) = self.aside.remove(&name) {
                let mut due = Due::changed(aside.since);
                due.again = true;
                self.mark(name.clone(), due);
                self.batches.0.push_back(BTreeSet::from([name]));
            }
        }
    }
}
