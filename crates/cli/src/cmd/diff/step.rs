//! What is served before and after: the resources that differ, and no others.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_catalog::{Layer, Resource, ResourceName};
use meltemi_names::TypeUrl;

/// A resource that differs.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) type_url: TypeUrl,
    pub(crate) name: ResourceName,
    pub(crate) before: Option<Arc<Resource>>,
    pub(crate) after: Option<Arc<Resource>>,
}

/// All that differ, by type and name. What is in no step is the same, byte for byte.
pub(crate) fn between(before: &Arc<Layer>, after: &Arc<Layer>) -> Vec<Step> {
    if Arc::ptr_eq(before, after) {
        return Vec::new();
    }
    let follows = before.id() == after.id() && after.horizon() <= before.generation();
    let mut steps = Vec::new();
    for type_url in TypeUrl::ALL {
        let names: BTreeSet<ResourceName> = if follows {
            let changes = after.changes_since(type_url, before.generation());
            changes.map(|(_, change)| change.resource().name().clone()).collect()
        } else {
            let all = before.all(type_url).chain(after.all(type_url));
            all.map(|live| live.resource.name().clone()).collect()
        };
        for name in names {
            let find =
                |layer: &Layer| layer.find(type_url, name.as_str()).map(|live| Arc::clone(&live.resource));
            let (before, after) = (find(before), find(after));
            let version = |resource: &Option<Arc<Resource>>| resource.as_ref().map(|found| found.version());
            if version(&before) != version(&after) {
                steps.push(Step { type_url, name, before, after });
            }
        }
    }
    steps
}
