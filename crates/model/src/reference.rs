//! Which references between objects are whole: what decides whether a change may go out at once.

use std::collections::BTreeSet;

use meltemi_api::Spec;
use meltemi_names::{Host, ObjectKey};

use crate::debounce::Verdict;
use crate::entry::IndexKey;
use crate::index::{destinations, qualified};
use crate::mesh::Mesh;
use crate::store::ChangeSet;

/// A destination that a VirtualService names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The VirtualService.
    pub from: ObjectKey,
    /// The host, short names resolved.
    pub host: Host,
    /// The subset.
    pub subset: Option<String>,
}

/// Whether going from `before` to `after` leaves a reference dangling that was whole, or brings a new one that is not. Costs the size
/// of the change: only objects in `changes`, and who refers to them, are looked at.
pub fn judge(before: &Mesh, after: &Mesh, changes: &ChangeSet) -> Verdict {
    let mut suspects = BTreeSet::new();
    for key in changes.objects() {
        for mesh in [before, after] {
            let Some(object) = mesh.object(key) else { continue };
            match &object.spec {
                Spec::VirtualService(_) => {
                    suspects.insert(key.clone());
                }
                Spec::DestinationRule(rule) => {
                    let host = qualified(&rule.host, &key.namespace);
                    suspects.extend(after.filed(&IndexKey::VirtualServicesByDestination(host)).cloned());
                }
                Spec::Service(_) => {
                    let host = Host::of_service(
                        key.name.as_str(),
                        key.namespace.as_str(),
                        crate::service::CLUSTER_DOMAIN,
                    );
                    suspects.extend(after.filed(&IndexKey::VirtualServicesByDestination(host)).cloned());
                }
                Spec::ServiceEntry(entry) => {
                    for host in &entry.hosts {
                        let host = IndexKey::VirtualServicesByDestination(host.clone());
                        suspects.extend(after.filed(&host).cloned());
                    }
                }
                _ => {}
            }
        }
    }
    let dangles_newly = suspects.iter().any(|key| {
        let then = dangling(before, key);
        dangling(after, key).iter().any(|reference| !then.contains(reference))
    });
    if dangles_newly { Verdict::Dangling } else { Verdict::Whole }
}

/// The destinations of a VirtualService that do not exist. A host that is no service of the mesh is looked at only if it is of the
/// cluster's own domain; others may be anything.
pub fn dangling(mesh: &Mesh, virtual_service: &ObjectKey) -> BTreeSet<Reference> {
    let Some(Spec::VirtualService(service)) = mesh.object(virtual_service).map(|object| &object.spec) else {
        return BTreeSet::new();
    };
    destinations(service)
        .map(|destination| Reference {
            from: virtual_service.clone(),
            host: qualified(&destination.host, &virtual_service.namespace),
            subset: destination.subset.clone(),
        })
        .filter(|reference| !is_whole(mesh, reference))
        .collect()
}

fn is_whole(mesh: &Mesh, reference: &Reference) -> bool {
    if mesh.filed(&IndexKey::ServicesByHost(reference.host.clone())).next().is_none() {
        return false;
    }
    let Some(subset) = &reference.subset else { return true };
    let has_subset = |key: &ObjectKey| {
        matches!(mesh.object(key).map(|object| &object.spec), Some(Spec::DestinationRule(rule))
            if rule.subsets.iter().any(|found| found.name == *subset))
    };
    let mut hosts = std::iter::once(reference.host.clone()).chain(reference.host.covering());
    hosts.any(|host| mesh.filed(&IndexKey::RulesForHost(host)).any(has_subset))
}

#[cfg(test)]
mod tests;
