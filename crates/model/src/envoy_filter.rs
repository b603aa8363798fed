//! EnvoyFilters: which patches are for a proxy, and in which order.
//!
//! Knows: Istio's order, selectors and conditions on proxies. Must not know: what a patch does to what.   Start at [`FiltersFor`], then
//! [`matching`]. Invariant: a change of what a patch writes leaves every answer here equal; with no EnvoyFilter nothing of a proxy is
//! read for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_api::envoy_filter::{ApplyTo, ConfigPatch, Context, Operation, ProxyMatch};
use meltemi_api::target_ref::{TargetRef, targets};
use meltemi_api::value::Timestamp;
use meltemi_memo::Question;
use meltemi_names::{Labels, Namespace, ObjectKey, ObjectName, Selector};

use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::peer::root;
use crate::proxy::Proxy;
use crate::read::{self, Read, filed};

/// Patches of one EnvoyFilter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterRef {
    /// The object.
    pub object: ObjectKey,
    /// Which of its patches, by their place in `configPatches`; at least one.
    pub patches: Arc<[usize]>,
}

/// Patches in force for some proxies' traffic, in the order in which they apply; none for most.
pub type Filters = Arc<[FilterRef]>;

/// What decides for whom an EnvoyFilter's patches are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The object.
    pub key: ObjectKey,
    /// Lower is earlier.
    pub priority: i32,
    /// When it was made; one that does not say counts as the oldest.
    pub created: Option<Timestamp>,
    /// The workloads; none: all.
    pub selector: Option<Selector>,
    /// The objects whose proxies it is for, instead.
    pub targets: Vec<TargetRef>,
    /// Its patches, those that are left out too.
    pub patches: Vec<PatchOutline>,
}

/// For which proxies and which traffic a patch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchOutline {
    /// What it is applied to.
    pub apply_to: ApplyTo,
    /// How.
    pub operation: Operation,
    /// For which traffic.
    pub context: Context,
    /// For which proxies.
    pub proxy: Option<ProxyMatch>,
}

impl PatchOutline {
    fn of(written: &ConfigPatch) -> Self {
        Self {
            apply_to: written.apply_to,
            operation: written.operation(),
            context: written.matching.context,
            proxy: written.matching.proxy.clone(),
        }
    }

    /// Whether it is for that traffic. What is added to all traffic is added once (Istio: core/envoyfilter/listener_patch.go and
    /// cluster_patch.go); extensions have no traffic of their own.
    pub fn is_for(&self, traffic: Context) -> bool {
        match (self.apply_to, self.operation) {
            (ApplyTo::ExtensionConfig, _) => traffic != Context::SidecarInbound,
            (ApplyTo::Listener | ApplyTo::Cluster, Operation::Add) if self.context == Context::Any => {
                traffic != Context::SidecarInbound
            }
            _ => self.context.covers(traffic),
        }
    }
}

/// The outline of the EnvoyFilter under that key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutlineOf(pub ObjectKey);

impl Question for OutlineOf {
    type World = Mesh;
    type Answer = Option<Arc<Outline>>;
    const NAME: &'static str = "envoy filter outline";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (meta, filter) = read::envoy_filter(read, &self.0)?;
        Some(Arc::new(Outline {
            key: meta.key.clone(),
            priority: filter.priority,
            created: meta.created,
            selector: filter.labels().cloned(),
            targets: filter.target_refs.clone(),
            patches: filter.config_patches.iter().map(PatchOutline::of).collect(),
        }))
    }
}

/// The EnvoyFilters for proxies of a namespace, in the order in which they apply: by priority, the root namespace's first, the oldest
/// first, by name (Istio: pilot/pkg/model/push_context.go, `EnvoyFilters`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FiltersFor(pub Namespace);

impl Question for FiltersFor {
    type World = Mesh;
    type Answer = Vec<Arc<Outline>>;
    const NAME: &'static str = "envoy filters of a namespace";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let root = root(read);
        let namespaces = std::iter::once(&root).chain(Some(&self.0).filter(|own| **own != root));
        let mut found: Vec<Arc<Outline>> = namespaces
            .flat_map(|namespace| filed(read, IndexKey::EnvoyFiltersIn(namespace.clone())))
            .filter_map(|key| (*read.ask(OutlineOf(key.clone()))).clone())
            .collect();
        let order = |filter: &Arc<Outline>| -> (i32, bool, Option<Timestamp>, ObjectName, Namespace) {
            let key = &filter.key;
            let own = key.namespace != root;
            (filter.priority, own, filter.created, key.name.clone(), key.namespace.clone())
        };
        found.sort_by_key(order);
        found
    }
}

/// The patches for a proxy's traffic of one kind. `labels`: of its workload.
pub fn matching(read: &Read<'_>, proxy: &Proxy, labels: &Labels, traffic: Context) -> Filters {
    let all = read.ask(FiltersFor(proxy.namespace.clone()));
    let is_selected = |filter: &&Arc<Outline>| {
        if !filter.targets.is_empty() {
            return filter.key.namespace == proxy.namespace && targets(&filter.targets, labels);
        }
        filter.selector.as_ref().is_none_or(|selector| selector.selects(labels))
    };
    let selected = all.iter().filter(is_selected);
    let for_it = |patch: &PatchOutline| {
        patch.is_for(traffic) && patch.proxy.as_ref().is_none_or(|wanted| is_wanted(read, wanted, proxy))
    };
    selected.filter_map(|filter| of(filter, for_it)).collect()
}

/// The same patches without those that `keep` does not keep.
pub fn among(read: &Read<'_>, filters: &Filters, keep: impl Fn(&PatchOutline) -> bool) -> Filters {
    let kept = filters.iter().filter_map(|filter| {
        let outline = (*read.ask(OutlineOf(filter.object.clone()))).clone()?;
        let patches = filter.patches.iter().copied();
        let patches: Arc<[usize]> =
            patches.filter(|index| outline.patches.get(*index).is_some_and(&keep)).collect();
        (!patches.is_empty()).then(|| FilterRef { object: filter.object.clone(), patches })
    });
    kept.collect()
}

fn of(filter: &Outline, keep: impl Fn(&PatchOutline) -> bool) -> Option<FilterRef> {
    let patches = filter.patches.iter().enumerate().filter(|(_, patch)| keep(patch));
    let patches: Arc<[usize]> = patches.map(|(index, _)| index).collect();
    (!patches.is_empty()).then(|| FilterRef { object: filter.key.clone(), patches })
}

fn is_wanted(read: &Read<'_>, wanted: &ProxyMatch, proxy: &Proxy) -> bool {
    let ProxyMatch { proxy_version, metadata } = wanted;
    let text = |key: &str| proxy.texts.get(key).map(String::as_str);
    let version = text(ISTIO_VERSION).unwrap_or_default();
    (proxy_version.is_empty()
        || !version.is_empty()
            && *read.ask(VersionMatches { pattern: proxy_version.clone(), version: version.to_owned() }))
        && has(metadata, text)
}

/// One that does not say a text has an empty one for it, as in Istio's node, whose missing values compare as nothing: not equal.
fn has<'a>(wanted: &BTreeMap<String, String>, text: impl Fn(&str) -> Option<&'a str>) -> bool {
    wanted.iter().all(|(key, value)| text(key) == Some(value))
}

/// The metadata in which a proxy says its version.
const ISTIO_VERSION: &str = "ISTIO_VERSION";

/// Whether a version is one that a pattern is found in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct VersionMatches {
    pattern: String,
    version: String,
}

/// As long a pattern may be; a longer one is of no version (Istio: pilot/pkg/model/envoyfilter.go).
const PATTERN: usize = 1024;

/// What a compiled pattern may take, in bytes.
const COMPILED: usize = 1 << 20;

impl Question for VersionMatches {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "version of a proxy";

    fn answer(&self, _read: &Read<'_>) -> bool {
        let compiled = || regex::RegexBuilder::new(&self.pattern).size_limit(COMPILED).build();
        self.pattern.len() <= PATTERN && compiled().is_ok_and(|pattern| pattern.is_match(&self.version))
    }
}

#[cfg(test)]
mod tests;
