//! Route configurations with their virtual hosts inside, for clients that do not take virtual hosts as resources: assembled late, from
//! the same parts, by pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::{Body, Change, Generation, Layer, LayerBuilder, Live, Need, Resource, ResourceName};
use meltemi_names::{Kind, TypeUrl, Version};
use meltemi_translate::encode::field_head;

use crate::group::{Aside, LastGood};
use crate::intern::Interner;
use crate::quarantine::{Refused, is_refused};

/// `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS: u64 = 2;

/// The parts of a layer whose routes are served whole: what is in force, before it is put together.
#[derive(Debug)]
pub(crate) struct Assembly {
    parts: Layer,
    /// The virtual hosts in force of each route configuration.
    children: BTreeMap<ResourceName, BTreeSet<ResourceName>>,
}

/// What builds refuse, and what becomes of it.
pub(crate) struct Quarantined<'a> {
    pub(crate) refused: &'a BTreeSet<Refused>,
    pub(crate) last_good: &'a LastGood,
    pub(crate) aside: &'a mut Aside,
}

fn as_it_is(resource: &Resource) -> Option<&Resource> {
    Some(resource)
}

/// Whether something takes its place where it is refused.
fn is_patched(resource: &Resource) -> bool {
    resource.instead().is_some()
}

/// Whether it is there only because somebody patched something.
fn is_added(resource: &Resource) -> bool {
    let origin = resource.origin();
    !origin.is_empty() && origin.iter().all(|object| object.kind == Kind::EnvoyFilter)
}

impl Default for Assembly {
    fn default() -> Self {
        Self { parts: Layer::empty(), children: BTreeMap::new() }
    }
}

impl Assembly {
    /// Starts the next state of the parts.
    pub(crate) fn edit(&self, generation: Generation) -> LayerBuilder {
        self.parts.edit(generation)
    }

    /// Takes the next state of the parts, and brings the served layer up to it.
    pub(crate) fn finish(
        &mut self,
        parts: LayerBuilder,
        served: &mut LayerBuilder,
        quarantined: Quarantined<'_>,
        interner: &mut Interner,
    ) {
        let Quarantined { refused, last_good, aside } = quarantined;
        let before = self.parts.generation();
        let Some(now) = parts.finish() else { return };
        let mut stale: BTreeSet<ResourceName> = BTreeSet::new();
        for type_url in TypeUrl::ALL {
            for (_, change) in now.changes_since(type_url, before) {
                let resource = change.resource();
                match (type_url, resource.parent(), change) {
                    (TypeUrl::VirtualHost, Some(parent), Change::Put(_)) => {
                        self.children.entry(parent.clone()).or_default().insert(resource.name().clone());
                        stale.insert(parent.clone());
                    }
                    (TypeUrl::VirtualHost, Some(parent), Change::Removed(_)) => {
                        if let Some(children) = self.children.get_mut(parent) {
                            children.remove(resource.name());
                        }
                        stale.insert(parent.clone());
                    }
                    (TypeUrl::Route, _, Change::Put(_)) => {
                        stale.insert(resource.name().clone());
                    }
                    (_, _, Change::Put(_)) => {
                        served.put(Arc::clone(resource));
                    }
                    (_, _, Change::Removed(_)) => {
                        aside.remove(&(type_url, resource.name().clone()));
                        served.remove(type_url, resource.name().as_str());
                    }
                }
            }
        }
        self.parts = now;
        for route in stale {
            if let Some(head) = self.parts.find(TypeUrl::Route, route.as_str()) {
                let assembled = interner.intern(Arc::new(self.assemble(&head.resource)));
                let key = (TypeUrl::Route, route);
                if !is_refused(refused, &assembled) {
                    aside.remove(&key);
                    served.put(assembled);
                    continue;
                }
                let is_new = served.find(key.0, key.1.as_str()).is_none();
                let instead = assembled.instead().filter(|instead| !is_refused(refused, instead)).cloned();
                let unpatched = |resource: &Arc<Resource>| resource.instead().is_none();
                let good = last_good.get(&key).filter(|_| is_new);
                let since = good.map_or(served.generation(), |(_, replaced)| *replaced);
                // As of a single resource: a patched state that was good stays, one without patches gives way to the present one.
                let live = served.find(key.0, key.1.as_str()).map(|live| &live.resource);
                let before = live.or(good.map(|(good, _)| good));
                match (instead.filter(|_| before.is_none_or(unpatched)), good) {
                    (Some(instead), _) => {
                        served.put(interner.intern(instead));
                    }
                    (None, Some((good, _))) => {
                        served.put(Arc::clone(good));
                    }
                    (None, None) => {}
                }
                let since = aside.get(&key).map_or(since, |(_, since)| *since);
                aside.insert(key, (assembled, since));
            }
        }
    }

    /// A part in force.
    pub(crate) fn find(&self, type_url: TypeUrl, name: &ResourceName) -> Option<&Live> {
        self.parts.find(type_url, name.as_str())
    }

    fn assemble(&self, head: &Resource) -> Resource {
        let assembled = self.assemble_of(head, as_it_is);
        let children = self.children.get(head.name()).into_iter().flatten();
        let mut children = children.filter_map(|name| self.parts.find(TypeUrl::VirtualHost, name.as_str()));
        if head.instead().is_none()
            && !children.any(|child| is_patched(&child.resource) || is_added(&child.resource))
        {
            return assembled;
        }
        let head = head.instead().map_or(head, |instead| &**instead);
        let instead = self.assemble_of(head, |child| {
            let unpatched = child.instead().map_or(child, |instead| &**instead);
            Some(unpatched).filter(|child| !is_added(child))
        });
        assembled.or_instead(Arc::new(instead))
    }

    fn assemble_of(&self, head: &Resource, state: impl Fn(&Resource) -> Option<&Resource>) -> Resource {
        let mut body = Body::new();
        body.extend(head.body());
        let mut versions = vec![head.version()];
        let (mut needs, mut origin): (Vec<Need>, Vec<_>) = (head.needs().to_vec(), head.origin().to_vec());
        for name in self.children.get(head.name()).into_iter().flatten() {
            let Some(child) = self.parts.find(TypeUrl::VirtualHost, name.as_str()) else { continue };
            let Some(child) = state(&child.resource) else { continue };
            let mut field = Vec::with_capacity(8);
            field_head(VIRTUAL_HOSTS, child.body().len(), &mut field);
            body.push(Bytes::from(field));
            body.extend(child.body());
            versions.push(child.version());
            needs.extend_from_slice(child.needs());
            origin.extend_from_slice(child.origin());
        }
        Resource::new(TypeUrl::Route, head.name().clone(), Version::of_parts(versions), body)
            .needing(needs)
            .made_from(origin)
    }
}
