//! What is believed to exist of one kind, from lists and watches that may lie: pure.
//!
//! A watch may be cut, repeat itself, or know nothing of a gap (410); a list may come from a server that is behind. Must not know:
//! requests, time that passes, what an object says.   Start at [`Follow::next`] (what to ask) and the `on_` functions (what was answered).
//! Invariants: an object is gone only if a watch said so after the state that is known of it, or if a whole list, not older than anything
//! seen, is without it; an older state never replaces a newer one. Revisions of one kind are ordered numbers (Kubernetes: KEP-5504); where
//! one is no number, nothing is compared and the answer is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For so long lists that are older than what was seen are not believed. Then they are: a cluster whose etcd was restored from a copy
/// has gone back for good.
pub(super) const STALE_LIMIT: Duration = Duration::from_secs(60);

/// An object within its kind: namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

/// `resourceVersion` as a number; none for what is no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Revision(Option<u64>);

impl Revision {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.parse().ok())
    }

    /// Whether this is known to be before `other`.
    fn is_before(self, other: Self) -> bool {
        matches!((self.0, other.0), (Some(this), Some(other)) if this < other)
    }

    fn later(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }
}

/// What to ask the server next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A page of the list: the first, or the one that this token continues.
    List(Option<String>),
    /// What changed after that resource version.
    Watch(String),
}

/// One object differs from what was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<T> {
    pub(super) name: Name,
    /// What it is now; none: it is gone.
    pub(super) now: Option<T>,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// The list's own resource version, the same on each of its pages.
    pub(super) version: String,
    pub(super) continue_token: Option<String>,
    pub(super) items: Vec<(Name, Revision, T)>,
}

/// What became of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listed<T> {
    /// These changed; more pages follow.
    Part(Vec<Change<T>>),
    /// These changed, and the list is complete.
    Whole(Vec<Change<T>>),
    /// It is older than what was seen: nothing of it is used, and the list is asked for again.
    Stale,
}

#[derive(Debug)]
enum State {
    Listing { token: Option<String>, seen: BTreeSet<Name> },
    Watching { from: String },
}

/// What is believed of one kind.
#[derive(Debug)]
pub(super) struct Follow {
    state: State,
    known: BTreeMap<Name, Revision>,
    newest: Revision,
    /// Since when lists come that are older than what was seen.
    stale_since: Option<Instant>,
    listed: bool,
}

impl Follow {
    /// Nothing is known.
    pub(super) fn new() -> Self {
        Self {
            state: State::Listing { token: None, seen: BTreeSet::new() },
            known: BTreeMap::new(),
            newest: Revision::default(),
            stale_since: None,
            listed: false,
        }
    }

    /// What to ask.
    pub(super) fn next(&self) -> Next {
        match &self.state {
            State::Listing { token, .. } => Next::List(token.clone()),
            State::Watching { from } => Next::Watch(from.clone()),
        }
    }

    /// A list was complete once.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// A page came.
    pub(super) fn on_page<T>(&mut self, page: Page<T>, now: Instant) -> Listed<T> {
        let Page { version, continue_token, items } = page;
        let revision = Revision::parse(&version);
        if revision.is_before(self.newest) {
            let since = *self.stale_since.get_or_insert(now);
            self.relist();
            if now.saturating_duration_since(since) < STALE_LIMIT {
                return Listed::Stale;
            }
            // The past is the present now: what was seen no longer says what is older.
            self.newest = Revision::default();
            for known in self.known.values_mut() {
                *known = Revision::default();
            }
        }
        let State::Listing { token, seen } = &mut self.state else {
            // Not asked for: a watch is under way.
            return Listed::Part(Vec::new());
        };
        let mut changes = Vec::new();
        for (name, revision, object) in items {
            seen.insert(name.clone());
            let is_same = matches!((self.known.get(&name), revision), (Some(known), now) if *known == now && now.0.is_some());
            self.known.insert(name.clone(), revision);
            if !is_same {
                changes.push(Change { name, now: Some(object) });
            }
        }
        if continue_token.is_some() {
            *token = continue_token;
            return Listed::Part(changes);
        }
        let seen = std::mem::take(seen);
        let gone: Vec<Name> = self.known.keys().filter(|name| !seen.contains(name)).cloned().collect();
        for name in gone {
            self.known.remove(&name);
            changes.push(Change { name, now: None });
        }
        self.newest = self.newest.later(revision);
        self.stale_since = None;
        self.listed = true;
        self.state = State::Watching { from: version };
        Listed::Whole(changes)
    }

    /// A watch says that an object came or changed; none if that is known already.
    pub(super) fn on_applied<T>(&mut self, name: Name, version: &str, object: T) -> Option<Change<T>> {
        let revision = Revision::parse(version);
        if self.is_repeated(revision) {
            return None;
        }
        self.advance(version);
        self.known.insert(name.clone(), revision);
        Some(Change { name, now: Some(object) })
    }

    /// A watch says that an object is gone; none if that is known already.
    pub(super) fn on_deleted<T>(&mut self, name: Name, version: &str) -> Option<Change<T>> {
        if self.is_repeated(Revision::parse(version)) {
            return None;
        }
        self.advance(version);
        self.known.remove(&name)?;
        Some(Change { name, now: None })
    }

    /// A watch says how far it is.
    pub(super) fn on_bookmark(&mut self, version: &str) {
        self.advance(version);
    }

    /// The watch, or the list, cannot be continued (410): what happened meanwhile is told by a list.
    pub(super) fn relist(&mut self) {
        self.state = State::Listing { token: None, seen: BTreeSet::new() };
    }

    /// The kind itself does not exist: so do none of its objects.
    pub(super) fn on_absent<T>(&mut self) -> Vec<Change<T>> {
        self.relist();
        self.listed = true;
        // What comes with a new definition may be of another count.
        self.newest = Revision::default();
        std::mem::take(&mut self.known).into_keys().map(|name| Change { name, now: None }).collect()
    }

    /// A watch tells its changes in the order of their revisions: one that is not after all that was seen was told before.
    fn is_repeated(&self, revision: Revision) -> bool {
        matches!((revision.0, self.newest.0), (Some(this), Some(newest)) if this <= newest)
    }

    fn advance(&mut self, version: &str) {
        let revision = Revision::parse(version);
        if let State::Watching { from } = &mut self.state
            && !revision.is_before(Revision::parse(from))
        {
            version.clone_into(from);
        }
        self.newest = self.newest.later(revision);
    }
}

#[cfg(test)]
mod tests;
