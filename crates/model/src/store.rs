//! Batches of changes in, snapshots and change sets out. Written by one task.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::{MeshConfig, Object};
use meltemi_names::{Kind, Namespace, ObjectKey};

use crate::discovery::{Aside, Filters, is_settings, of_namespace};
use crate::entry::{Entry, IndexKey};
use crate::filed::Filed;
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
    filters: Filters,
    aside: Aside,
}

impl Store {
    /// An empty mesh with Istio's default settings, of a control plane without a revision.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Store::new`], of a control plane of that revision: configuration whose label `istio.io/rev` names another one does not
    /// count. With the empty revision all does.
    pub fn of_revision(revision: &str) -> Self {
        Self { filters: Filters::of_revision(revision), ..Self::default() }
    }

    /// The present state.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// What is there and does not count: objects of namespaces that the mesh's `discoverySelectors` leave out, and configuration for
    /// another revision.
    pub fn set_aside(&self) -> impl Iterator<Item = &ObjectKey> {
        self.aside.objects.keys()
    }

    /// Whether that object is there and does not count.
    pub fn is_set_aside(&self, key: &ObjectKey) -> bool {
        self.aside.objects.contains_key(key)
    }

    /// The namespaces that there are and that count, sorted.
    pub fn selected_namespaces(&self) -> impl Iterator<Item = Namespace> {
        let names = self.mesh.objects.keys().filter(|key| key.kind == Kind::Namespace);
        let names = names.map(|key| Namespace::from(key.name.as_str()));
        names.filter(|name| self.filters.selects_namespace(name, &self.mesh))
    }

    /// Applies a batch, in order. Equal input changes nothing; the generation rises only when something an answer can depend on,
    /// or the list of refused objects, changed.
    pub fn apply(&mut self, batch: impl IntoIterator<Item = Event>) -> ChangeSet {
        let mut changes = ChangeSet::default();
        let mut refusals_changed = false;
        for event in batch {
            let (key, settings) = match &event {
                Event::Upsert(object) => (Some(object.meta.key.clone()), is_settings(&object.meta.key)),
                Event::Delete(key) => (Some(key.clone()), is_settings(key)),
                Event::Reject { .. } => (None, false),
                Event::Defaults(_) => (None, true),
            };
            let namespace = key
                .filter(|key| key.kind == Kind::Namespace)
                .map(|key| Namespace::from(key.name.as_str()))
                .map(|name| (self.filters.selects_namespace(&name, &self.mesh), name));
            refusals_changed |= self.take(event, &mut changes);
            if settings && self.filters.follow(&self.mesh) {
                refusals_changed |= self.sort_all(&mut changes);
            }
            if let Some((before, name)) = namespace
                && before != self.filters.selects_namespace(&name, &self.mesh)
            {
                refusals_changed |= self.sort_namespace(&name, &mut changes);
            }
        }
        if refusals_changed || !changes.is_empty() {
            self.mesh.generation += 1;
        }
        changes
    }

    /// Applies one event; true if the list of refused objects changed.
    fn take(&mut self, event: Event, changes: &mut ChangeSet) -> bool {
        match event {
            Event::Upsert(object) => {
                let key = &object.meta.key;
                let was_refused = self.forgive(key);
                if self.filters.admits(&object, &self.mesh) {
                    self.aside.objects.remove(key);
                    self.put(object, changes);
                } else {
                    self.remove(key, changes);
                    self.aside.objects.insert(key.clone(), object);
                }
                was_refused
            }
            Event::Reject { key, reason } => {
                let counts = self.filters.selects(&key, &self.mesh) && !self.aside.objects.contains_key(&key);
                let rejected = if counts { &mut self.mesh.rejected } else { &mut self.aside.rejected };
                let differs = rejected.get(&key) != Some(&reason);
                rejected.insert(key, reason);
                counts && differs
            }
            Event::Delete(key) => {
                let was_refused = self.forgive(&key);
                self.aside.objects.remove(&key);
                self.remove(&key, changes);
                was_refused
            }
            Event::Defaults(settings) => {
                if self.mesh.defaults != settings {
                    self.mesh.defaults = settings;
                    changes.entries.insert(Entry::Defaults);
                }
                false
            }
        }
    }

    /// An object is no longer refused; true if the list of those that count changed.
    fn forgive(&mut self, key: &ObjectKey) -> bool {
        self.aside.rejected.remove(key);
        self.mesh.rejected.remove(key).is_some()
    }

    /// Sorts all objects of a namespace into those that count and those that do not; true if the list of refused objects changed.
    /// O(objects of the namespace).
    fn sort_namespace(&mut self, namespace: &Namespace, changes: &mut ChangeSet) -> bool {
        let objects = of_namespace(&self.mesh.objects, namespace);
        let aside = of_namespace(&self.aside.objects, namespace);
        let rejected = of_namespace(&self.mesh.rejected, namespace);
        let rejected_aside = of_namespace(&self.aside.rejected, namespace);
        self.sort(objects, aside, changes);
        self.sort_refusals(rejected, rejected_aside)
    }

    /// The same of every namespace, for other selectors. O(objects).
    fn sort_all(&mut self, changes: &mut ChangeSet) -> bool {
        let objects = self.mesh.objects.keys().cloned().collect();
        let aside = self.aside.objects.keys().cloned().collect();
        let rejected = self.mesh.rejected.keys().cloned().collect();
        let rejected_aside = self.aside.rejected.keys().cloned().collect();
        self.sort(objects, aside, changes);
        self.sort_refusals(rejected, rejected_aside)
    }

    fn sort(&mut self, objects: Vec<ObjectKey>, aside: Vec<ObjectKey>, changes: &mut ChangeSet) {
        for key in objects {
            if let Some(object) = self.mesh.objects.get(&key).cloned()
                && !self.filters.admits(&object, &self.mesh)
            {
                self.remove(&key, changes);
                self.aside.objects.insert(key, object);
            }
        }
        for key in aside {
            if let Some(object) = self.aside.objects.get(&key).cloned()
                && self.filters.admits(&object, &self.mesh)
            {
                self.aside.objects.remove(&key);
                self.put(object, changes);
            }
        }
    }

    fn sort_refusals(&mut self, counted: Vec<ObjectKey>, aside: Vec<ObjectKey>) -> bool {
        let mut changed = false;
        for key in counted {
            if !self.filters.selects(&key, &self.mesh)
                && let Some(reason) = self.mesh.rejected.remove(&key)
            {
                self.aside.rejected.insert(key, reason);
                changed = true;
            }
        }
        for key in aside {
            if self.filters.selects(&key, &self.mesh)
                && !self.aside.objects.contains_key(&key)
                && let Some(reason) = self.aside.rejected.remove(&key)
            {
                self.mesh.rejected.insert(key, reason);
                changed = true;
            }
        }
        changed
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
            match self.mesh.index.get_mut(new) {
                Some(filed) => filed.insert(&key),
                None => _ = self.mesh.index.insert(new.clone(), Filed::One(key.clone())),
            }
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
        match self.mesh.index.get(from).map(|filed| filed.without(key)) {
            Some(Some(rest)) => _ = self.mesh.index.insert(from.clone(), rest),
            Some(None) => _ = self.mesh.index.remove(from),
            None => {}
        }
        changes.entries.insert(Entry::Index(from.clone()));
    }
}

#[cfg(test)]
mod tests;
