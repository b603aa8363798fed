//! Changes that are tried before they go into force.
//!
//! Invariant: what is tried is worked out once; it goes into force as it was tried.

use meltemi_model::{ChangeSet, Event, Mesh, Store};

/// The mesh as it would be: [`crate::Engine::attempt`] begins one, [`crate::Engine::adopt`] puts it into force. Shares with the mesh
/// in force all that is not changed.
#[derive(Clone, Debug)]
pub struct Trial {
    pub(crate) store: Store,
    pub(crate) changes: ChangeSet,
}

impl Trial {
    pub(crate) fn of(store: &Store) -> Self {
        Self { store: store.clone(), changes: ChangeSet::default() }
    }

    /// These, too.
    pub fn take(&mut self, batch: impl IntoIterator<Item = Event>) {
        self.changes.extend(self.store.apply(batch));
    }

    /// The mesh with all that was taken.
    pub fn mesh(&self) -> &Mesh {
        self.store.mesh()
    }

    /// What differs from the mesh in force; an entry that changed and was changed back is among it.
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }
}
