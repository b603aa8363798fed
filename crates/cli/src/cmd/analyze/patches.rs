//! EnvoyFilters: operations that do nothing to what they are for, and those that stand beside something that may not be there yet.
//!
//! (Istio: analyzers/envoyfilter.) Where Istio's analyzer says that an operation is ignored and neither Istio nor Meltemi ignores it
//! (ADD and REMOVE of routes), nothing is said.

use std::collections::BTreeSet;

use meltemi_api::envoy_filter::{ApplyTo, ConfigPatch, Operation};
use meltemi_api::{FieldPath, Finding, Spec};
use meltemi_model::Mesh;

/// The codes of operations that do nothing, which reading finds, too.
pub(super) const IGNORED: [&str; 3] = ["IST0152", "IST0153", "IST0154"];

/// What is to be said of them.
pub(super) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let mut all = Vec::new();
    // Filters that patches for proxies of some version name, of all objects before.
    let mut versioned: BTreeSet<&str> = BTreeSet::new();
    for object in mesh.objects() {
        let Spec::EnvoyFilter(filter) = &object.spec else { continue };
        for (index, patch) in filter.config_patches.iter().enumerate() {
            let path = FieldPath::of(&["spec", "configPatches"]).index(index).key("patch").key("operation");
            let named = named(patch);
            let told = ignored(patch).or_else(|| {
                let relative = filter.priority == 0 && is_relative(patch);
                relative.then(|| beside(named.is_some_and(|name| versioned.contains(name))))
            });
            all.extend(told.map(|finding| finding.at(&path).about(&object.meta.key)));
            let is_versioned =
                patch.matching.proxy.as_ref().is_some_and(|proxy| !proxy.proxy_version.is_empty());
            versioned.extend(named.filter(|_| is_versioned));
        }
    }
    all
}

/// The filter that a patch is about: what it puts there, else what it is matched by.
fn named(patch: &ConfigPatch) -> Option<&str> {
    let value = patch.patch.as_ref().and_then(|patch| patch.value.as_ref());
    let own = value.and_then(|value| value.0.get("name")?.as_str());
    own.or_else(|| {
        let chain = patch.matching.listener.as_ref()?.filter_chain.as_ref()?;
        chain.filter.as_ref().map(|filter| filter.name.as_str())
    })
    .filter(|name| !name.is_empty())
}

/// An operation that does nothing to such things.
fn ignored(patch: &ConfigPatch) -> Option<Finding> {
    let operation = patch.patch.as_ref()?.operation;
    let (code, what) = match (operation, patch.apply_to) {
        (Operation::Add, ApplyTo::RouteConfiguration) => ("IST0153", "ADD"),
        (Operation::Remove, ApplyTo::RouteConfiguration) => ("IST0154", "REMOVE"),
        (
            Operation::Replace,
            ApplyTo::Listener
            | ApplyTo::FilterChain
            | ApplyTo::Cluster
            | ApplyTo::RouteConfiguration
            | ApplyTo::HttpRoute
            | ApplyTo::ExtensionConfig,
        ) => ("IST0152", "REPLACE"),
        _ => return None,
    };
    let finding = Finding::error(code, format!("{what} does nothing to what this patch is for"));
    let hint = match operation {
        Operation::Replace => "use MERGE; filters and virtual hosts alone are replaced",
        _ => "use MERGE; or patch virtual hosts and routes, which come and go",
    };
    Some(finding.in_force("the patch is left out").hint(hint))
}

/// Whether it is carried out only where something else is there already.
fn is_relative(patch: &ConfigPatch) -> bool {
    match patch.patch.as_ref().map(|patch| patch.operation) {
        Some(Operation::InsertBefore | Operation::InsertAfter) => true,
        Some(Operation::Remove) => {
            !matches!(patch.apply_to, ApplyTo::RouteConfiguration | ApplyTo::HttpRoute)
        }
        Some(Operation::Replace) => {
            matches!(patch.apply_to, ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::VirtualHost)
        }
        _ => false,
    }
}

fn beside(of_version: bool) -> Finding {
    if of_version {
        let message = "this is done beside something else, without a priority, and another patch of the same filter is for one version of proxies: during an upgrade it may not be done";
        return Finding::warning("IST0155", message)
            .hint("say which comes first: spec.priority; or use INSERT_FIRST or ADD");
    }
    Finding::warning("IST0151", "this is done beside something that must be there before, and no priority says which EnvoyFilter comes first")
        .hint("say which comes first: spec.priority; or use INSERT_FIRST or ADD")
}
