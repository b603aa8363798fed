//! A set of resources that many clients share, with the generation of each change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imbl::OrdMap;
use meltemi_names::TypeUrl;

use crate::derived::{Derived, Run, Summary};
use crate::form::Form;
use crate::resource::{Resource, ResourceName};

/// Counts the batches of changes that were published; the same number means the same batch in every layer. 0 is before
/// the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// Tells one layer's history from another's: generations of two layers with different ids cannot be compared for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(u64);

impl LayerId {
    fn fresh() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The one given out last: every layer that begins from now on has a greater one.
    pub fn latest() -> Self {
        Self(NEXT.load(Ordering::Relaxed) - 1)
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A resource in force, and since when.
#[derive(Clone, Debug)]
pub struct Live {
    /// The generation of its last change.
    pub generation: Generation,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// What happened to a name.
#[derive(Clone, Debug)]
pub enum Change {
    /// Added or changed; the resource is as it is now.
    Put(Arc<Resource>),
    /// Removed; the tombstone keeps what it was.
    Removed(Arc<Resource>),
}

impl Change {
    /// The resource that was put, or that was removed.
    pub fn resource(&self) -> &Arc<Resource> {
        match self {
            Self::Put(resource) | Self::Removed(resource) => resource,
        }
    }
}

/// The resources of one type in one layer.
#[derive(Clone, Debug, Default)]
struct Collection {
    live: OrdMap<ResourceName, Live>,
    /// Every name once, at the generation of its last change; live names and tombstones alike.
    changes: OrdMap<(Generation, ResourceName), Change>,
    tombstones: OrdMap<ResourceName, Generation>,
    changed: Generation,
    derived: Derived,
}

impl Collection {
    fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.live.values().map(|live| &live.resource)
    }
}

/// An immutable set of resources shared by many clients. Its successor is made by [`Layer::edit`] and shares all that did
/// not change.
#[derive(Clone, Debug)]
pub struct Layer {
    id: LayerId,
    generation: Generation,
    /// Removals up to this generation were forgotten; who is behind it must compare instead of asking for changes.
    horizon: Generation,
    collections: [Collection; TypeUrl::ALL.len()],
}

impl Layer {
    /// An empty layer, at generation 0.
    pub fn empty() -> Self {
        Self {
            id: LayerId::fresh(),
            generation: Generation(0),
            horizon: Generation(0),
            collections: Default::default(),
        }
    }

    /// Starts the successor of this layer, at `generation`, which must be later.
    pub fn edit(&self, generation: Generation) -> LayerBuilder {
        debug_assert!(generation > self.generation, "a successor is later");
        let mut layer = self.clone();
        layer.generation = generation;
        LayerBuilder { layer, changed: false }
    }

    /// Which history this is.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// The batch that made this state.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// A client whose state is of an earlier generation than this cannot be told what was removed since.
    pub fn horizon(&self) -> Generation {
        self.horizon
    }

    /// The generation of the last change to any resource of that type.
    pub fn changed(&self, type_url: TypeUrl) -> Generation {
        self.collection(type_url).changed
    }

    /// The resource of that name.
    pub fn find(&self, type_url: TypeUrl, name: &str) -> Option<&Live> {
        self.collection(type_url).live.get(name)
    }

    /// The generation of the last change to that name, its removal too; none if there never was one, or it is forgotten.
    pub fn touched(&self, type_url: TypeUrl, name: &str) -> Option<Generation> {
        let collection = self.collection(type_url);
        let removed = || collection.tombstones.get(name).copied();
        collection.live.get(name).map(|live| live.generation).or_else(removed)
    }

    /// All resources of a type, by name.
    pub fn all(&self, type_url: TypeUrl) -> impl Iterator<Item = &Live> {
        self.collection(type_url).live.values()
    }

    /// How many resources of a type.
    pub fn count(&self, type_url: TypeUrl) -> usize {
        self.collection(type_url).live.len()
    }

    /// The sums of all resources of a type.
    pub fn summary(&self, type_url: TypeUrl) -> &Summary {
        const EMPTY: &Summary = &Summary::EMPTY;
        let collection = self.collection(type_url);
        if collection.live.is_empty() { EMPTY } else { collection.derived.summary(collection.resources()) }
    }

    /// All resources of a type as they follow each other in a response.
    pub fn run(&self, type_url: TypeUrl, form: Form) -> Arc<Run> {
        let collection = self.collection(type_url);
        collection.derived.run(form, collection.resources())
    }

    /// What changed after `since`, each name once with its last change, oldest first. Complete only if `since` is not
    /// before [`Layer::horizon`].
    pub fn changes_since(
        &self,
        type_url: TypeUrl,
        since: Generation,
    ) -> impl Iterator<Item = (Generation, &Change)> {
        let start = (Generation(since.0.saturating_add(1)), ResourceName::from(""));
        self.collection(type_url)
            .changes
            .range(start..)
            .map(|((generation, _), change)| (*generation, change))
    }

    fn collection(&self, type_url: TypeUrl) -> &Collection {
        &self.collections[type_url as usize]
    }
}

/// Makes the successor of a layer.
#[derive(Debug)]
pub struct LayerBuilder {
    layer: Layer,
    changed: bool,
}

impl LayerBuilder {
    /// Adds or replaces a resource; an equal one is no change. True if it was one.
    pub fn put(&mut self, resource: Arc<Resource>) -> bool {
        let generation = self.layer.generation;
        let collection = &mut self.layer.collections[resource.type_url() as usize];
        let name = resource.name().clone();
        match collection.live.get(&name) {
            Some(live) if *live.resource == *resource => return false,
            Some(live) => {
                collection.changes.remove(&(live.generation, name.clone()));
            }
            None => {
                if let Some(buried) = collection.tombstones.remove(&name) {
                    collection.changes.remove(&(buried, name.clone()));
                }
            }
        }
        collection.changes.insert((generation, name.clone()), Change::Put(Arc::clone(&resource)));
        collection.live.insert(name, Live { generation, resource });
        collection.changed = generation;
        collection.derived = Derived::default();
        self.changed = true;
        true
    }

    /// Removes a resource and leaves a tombstone; true if it was there.
    pub fn remove(&mut self, type_url: TypeUrl, name: &str) -> bool {
        let generation = self.layer.generation;
        let collection = &mut self.layer.collections[type_url as usize];
        let Some((name, live)) = collection.live.remove_with_key(name) else { return false };
        collection.changes.remove(&(live.generation, name.clone()));
        collection.changes.insert((generation, name.clone()), Change::Removed(live.resource));
        collection.tombstones.insert(name, generation);
        collection.changed = generation;
        collection.derived = Derived::default();
        self.changed = true;
        true
    }

    /// Forgets the oldest tombstones of each type beyond `keep`.
    pub fn bury(&mut self, keep: usize) {
        for collection in &mut self.layer.collections {
            if collection.tombstones.len() <= keep {
                continue;
            }
            let mut buried: Vec<(Generation, ResourceName)> =
                collection.tombstones.iter().map(|(name, generation)| (*generation, name.clone())).collect();
            buried.sort_unstable();
            buried.truncate(collection.tombstones.len() - keep);
            for (generation, name) in buried {
                self.layer.horizon = self.layer.horizon.max(generation);
                collection.tombstones.remove(&name);
                collection.changes.remove(&(generation, name));
            }
        }
    }

    /// The batch that makes this successor.
    pub fn generation(&self) -> Generation {
        self.layer.generation
    }

    /// The resource of that name as it stands in this successor.
    pub fn find(&self, type_url: TypeUrl, name: &str) -> Option<&Live> {
        self.layer.find(type_url, name)
    }

    /// The finished layer; none if nothing changed.
    pub fn finish(self) -> Option<Layer> {
        self.changed.then_some(self.layer)
    }
}
