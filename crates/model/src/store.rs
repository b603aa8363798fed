//! Batches of changes in, snapshots and change sets out. Written by one task.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::{MeshConfig, Object};
use meltemi_names::ObjectKey;

use crate::entry::{Entry, IndexKey};
use crate::index::keys_of;
use crate::mesh::Mesh;

/// One change to one object.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object is now this.
    Upsert(Arc<Object>),
    /// The object is there, and cannot be used; its last good state, if there is one, stays in force.
    Reject {
        /// Which object.
        key: ObjectKey,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// The object is gone. By key: a body that never decoded can be deleted.
    Delete(ObjectKey),
    /// The settings beneath the ConfigMap `istio` are now these.
    Defaults(Arc<MeshConfig>),
}

/// What a batch changed: the entries that differ between two snapshots, no more and no less.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    entries: BTreeSet<Entry>,
}

impl ChangeSet {
    /// The entries, sorted.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The objects among them.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Object(key) => Some(key),
            Entry::Index(_) | Entry::Defaults => None,
        })
    }

    /// Nothing that an answer can depend on differs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what a later batch changed.
    pub fn extend(&mut self, later: ChangeSet) {
        self.entries.extend(later.entries);
    }
}

/// The mesh as it is now. Cloning is cheap and makes an independent store.
#[derive(Clone, Debug, Default)]
pub struct Store {
    mesh: Mesh,
}

impl Store {
    /// An empty mesh with Istio's default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// The present state.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Applies a batch, in order. Equal input changes nothing; the generation rises only when something an answer can depend on,
    /// or the list of refused objects, changed.
    pub fn apply(&mut self, batch: impl IntoIterator<Item = Event>) -> ChangeSet {
        let mut changes = ChangeSet::default();
        let mut refusals_changed = false;
        for event in batch {
            match event {
                Event::Upsert(object) => {
                    refusals_changed |= self.mesh.rejected.remove(&object.meta.key).is_some();
                    self.put(object, &mut changes);
                }
                Event::Reject { key, reason } => {
                    if self.mesh.rejected.get(&key) != Some(&reason) {
                        self.mesh.rejected.insert(key, reason);
                        refusals_changed = true;
                    }
                }
                Event::Delete(key) => {
                    refusals_changed |= self.mesh.rejected.remove(&key).is_some();
                    self.remove(&key, &mut changes);
                }
                Event::Defaults(settings) => {
                    if self.mesh.defaults != settings {
                        self.mesh.defaults = settings;
                        changes.entries.insert(Entry::Defaults);
                    }
                }
            }
        }
        if refusals_changed || !changes.is_empty() {
            self.mesh.generation += 1;
        }
        changes
    }

    fn put(&mut self, object: Arc<Object>, changes: &mut ChangeSet) {
        let key = object.meta.key.clone();
        let before = match self.mesh.objects.get(&key) {
            Some(before) if *before == object => return,
            Some(before) => keys_of(before),
            None => BTreeSet::new(),
        };
        let after = keys_of(&object);
        for gone in before.difference(&after) {
            self.unfile(gone, &key, changes);
        }
        for new in after.difference(&before) {
            self.mesh.index.entry(new.clone()).or_default().insert(key.clone());
            changes.entries.insert(Entry::Index(new.clone()));
        }
        changes.entries.insert(Entry::Object(key.clone()));
        self.mesh.objects.insert(key, object);
    }

    fn remove(&mut self, key: &ObjectKey, changes: &mut ChangeSet) {
        let Some(object) = self.mesh.objects.remove(key) else { return };
        for gone in keys_of(&object) {
            self.unfile(&gone, key, changes);
        }
        changes.entries.insert(Entry::Object(key.clone()));
    }

    fn unfile(&mut self, from: &IndexKey, key: &ObjectKey, changes: &mut ChangeSet) {
        if let Some(filed) = self.mesh.index.get_mut(from) {
            filed.remove(key);
            if filed.is_empty() {
                self.mesh.index.remove(from);
            }
        }
        changes.entries.insert(Entry::Index(from.clone()));
    }
}

#[cfg(test)]
mod tests;
