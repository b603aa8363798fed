//! What goes into force, and what waits: made before it is used, kept until it is unused.
//!
//! A virtual host, or a listener that sends connections on itself, that needs a cluster which does not exist keeps its last good state
//! until the cluster does; with no last good it goes out as it is (a 503, or a closed connection, as in Istio). A cluster that one in
//! force needs stays, with its endpoints, until none does. Below both are called routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_catalog::{Generation, LayerBuilder, Need, Resource, ResourceName};
use meltemi_names::TypeUrl;

use crate::group::{Held, Targets};

/// The overlay of one layer.
#[derive(Debug)]
pub(crate) struct Holds {
    enabled: bool,
    /// How many routes in force need each cluster.
    needed: BTreeMap<ResourceName, u32>,
    /// Routes whose target waits.
    waiting: BTreeMap<(TypeUrl, ResourceName), Waiting>,
    /// Clusters that are gone from the targets, since when, and still needed, with the assignments that went with them.
    lingering: BTreeMap<ResourceName, Generation>,
    lingering_endpoints: BTreeSet<ResourceName>,
}

/// What waits to go into force.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) route: Arc<Resource>,
    /// The first batch of which something waits: what is in force is of before.
    pub(crate) since: Generation,
}

impl Holds {
    pub(crate) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            needed: BTreeMap::new(),
            waiting: BTreeMap::new(),
            lingering: BTreeMap::new(),
            lingering_endpoints: BTreeSet::new(),
        }
    }

    /// Puts the targets of a batch into force as far as they may be. `lingering` are new states of assignments that only linger.
    pub(crate) fn admit(&mut self, targets: Targets, lingering: &[Arc<Resource>], edit: &mut LayerBuilder) {
        let mut routes = Vec::new();
        let mut appeared = false;
        for ((type_url, name), target) in targets {
            match (type_url, target) {
                (TypeUrl::VirtualHost | TypeUrl::Route | TypeUrl::Listener, target) => {
                    routes.push(((type_url, name), target))
                }
                (TypeUrl::Cluster, Some(cluster)) => {
                    appeared |= self.lingering.remove(&name).is_some()
                        || edit.find(type_url, name.as_str()).is_none();
                    edit.put(cluster);
                }
                (TypeUrl::Cluster, None) => {
                    self.lingering.entry(name).or_insert(edit.generation());
                }
                (TypeUrl::Endpoint, None) => {
                    self.lingering_endpoints.insert(name);
                }
                (_, Some(resource)) => {
                    self.lingering_endpoints.remove(resource.name());
                    edit.put(resource);
                }
                (_, None) => {
                    edit.remove(type_url, name.as_str());
                }
            }
        }
        for assignment in lingering {
            if self.lingers(assignment.name()) {
                edit.put(Arc::clone(assignment));
            }
        }
        for (key, target) in routes {
            let since = self.waiting.remove(&key).map_or(edit.generation(), |waiting| waiting.since);
            match target {
                Some(route) => self.admit_route(key, Waiting { route, since }, edit),
                None => {
                    self.unneed(key.0, &key.1, edit);
                    edit.remove(key.0, key.1.as_str());
                }
            }
        }
        if appeared {
            // What waited may have what it needs now.
            for (key, waiting) in std::mem::take(&mut self.waiting) {
                self.admit_route(key, waiting, edit);
            }
        }
        self.drop_unneeded(edit);
    }

    /// Whether anything in force differs from the targets.
    pub(crate) fn is_holding(&self) -> bool {
        !self.waiting.is_empty() || !self.lingering.is_empty()
    }

    /// Whether the assignment of that name is there only because a route in force needs its cluster.
    pub(crate) fn lingers(&self, assignment: &ResourceName) -> bool {
        self.lingering_endpoints.contains(assignment)
    }

    /// The routes that wait.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.waiting
            .iter()
            .map(|((_, name), Waiting { route, .. })| Held {
                name: name.clone(),
                missing: clusters(route).cloned().collect(),
                origin: route.origin().to_vec(),
            })
            .collect()
    }

    /// The routes that wait, by type and name.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (&(TypeUrl, ResourceName), &Waiting)> {
        self.waiting.iter()
    }

    /// The clusters that stay only because a route in force needs them, and since when.
    pub(crate) fn lingering(&self) -> impl Iterator<Item = (&ResourceName, Generation)> {
        self.lingering.iter().map(|(name, since)| (name, *since))
    }

    /// Whether the cluster stays only because a route in force needs it.
    pub(crate) fn cluster_lingers(&self, cluster: &ResourceName) -> bool {
        self.lingering.contains_key(cluster)
    }

    fn admit_route(&mut self, key: (TypeUrl, ResourceName), waiting: Waiting, edit: &mut LayerBuilder) {
        let route = Arc::clone(&waiting.route);
        let dangling = clusters(&route).any(|cluster| self.is_missing(cluster, edit));
        if self.enabled && dangling {
            let in_force = edit.find(key.0, key.1.as_str()).map(|live| &live.resource);
            // The last good one must be whole itself: all that it needs is there, if only because it needs it.
            let good = in_force.is_some_and(|before| {
                before.version() == route.version()
                    || clusters(before).all(|cluster| edit.find(TypeUrl::Cluster, cluster.as_str()).is_some())
            });
            if good {
                self.waiting.insert(key, waiting);
                return;
            }
        }
        self.unneed(key.0, &key.1, edit);
        for cluster in clusters(&route) {
            *self.needed.entry(cluster.clone()).or_default() += 1;
        }
        edit.put(route);
    }

    /// Whether a cluster is not among the targets: a lingering one is as good as gone for what is new.
    fn is_missing(&self, cluster: &ResourceName, edit: &LayerBuilder) -> bool {
        self.lingering.contains_key(cluster) || edit.find(TypeUrl::Cluster, cluster.as_str()).is_none()
    }

    /// The route of that name, if in force, needs its clusters no more.
    fn unneed(&mut self, type_url: TypeUrl, name: &ResourceName, edit: &LayerBuilder) {
        let Some(live) = edit.find(type_url, name.as_str()) else { return };
        for cluster in clusters(&live.resource) {
            if let Some(count) = self.needed.get_mut(cluster) {
                *count -= 1;
                if *count == 0 {
                    self.needed.remove(cluster);
                }
            }
        }
    }

    /// Removes lingering clusters that no route in force needs, and lingering assignments that no cluster needs.
    fn drop_unneeded(&mut self, edit: &mut LayerBuilder) {
        let (enabled, needed) = (self.enabled, &self.needed);
        self.lingering.retain(|cluster, _| {
            let keep = enabled && needed.contains_key(cluster);
            if !keep {
                edit.remove(TypeUrl::Cluster, cluster.as_str());
            }
            keep
        });
        let mut served = BTreeSet::new();
        for cluster in self.lingering.keys() {
            let live = edit.find(TypeUrl::Cluster, cluster.as_str());
            served.extend(
                live.into_iter()
                    .flat_map(|live| live.resource.needs().to_vec())
                    .map(|Need { name, .. }| name),
            );
        }
        self.lingering_endpoints.retain(|assignment| {
            let keep = served.contains(assignment);
            if !keep {
                edit.remove(TypeUrl::Endpoint, assignment.as_str());
            }
            keep
        });
    }
}

pub(crate) fn clusters(route: &Resource) -> impl Iterator<Item = &ResourceName> {
    route.needs().iter().filter(|need| need.type_url == TypeUrl::Cluster).map(|need| &need.name)
}

#[cfg(test)]
mod tests;
