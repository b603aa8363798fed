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
use super::watch::Heard;
use crate::batch::{Batch, PlaceIndex, Status};

/// What was told and not handed on yet, and what stands of it.
#[derive(Debug)]
pub(super) struct Gather {
    /// Kinds that were not told whole yet, by plural.
    waiting: BTreeMap<&'static str, Need>,
    troubles: BTreeMap<&'static str, Trouble>,
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
    /// Waits for those kinds.
    pub(super) fn new(watched: &[Watched]) -> Self {
        Self {
            waiting: watched.iter().map(|watched| (watched.plural, watched.need)).collect(),
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
            Heard::Changes(watched, changes) => {
                for (name, now) in changes {
                    self.change(watched, &name, now);
                }
                false
            }
            Heard::Listed(watched) => self.waiting.remove(watched.plural).is_some(),
            Heard::Trouble(watched, Some(trouble)) => {
                let differs = self.troubles.get(watched.plural) != Some(&trouble);
                self.troubles.insert(watched.plural, trouble);
                self.is_changed |= differs;
                differs
            }
            Heard::Trouble(watched, None) => {
                let differs = self.troubles.remove(watched.plural).is_some();
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
            Meaning::Nothing => {}
        }
    }

    /// Kinds that were not told whole yet and are waited for, with what stands in their way. One that is only helpful is waited for, too,
    /// unless it may not be read at all.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = (&'static str, Option<&Trouble>)> {
        self.waiting.iter().filter_map(|(plural, need)| {
            let trouble = self.troubles.get(plural);
            let is_forbidden = trouble.is_some_and(|trouble| trouble.code == trouble::FORBIDDEN);
            (*need == Need::Essential || !is_forbidden).then_some((*plural, trouble))
        })
    }

    /// What stands in the way, each thing once.
    pub(super) fn troubles(&self) -> Vec<Finding> {
        // What is of the server itself may reach the kinds in several forms (a connection that breaks, one that is refused): one is told.
        let mut of_all: BTreeMap<&str, &Trouble> = BTreeMap::new();
        let mut grouped: BTreeMap<&Trouble, Vec<&str>> = BTreeMap::new();
        for (plural, trouble) in &self.troubles {
            let told =
                if trouble.is_of_all() { *of_all.entry(trouble.code).or_insert(trouble) } else { trouble };
            grouped.entry(told).or_default().push(plural);
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
