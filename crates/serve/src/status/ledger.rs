//! What the mesh's task notes for the status writer, and the writer reads: the API server's side of each object, and its findings.
//!
//! Invariant: noting costs what changed; what is noted and not yet read is a set of keys, never more than there are objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meltemi_api::Finding;
use meltemi_names::ObjectKey;
use meltemi_sources::kube::Written;
use tokio::sync::Notify;

/// The notes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Objects for another revision are none of ours; empty: all are.
    revision: String,
    notes: Mutex<Notes>,
    noted: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    written: BTreeMap<ObjectKey, Written>,
    findings: BTreeMap<ObjectKey, Arc<[Finding]>>,
    stirred: BTreeSet<ObjectKey>,
}

impl Ledger {
    /// Of a control plane of that revision.
    pub(crate) fn of_revision(revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..Self::default() }
    }

    /// The API server has this beside the spec of these objects now.
    pub(crate) fn wrote(&self, batch: Vec<(ObjectKey, Option<Written>)>) {
        if batch.is_empty() {
            return;
        }
        let mut notes = self.notes();
        for (key, written) in batch {
            match written.filter(|written| self.is_ours(written)) {
                Some(written) => {
                    notes.stirred.insert(key.clone());
                    notes.written.insert(key, written);
                }
                None => {
                    notes.written.remove(&key);
                    notes.stirred.remove(&key);
                }
            }
        }
        drop(notes);
        self.noted.notify_one();
    }

    /// All findings are these now.
    pub(crate) fn found(&self, all: &BTreeSet<Finding>) {
        let mut now: BTreeMap<ObjectKey, Vec<Finding>> = BTreeMap::new();
        for finding in all {
            if let Some(key) = &finding.key {
                now.entry(key.clone()).or_default().push(finding.clone());
            }
        }
        let mut notes = self.notes();
        let before = std::mem::take(&mut notes.findings);
        let mut next = BTreeMap::new();
        let mut stirred: BTreeSet<ObjectKey> =
            before.keys().filter(|key| !now.contains_key(key)).cloned().collect();
        for (key, findings) in now {
            match before.get(&key) {
                Some(same) if **same == *findings => {
                    next.insert(key, Arc::clone(same));
                }
                _ => {
                    stirred.insert(key.clone());
                    next.insert(key, findings.into());
                }
            }
        }
        notes.findings = next;
        let known = stirred.into_iter().filter(|key| notes.written.contains_key(key)).collect::<Vec<_>>();
        notes.stirred.extend(known);
        drop(notes);
        self.noted.notify_one();
    }

    /// Waits until something was noted.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// The objects about which something was noted since this was last asked.
    pub(crate) fn take(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.notes().stirred)
    }

    /// Every object with a status of ours.
    pub(crate) fn all(&self) -> Vec<ObjectKey> {
        self.notes().written.keys().cloned().collect()
    }

    /// What is noted of an object; none if the API server has it not.
    pub(crate) fn find(&self, key: &ObjectKey) -> Option<(Written, Arc<[Finding]>)> {
        let notes = self.notes();
        let findings = notes.findings.get(key).cloned().unwrap_or_else(|| Arc::from([]));
        notes.written.get(key).map(|written| (written.clone(), findings))
    }

    fn is_ours(&self, written: &Written) -> bool {
        self.revision.is_empty() || written.revision.is_empty() || *written.revision == *self.revision
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use meltemi_api::Finding;
    use meltemi_names::{Kind, ObjectKey};
    use meltemi_sources::kube::{Resource, Written};

    use super::Ledger;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::VirtualService, "shop", name)
    }

    fn written(version: &str) -> Written {
        Written {
            resource: Resource { group: "networking.istio.io", version: "v1", plural: "virtualservices" },
            resource_version: version.into(),
            revision: "".into(),
            generation: 1,
            status: Arc::default(),
        }
    }

    #[test]
    fn only_objects_whose_findings_differ_are_stirred() {
        let ledger = Ledger::default();
        ledger.wrote(vec![(key("a"), Some(written("1"))), (key("b"), Some(written("2")))]);
        assert_eq!(ledger.take().len(), 2);
        let finding = |name: &str| Finding::warning("host-not-found", "no such host").about(&key(name));
        ledger.found(&BTreeSet::from([finding("a"), finding("b"), finding("unknown")]));
        assert_eq!(ledger.take(), BTreeSet::from([key("a"), key("b")]));
        ledger.found(&BTreeSet::from([finding("a")]));
        assert_eq!(ledger.take(), BTreeSet::from([key("b")]), "one whose finding went");
        assert_eq!(ledger.find(&key("a")).unwrap().1.len(), 1);
        ledger.wrote(vec![(key("a"), None)]);
        assert!(ledger.take().is_empty());
        assert!(ledger.find(&key("a")).is_none());
    }
}
