//! One response on its way: what it carried, until the client answers.
//!
//! Knows: names, versions, nonces, layers. Must not know: what follows from an answer.
//! Invariant: what a flight keeps is small beside what it carried: a list is of what changed, and all there is is told by the layers.

use std::sync::Arc;
use std::time::Instant;

use meltemi_catalog::{Generation, Resource, ResourceName, View};
use meltemi_names::{TypeUrl, Version};

use crate::watch::Due;

/// One name in a response.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: ResourceName,
    /// What was sent; none for a removal.
    pub(crate) version: Option<Version>,
    pub(crate) due: Due,
    /// State of the world, complete types: what was put into the list; none for a removal.
    pub(crate) listed: Option<Arc<Resource>>,
}

/// What a response carried.
#[derive(Debug)]
pub(crate) enum Sent {
    /// All that the view had of its type, to a client that had nothing: 7,000 names and versions for each of a thousand streams would
    /// be half a GB while a crowd connects.
    Whole(TypeUrl, View),
    /// These, sorted by name.
    Listed(Vec<Entry>),
}

impl Sent {
    /// Since when the client lacks that name's state, if it was sent.
    pub(crate) fn since(&self, name: &str) -> Option<Generation> {
        match self {
            Self::Whole(type_url, view) => view.find(*type_url, name).map(|_| Due::first().since),
            Self::Listed(entries) => {
                let entry = entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
                Some(entries[entry].due.since)
            }
        }
    }

    /// Some name of it.
    pub(crate) fn any(&self) -> Option<&ResourceName> {
        match self {
            Self::Whole(type_url, view) => view.all(*type_url).next().map(|live| live.resource.name()),
            Self::Listed(entries) => entries.first().map(|entry| &entry.name),
        }
    }

    /// Whether it carried resources, and not only removals.
    pub(crate) fn has_resources(&self) -> bool {
        match self {
            Self::Whole(type_url, view) => view.count(*type_url) > 0,
            Self::Listed(entries) => entries.iter().any(|entry| entry.version.is_some()),
        }
    }

    /// The names whose resources it carried, and since when the client lacks each.
    pub(crate) fn resources(&self) -> Box<dyn Iterator<Item = (&ResourceName, Generation)> + '_> {
        match self {
            Self::Whole(type_url, view) => {
                Box::new(view.all(*type_url).map(|live| (live.resource.name(), Due::first().since)))
            }
            Self::Listed(entries) => {
                let put = entries.iter().filter(|entry| entry.version.is_some());
                Box::new(put.map(|entry| (&entry.name, entry.due.since)))
            }
        }
    }

    /// The entries that were put into a list of the state of the world; of all there is none is, since such lists are always said.
    pub(crate) fn listed(&self) -> &[Entry] {
        match self {
            Self::Whole(..) => &[],
            Self::Listed(entries) => entries,
        }
    }

    /// All of it, name by name.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        match self {
            Self::Whole(type_url, view) => {
                let entry = |resource: &Arc<Resource>| Entry {
                    name: resource.name().clone(),
                    version: Some(resource.version()),
                    due: Due::first(),
                    listed: None,
                };
                let mut entries: Vec<Entry> = view.all(type_url).map(|live| entry(&live.resource)).collect();
                entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                entries
            }
            Self::Listed(entries) => entries,
        }
    }
}

/// A response that the client has not answered.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) nonce: u64,
    pub(crate) sent: Instant,
    /// The wait for it has ended; the answer may still come.
    pub(crate) overdue: bool,
    pub(crate) carried: Sent,
    /// The first generation whose effects it brings.
    pub(crate) since: Option<Generation>,
    pub(crate) generation: Generation,
}

impl Flight {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.carried.since(name).is_some()
    }

    /// Waits no longer. From now on it keeps no layers alive: the answer may come in days.
    pub(crate) fn give_up(&mut self) {
        self.overdue = true;
        let carried = std::mem::replace(&mut self.carried, Sent::Listed(Vec::new()));
        self.carried = Sent::Listed(carried.into_entries());
    }
}
