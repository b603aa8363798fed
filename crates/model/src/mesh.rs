//! One immutable state of the mesh.

use std::sync::Arc;

use imbl::OrdMap;
use meltemi_api::{MeshConfig, Object, Spec};
use meltemi_memo::World;
use meltemi_names::{Kind, ObjectKey};

use crate::entry::{Entry, IndexKey};
use crate::filed::Filed;

/// An immutable state of the mesh: the objects in force, those refused, and the indexes over the former. Built on persistent
/// maps: the next state shares all that did not change.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    pub(crate) generation: u64,
    pub(crate) objects: OrdMap<ObjectKey, Arc<Object>>,
    pub(crate) rejected: OrdMap<ObjectKey, Arc<str>>,
    pub(crate) index: OrdMap<IndexKey, Filed>,
    pub(crate) defaults: Arc<MeshConfig>,
}

impl World for Mesh {
    type Entry = Entry;
}

impl Mesh {
    /// How many batches of changes made this state; 0 is the empty mesh.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every object in force, by key. For lists that people ask for; what is translated is read through [`crate::read`].
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// The object in force under `key`. As [`Mesh::objects`], not for answers that are remembered.
    pub fn object(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// The settings in force. As [`Mesh::objects`], not for answers that are remembered (those ask
    /// [`crate::settings::settings`]).
    pub fn settings(&self) -> Arc<MeshConfig> {
        let object = self.filed(&IndexKey::Settings).next().and_then(|key| self.objects.get(key));
        match object.map(|object| &object.spec) {
            Some(Spec::ConfigMap(config)) => Arc::clone(&config.mesh),
            _ => Arc::clone(&self.defaults),
        }
    }

    /// The objects of a kind in a namespace, by name. As [`Mesh::objects`], not for answers that are remembered.
    pub fn within(&self, kind: Kind, namespace: &str) -> impl Iterator<Item = &Arc<Object>> {
        let first = ObjectKey::new(kind, namespace, "");
        let (kind, namespace) = (first.kind, first.namespace.clone());
        let all = self.objects.range(first..).map(|(_, object)| object);
        all.take_while(move |object| object.meta.key.kind == kind && object.meta.key.namespace == namespace)
    }

    /// Objects whose present text was refused, with the reason; the last good one, if any, is among [`Mesh::objects`].
    pub fn rejected(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<str>)> {
        self.rejected.iter()
    }

    pub(crate) fn filed(&self, key: &IndexKey) -> impl Iterator<Item = &ObjectKey> {
        self.index.get(key).into_iter().flatten()
    }
}
