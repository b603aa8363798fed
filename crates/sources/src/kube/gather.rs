//! What the followers tell to batches: when everything was told once, what each change is, what is found. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use meltemi_api::Finding;
use meltemi_model::Event;
use meltemi_names::ObjectKey;

use super::follow::Name;
use super::kinds::{Need, Watched};
use super::read::{Meaning, Read, Written, key};
use super::trouble::{self, Trouble};
use super::watch::{Followed, Heard};
use crate::batch::{Batch, PlaceIndex, Status};

/// Plural and namespace of what a follower follows.
type Id = (&'static str, Option<Arc<str>>);

/// What was told and not handed on yet, and what stands of it.
#[derive(Debug)]
pub(super) struct Gather {
    /// What was not told whole yet.
    waiting: BTreeMap<Id, Need>,
    troubles: BTreeMap<Id, Trouble>,
    findings: BTreeMap<ObjectKey, Vec<Finding>>,
    events: Vec<Event>,
    written: Vec<(ObjectKey, Option<Written>)>,
    /// Findings differ from the last batch's.
    is_changed: bool,
    last: Arc<[Finding]>,
    /// The first batch was handed out.
    is_synced: bool,
    in_force: BTreeSet<ObjectKey>,
    refused: BTreeSet<ObjectKey>,
}

impl Gather {
    /// Waits for these.
    pub(super) fn new<'a>(followed: impl IntoIterator<Item = &'a Followed>) -> Self {
        Self {
            waiting: followed.into_iter().map(|followed| (followed.id(), followed.watched.need)).collect(),
            troubles: BTreeMap::new(),
            findings: BTreeMap::new(),
            events: Vec::new(),
            written: Vec::new(),
            is_changed: false,
            last: Arc::from([]),
            is_synced: false,
            in_force: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Takes what a follower tells. True if what is waited for, or what stands in the way, differs.
    pub(super) fn on(&mut self, heard: Heard<Read>) -> bool {
        match heard {
            Heard::Changes(followed, changes) => {
                for (name, now) in changes {
                    self.change(followed.watched, &name, now);
                }
                false
            }
            Heard::Listed(followed) => self.waiting.remove(&followed.id()).is_some(),
            Heard::Trouble(followed, Some(trouble)) => {
                let differs = self.troubles.get(&followed.id()) != Some(&trouble);
                self.troubles.insert(followed.id(), trouble);
                self.is_changed |= differs;
                differs
            }
            Heard::Trouble(followed, None) => {
                let differs = self.troubles.remove(&followed.id()).is_some();
                self.is_changed |= differs;
                differs
            }
        }
    }

    fn change(&mut self, watched: &Watched, name: &Name, now: Option<Read>) {
        let Some(kind) = watched.kind else { return };
        let key = key(kind, watched, name);
        let Some(Read { meaning, findings, written }) = now else {
            self.in_force.remove(&key);
            self.refused.remove(&key);
            self.is_changed |= self.findings.remove(&key).is_some();
            self.written.push((key.clone(), None));
            self.events.push(Event::Delete(key));
            return;
        };
        if findings.is_empty() {
            self.is_changed |= self.findings.remove(&key).is_some();
        } else if self.findings.get(&key) != Some(&findings) {
            self.findings.insert(key.clone(), findings);
            self.is_changed = true;
        }
        if written.is_some() {
            self.written.push((key.clone(), written));
        }
        match meaning {
            Meaning::Object(object) => {
                self.refused.remove(&key);
                self.in_force.insert(key);
                self.events.push(Event::Upsert(object));
            }
            Meaning::Refused(reason) => {
                self.refused.insert(key.clone());
                self.events.push(Event::Reject { key, reason });
            }
            // What was good stays in force: a Secret that holds no certificate any more, say.
            Meaning::Nothing if self.in_force.contains(&key) => {
                let reason = format!("{key} is none that is read any more");
                self.refused.insert(key.clone());
                self.events.push(Event::Reject { key, reason: reason.into() });
            }
            Meaning::Nothing => {}
        }
    }

    /// The plurals of what was not told whole yet and is waited for. What is only helpful is waited for, too, unless it may not be read at
    /// all.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = &'static str> {
        self.awaited().map(|id| id.0)
    }

    fn awaited(&self) -> impl Iterator<Item = &Id> {
        self.waiting.iter().filter_map(|(id, need)| {
            let trouble = self.troubles.get(id);
            let is_forbidden = trouble.is_some_and(|trouble| trouble.code == trouble::FORBIDDEN);
            (*need == Need::Essential || !is_forbidden).then_some(id)
        })
    }

    /// What stands in the way of the first batch, each thing once. Of what is not waited for the batch itself tells.
    pub(super) fn obstacles(&self) -> Vec<Finding> {
        let awaited = self.awaited().filter_map(|id| Some((id, self.troubles.get(id)?)));
        self.told(awaited)
    }

    /// What stands in the way, each thing once.
    fn troubles(&self) -> Vec<Finding> {
        self.told(self.troubles.iter())
    }

    fn told<'a>(&self, troubles: impl Iterator<Item = (&'a Id, &'a Trouble)>) -> Vec<Finding> {
        // What is of the server itself may reach the kinds in several forms (a connection that breaks, one that is refused): one is told.
        let mut of_all: BTreeMap<&str, &Trouble> = BTreeMap::new();
        let mut grouped: BTreeMap<&Trouble, Vec<&str>> = BTreeMap::new();
        for ((plural, _), trouble) in troubles {
            let told =
                if trouble.is_of_all() { *of_all.entry(trouble.code).or_insert(trouble) } else { trouble };
            let plurals = grouped.entry(told).or_default();
            if plurals.last() != Some(plural) {
                plurals.push(plural);
            }
        }
        grouped.iter().map(|(trouble, plurals)| trouble::finding(trouble, plurals, self.is_synced)).collect()
    }

    /// What changed since the last batch; the first one is complete, and there is none before it is.
    pub(super) fn batch(&mut self, at: SystemTime) -> Option<Batch> {
        if !self.is_synced {
            if self.waits_for().next().is_some() {
                return None;
            }
            self.is_synced = true;
            self.is_changed = true;
        } else if self.events.is_empty() && self.written.is_empty() && !self.is_changed {
            return None;
        }
        if std::mem::take(&mut self.is_changed) {
            let mut all = self.troubles();
            all.extend(self.findings.values().flatten().cloned());
            all.sort();
            self.last = all.into();
        }
        Some(Batch {
            events: std::mem::take(&mut self.events),
            findings: Arc::clone(&self.last),
            places: PlaceIndex::default(),
            written: std::mem::take(&mut self.written),
            status: Status {
                objects: self.in_force.len(),
                rejected: self.refused.len(),
                at: Some(at),
                ..Status::default()
            },
        })
    }
}

#[cfg(test)]
mod tests;
