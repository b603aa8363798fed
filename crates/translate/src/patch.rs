//! EnvoyFilter: patches of resources that are made already.
//!
//! Knows: Istio's rules for what a patch matches and does (pilot/pkg/networking/core/envoyfilter). Must not know: how what is patched was
//! made.   Start at [`Patches`] (which are in force, in the key of a layer), [`parts`] (which resources they may touch) and
//! [`PatchedKey`] (one such resource).
//! Invariants: what no patch touches is the very resource that it is without patches; a patch that cannot be applied changes nothing;
//! a patched resource says what it would be without patches, for who refuses it.

mod added;
mod chain;
mod cluster;
mod edit;
mod listener;
mod routes;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::envoy_filter::{ApplyTo, Context, Operation};
use meltemi_catalog::{Need, Resource};
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::envoy_filter::{FilterRef, Filters, PatchOutline, among};
use meltemi_model::read::Read;
use meltemi_names::{ObjectKey, TypeUrl};
use prost::Message;

pub use added::{AddedKey, AddedPartKey, is_reserved};
pub use written::{PatchOf, Written};

use crate::cluster::ClusterKey;
use crate::encode::whole;
use crate::key::{Made, Members, PartKey, ResourceKey};

/// Patches in force for traffic of one kind. Without any it is the default, whatever the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Patches {
    /// The traffic.
    traffic: Context,
    /// In the order in which they apply.
    filters: Filters,
}

impl Patches {
    /// These patches, for traffic of that kind.
    pub fn new(traffic: Context, filters: Filters) -> Self {
        if filters.is_empty() { Self::default() } else { Self { traffic, filters } }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    fn among(&self, read: &Read<'_>, keep: impl Fn(&PatchOutline) -> bool) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        Self::new(self.traffic, among(read, &self.filters, keep))
    }

    fn written(&self, read: &Read<'_>) -> Vec<Arc<Written>> {
        self.each().filter_map(|patch| (*read.ask(patch)).clone()).collect()
    }

    /// The patches one by one.
    fn each(&self) -> impl Iterator<Item = PatchOf> {
        let of = |filter: &FilterRef| {
            let of = |patch: &usize| PatchOf { object: filter.object.clone(), patch: *patch };
            filter.patches.iter().map(of).collect::<Vec<_>>()
        };
        self.filters.iter().flat_map(of)
    }
}

/// What of a layer a patch may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Clusters,
    Listeners,
    Routes,
}

impl Class {
    /// Whether the patch may change such a resource. Listeners may hold routes.
    fn is_touched(self, patch: &PatchOutline) -> bool {
        let adds = patch.operation == Operation::Add;
        match self {
            Self::Clusters => patch.apply_to == ApplyTo::Cluster && !adds,
            Self::Listeners => {
                (patch.apply_to.is_of_listener() && !(patch.apply_to == ApplyTo::Listener && adds))
                    || patch.apply_to.is_of_routes()
            }
            Self::Routes => patch.apply_to.is_of_routes(),
        }
    }

    fn of(resource: &ResourceKey) -> Option<Self> {
        match resource {
            ResourceKey::Cluster(_) => Some(Self::Clusters),
            ResourceKey::Listener(_) => Some(Self::Listeners),
            ResourceKey::Route(_) | ResourceKey::VirtualHost(_) => Some(Self::Routes),
            // A secret is nobody's to patch.
            ResourceKey::Assignment(_)
            | ResourceKey::Secret(_)
            | ResourceKey::NameTable(_)
            | ResourceKey::Patched(_)
            | ResourceKey::Added(_) => None,
        }
    }
}

/// The parts of a layer whose resources are patched. The same parts if nothing is.
pub fn parts(read: &Read<'_>, parts: Vec<PartKey>, patches: &Patches) -> Vec<PartKey> {
    if patches.is_empty() {
        return parts;
    }
    let all_of =
        |classes: &[Class]| patches.among(read, |patch| classes.iter().any(|class| class.is_touched(patch)));
    let (clusters, routes) = (all_of(&[Class::Clusters]), all_of(&[Class::Routes]));
    // Outbound listeners hold no routes.
    let outbound =
        patches.among(read, |patch| Class::Listeners.is_touched(patch) && !Class::Routes.is_touched(patch));
    let inbound = all_of(&[Class::Clusters, Class::Listeners]);
    let added = patches.among(read, |patch| {
        patch.operation == Operation::Add
            && matches!(patch.apply_to, ApplyTo::Listener | ApplyTo::Cluster | ApplyTo::ExtensionConfig)
    });
    let patched = parts.into_iter().map(|part| {
        let patches = match &part {
            PartKey::Fixed(_) | PartKey::Service(_) => &clusters,
            PartKey::Listeners(_) | PartKey::GatewayListeners(_) => &outbound,
            PartKey::Routes(_) | PartKey::GatewayRoutes(_) => &routes,
            PartKey::Inbound(_) => &inbound,
            PartKey::Secrets(_) | PartKey::Names(_) | PartKey::Patched(_) | PartKey::Added(_) => return part,
        };
        if patches.is_empty() {
            return part;
        }
        PartKey::Patched(Box::new(PatchedPartKey { part, patches: patches.clone() }))
    });
    let added = (!added.is_empty()).then_some(PartKey::Added(AddedPartKey(added)));
    patched.chain(added).collect()
}

/// A part whose resources are patched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatchedPartKey {
    part: PartKey,
    patches: Patches,
}

impl PatchedPartKey {
    /// The part as it is without the patches.
    pub fn part(&self) -> &PartKey {
        &self.part
    }
}

impl Question for PatchedPartKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: patched";

    fn answer(&self, read: &Read<'_>) -> Members {
        let of = |class: Class| self.patches.among(read, |patch| class.is_touched(patch));
        let (clusters, listeners, routes) = (of(Class::Clusters), of(Class::Listeners), of(Class::Routes));
        let hosts = self
            .patches
            .among(read, |patch| patch.apply_to == ApplyTo::VirtualHost && patch.operation == Operation::Add);
        let mut members = Members::new();
        let mut configs = Vec::new();
        for inner in self.part.ask(read).iter().cloned() {
            if let ResourceKey::Route(route) = &inner {
                configs.push(route.clone());
            }
            let patches = match Class::of(&inner) {
                Some(Class::Clusters) => &clusters,
                Some(Class::Listeners) => &listeners,
                Some(Class::Routes) => &routes,
                None => &Patches::default(),
            };
            members.push(if patches.is_empty() {
                inner
            } else {
                PatchedKey { inner, patches: patches.clone() }.into()
            });
        }
        if !hosts.is_empty() {
            let added = configs.iter().flat_map(|route| added::virtual_hosts(read, &hosts, route, &members));
            let added: Members = added.collect();
            members.extend(added);
        }
        members
    }
}

/// A resource that patches may touch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatchedKey {
    inner: ResourceKey,
    patches: Patches,
}

impl PatchedKey {
    /// The resource as it is without the patches.
    pub fn inner(&self) -> &ResourceKey {
        &self.inner
    }
}

impl Question for PatchedKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "patched resource";

    fn answer(&self, read: &Read<'_>) -> Made {
        let made = self.inner.ask(read);
        let before = made.as_ref().as_ref()?;
        let patches = self.patches.written(read);
        let mut applied = Applied::default();
        let patched = self.apply(before, &patches, &mut applied);
        if !applied.any() {
            return Some(Arc::clone(before));
        }
        patched.map(|(bytes, needs)| {
            let origin = before.origin().iter().cloned().chain(applied.0).collect();
            let version = meltemi_names::Version::of(&bytes);
            let resource = Resource::new(before.type_url(), before.name().clone(), version, bytes.into())
                .needing(needs.unwrap_or_else(|| before.needs().to_vec()))
                .made_from(origin)
                .or_instead(Arc::clone(before));
            Arc::new(match before.parent() {
                Some(parent) => resource.belonging_to(parent.clone()),
                None => resource,
            })
        })
    }
}

/// A patched message, and what it refers to if that may be something else.
type Patched = Option<(Vec<u8>, Option<Vec<Need>>)>;

impl PatchedKey {
    /// None, too, where no patch did anything: then nothing need be encoded.
    fn apply(&self, before: &Resource, patches: &[Arc<Written>], applied: &mut Applied) -> Patched {
        let bytes = before.body().to_vec();
        // What was made here decodes; were it not so, the resource would stay as it is.
        match before.type_url() {
            TypeUrl::Cluster => {
                let message = Message::decode(bytes.as_slice()).ok()?;
                let host = match &self.inner {
                    ResourceKey::Cluster(key) => match &**key {
                        ClusterKey::Inbound { service, .. } => Some(&service.host),
                        _ => None,
                    },
                    _ => None,
                };
                let patched = cluster::patch(patches, message, host, applied)?;
                applied.any().then(|| (patched.encode_to_vec(), None))
            }
            TypeUrl::Listener => {
                let message = Message::decode(bytes.as_slice()).ok()?;
                let patched = listener::patch(patches, self.patches.traffic, message, applied)?;
                applied.any().then(|| (patched.encode_to_vec(), None))
            }
            TypeUrl::Route => {
                let message = Message::decode(bytes.as_slice()).ok()?;
                let head = routes::head(patches, self.patches.traffic, message, applied);
                let needs = || head.virtual_hosts.iter().flat_map(routes::clusters).collect();
                applied.any().then(|| (head.encode_to_vec(), Some(needs())))
            }
            TypeUrl::VirtualHost => {
                let ResourceKey::VirtualHost(key) = &self.inner else { return None };
                let message = Message::decode(bytes.as_slice()).ok()?;
                let config = key.config.resource_name();
                let config = routes::ConfigName { name: config.as_str(), traffic: self.patches.traffic };
                let patched = routes::virtual_host(patches, config, key, message, applied)?;
                applied.any().then(|| (patched.encode_to_vec(), Some(routes::clusters(&patched).collect())))
            }
            TypeUrl::Endpoint | TypeUrl::Secret | TypeUrl::ExtensionConfig | TypeUrl::NameTable => None,
        }
    }
}

/// The EnvoyFilters of which a patch did something.
#[derive(Debug, Default)]
struct Applied(BTreeSet<ObjectKey>);

impl Applied {
    /// Whether a patch did something.
    fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Notes what came of a patch.
    fn note(&mut self, patch: &Written, did_something: bool) {
        if did_something {
            self.0.insert(patch.object.clone());
        }
    }
}

/// A resource that is a patch's value.
fn of_value<M: Message>(type_url: TypeUrl, name: &str, message: &M, patch: &Written) -> Arc<Resource> {
    whole(type_url, name.into(), message, Vec::new(), vec![patch.object.clone()])
}
