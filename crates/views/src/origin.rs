//! Which resources of a layer were made from an object: an index that follows the layer, and what a step of it took away.
//!
//! Knows: what `Resource::origin` says. Must not know: who is served from the layer, or what became of it there.
//! Invariant: [`Origins::of`] is what a look through the whole layer would find; following a step costs the size of the step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use meltemi_catalog::{Change, Layer, Resource, ResourceName};
use meltemi_names::{Kind, ObjectKey, TypeUrl};

/// A resource by type and name.
pub type Named = (TypeUrl, ResourceName);

/// Whether resources say that they were made from objects of that kind. What is made from others is known only from what changed when
/// they did.
pub fn is_traced(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Secret
            | Kind::Service
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::Gateway
            | Kind::ServiceEntry
            | Kind::EnvoyFilter
            | Kind::PeerAuthentication
    )
}

/// Whether objects of that kind decide which layers a proxy is served from: what came or went with one may be in a layer that was made
/// since, and name it no more.
pub fn moves_proxies(kind: Kind) -> bool {
    matches!(kind, Kind::Gateway | Kind::EnvoyFilter | Kind::PeerAuthentication)
}

/// Whether resources of that type say nothing of the rules that they are made from: rules that ask for the same endpoints share an
/// assignment.
fn is_silent_of_rules(type_url: TypeUrl) -> bool {
    type_url == TypeUrl::Endpoint
}

/// The resources of one layer by the objects that they were made from.
#[derive(Debug)]
pub struct Origins {
    layer: Arc<Layer>,
    /// Sorted.
    made: HashMap<ObjectKey, Vec<Named>>,
}

impl Origins {
    /// Looks through a layer.
    pub fn new(layer: Arc<Layer>) -> Self {
        let mut origins = Self { layer: Arc::clone(&layer), made: HashMap::new() };
        for type_url in TypeUrl::ALL {
            for live in layer.all(type_url) {
                origins.note(&live.resource, true);
            }
        }
        origins
    }

    /// Follows the layer to a later state of it; an earlier one is no news.
    pub fn follow(&mut self, layer: &Arc<Layer>) {
        let since = self.layer.generation();
        if layer.id() != self.layer.id() || layer.horizon() > since {
            *self = Self::new(Arc::clone(layer));
            return;
        }
        if layer.generation() <= since {
            return;
        }
        let before = std::mem::replace(&mut self.layer, Arc::clone(layer));
        for (left, came) in TypeUrl::ALL.into_iter().flat_map(|type_url| step(&before, layer, type_url)) {
            if let Some(left) = left {
                self.note(left, false);
            }
            if let Some(came) = came {
                self.note(came, true);
            }
        }
    }

    /// What was made from an object, sorted.
    pub fn of(&self, object: &ObjectKey) -> &[Named] {
        self.made.get(object).map(Vec::as_slice).unwrap_or_default()
    }

    fn note(&mut self, resource: &Resource, is_there: bool) {
        let named = (resource.type_url(), resource.name().clone());
        for object in resource.origin() {
            let made = self.made.entry(object.clone()).or_default();
            match (made.binary_search(&named), is_there) {
                (Err(place), true) => made.insert(place, named.clone()),
                (Ok(place), false) => {
                    made.remove(place);
                }
                _ => {}
            }
            if made.is_empty() {
                self.made.remove(object);
            }
        }
    }
}

/// What one step of a layer did, as far as [`Origins`] after it does not tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// What was made from an object and is not any more: removed, or made from others now.
    pub left: BTreeMap<ObjectKey, Vec<Named>>,
    /// What changed and does not say of any of those objects that it was, or is, made from it: it may be any of them that changed it.
    pub untraced: Vec<Named>,
    /// What changed, and would not say so if it was a rule that changed it, on top of `untraced`.
    pub silent: Vec<Named>,
    /// All that changed.
    pub all: Vec<Named>,
}

impl Traces {
    /// Of a layer's step, for the objects that changed in it.
    pub fn of(before: &Layer, after: &Layer, objects: &BTreeSet<ObjectKey>) -> Self {
        let mut traces = Self::default();
        for (left, came) in TypeUrl::ALL.into_iter().flat_map(|type_url| step(before, after, type_url)) {
            let Some(resource) = came.or(left) else { continue };
            let named = (resource.type_url(), resource.name().clone());
            let then = left.map(|left| left.origin()).unwrap_or_default();
            let now = came.map(|came| came.origin()).unwrap_or_default();
            if !then.iter().chain(now).any(|object| objects.contains(object)) {
                traces.untraced.push(named.clone());
            } else if is_silent_of_rules(named.0) {
                traces.silent.push(named.clone());
            }
            for object in then.iter().filter(|object| objects.contains(object) && !now.contains(object)) {
                traces.left.entry(object.clone()).or_default().push(named.clone());
            }
            traces.all.push(named);
        }
        traces
    }
}

/// What changed of a type between two states of one layer: each resource as it was and as it is.
fn step<'a>(
    before: &'a Layer,
    after: &'a Layer,
    type_url: TypeUrl,
) -> impl Iterator<Item = (Option<&'a Resource>, Option<&'a Resource>)> {
    after.changes_since(type_url, before.generation()).map(move |(_, change)| {
        let left = before.find(type_url, change.resource().name().as_str());
        let came = match change {
            Change::Put(resource) => Some(&**resource),
            Change::Removed(_) => None,
        };
        (left.map(|live| &*live.resource), came)
    })
}

#[cfg(test)]
mod tests {
    use super::{Origins, Traces};
    use meltemi_catalog::{Generation, Layer, Resource};
    use meltemi_names::{Kind, ObjectKey, TypeUrl, Version};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn object(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::VirtualService, "shop", name)
    }

    fn resource(name: &str, body: &str, objects: &[&str]) -> Arc<Resource> {
        let origin = objects.iter().map(|name| object(name)).collect();
        let version = Version::of(body.as_bytes());
        let bytes = body.as_bytes().to_vec().into();
        Arc::new(Resource::new(TypeUrl::Cluster, name.into(), version, bytes).made_from(origin))
    }

    fn next(layer: &Layer, put: &[Arc<Resource>], gone: &[&str]) -> Layer {
        let mut edit = layer.edit(Generation(layer.generation().0 + 1));
        for resource in put {
            edit.put(Arc::clone(resource));
        }
        for name in gone {
            edit.remove(TypeUrl::Cluster, name);
        }
        edit.finish().unwrap()
    }

    fn names(origins: &Origins, name: &str) -> Vec<String> {
        origins.of(&object(name)).iter().map(|(_, name)| name.to_string()).collect()
    }

    #[test]
    fn an_index_that_follows_is_the_one_made_from_scratch() {
        let start =
            next(&Layer::empty(), &[resource("a", "1", &["x", "y"]), resource("b", "1", &["x"])], &[]);
        let mut origins = Origins::new(Arc::new(start.clone()));
        assert_eq!(
            (names(&origins, "x"), names(&origins, "y")),
            (vec!["a".into(), "b".into()], vec!["a".into()])
        );
        let moved = next(&start, &[resource("a", "2", &["y"]), resource("c", "1", &["z"])], &[]);
        let end = next(&moved, &[], &["b"]);
        origins.follow(&Arc::new(end.clone()));
        origins.follow(&Arc::new(moved));
        let scratch = Origins::new(Arc::new(end));
        for name in ["x", "y", "z", "none"] {
            assert_eq!(names(&origins, name), names(&scratch, name), "{name}");
        }
        assert_eq!(names(&origins, "x"), Vec::<String>::new());
        assert_eq!(origins.made.len(), 2, "nothing is kept of what is gone");
    }

    #[test]
    fn an_index_that_is_too_far_behind_looks_again() {
        let mut layer = next(&Layer::empty(), &[resource("a", "1", &["x"]), resource("b", "1", &["x"])], &[]);
        let mut origins = Origins::new(Arc::new(layer.clone()));
        for name in ["a", "b"] {
            let mut edit = layer.edit(Generation(layer.generation().0 + 1));
            edit.remove(TypeUrl::Cluster, name);
            edit.bury(0);
            layer = edit.finish().unwrap();
        }
        origins.follow(&Arc::new(layer));
        assert_eq!(names(&origins, "x"), Vec::<String>::new());
    }

    #[test]
    fn a_step_tells_what_an_object_lost_and_what_names_none_of_those_that_changed() {
        let listener = |body: &str| {
            let bytes = body.as_bytes().to_vec().into();
            Arc::new(Resource::new(TypeUrl::Listener, "l".into(), Version::of(body.as_bytes()), bytes))
        };
        let start = [resource("a", "1", &["x", "y"]), resource("b", "1", &["x"]), resource("c", "1", &["z"])];
        let before = next(&next(&Layer::empty(), &start, &[]), &[listener("1")], &[]);
        let after = next(&before, &[resource("a", "2", &["y"]), listener("2")], &["b", "c"]);
        let traces = Traces::of(&before, &after, &BTreeSet::from([object("x"), object("y")]));
        let named = |type_url, name: &str| (type_url, name.into());
        let (a, b) = (named(TypeUrl::Cluster, "a"), named(TypeUrl::Cluster, "b"));
        assert_eq!(traces.left, [(object("x"), vec![a, b])].into(), "y has all that it had");
        assert_eq!(traces.untraced, [named(TypeUrl::Cluster, "c"), named(TypeUrl::Listener, "l")]);
        assert_eq!((traces.silent.len(), traces.all.len()), (0, 4));
    }
}
