//! Bytes that a build of Envoy refuses: set aside for that build, so that its new proxies start with the last good state.
//!
//! A refusal belongs to the stream that sent it, which keeps its last good version by itself. Only what two different proxies of one
//! build refused alone, and none of that build accepted, is the resource's fault and not the proxy's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_catalog::{Resource, ResourceName};
use meltemi_names::{TypeUrl, Version};

/// A resource as it was refused: these bytes under this name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: ResourceName,
    /// Its bytes, by their hash.
    pub version: Version,
}

/// What a build refuses.
pub(crate) type RefusedSet = Arc<BTreeSet<Refused>>;

/// Whether those bytes are in the set.
pub(crate) fn is_refused(set: &BTreeSet<Refused>, resource: &Resource) -> bool {
    !set.is_empty()
        && set.contains(&Refused {
            type_url: resource.type_url(),
            name: resource.name().clone(),
            version: resource.version(),
        })
}

/// How many refusals are remembered, and how many resources set aside for a build: who refuses more than that refuses everything,
/// and is helped by people.
const REMEMBERED: usize = 1_000;

/// How many proxies' word is taken for bytes that nobody has done anything to.
pub(crate) const ENOUGH: usize = 2;

/// What was refused, by whom.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    reports: BTreeMap<(Arc<str>, Refused), BTreeSet<Arc<str>>>,
    aside: BTreeMap<Arc<str>, RefusedSet>,
}

impl Quarantine {
    /// Notes that `proxy` refused a resource alone. `accepted`: another proxy of the build has accepted it. `enough`: so many proxies'
    /// word is taken for it. True if it is set aside from now on.
    pub(crate) fn report(
        &mut self,
        build: &Arc<str>,
        proxy: &Arc<str>,
        refused: Refused,
        accepted: bool,
        enough: usize,
    ) -> bool {
        let key = (Arc::clone(build), refused);
        if accepted {
            self.reports.remove(&key);
            return false;
        }
        if self.reports.len() >= REMEMBERED && !self.reports.contains_key(&key) {
            self.reports.pop_first();
        }
        let proxies = self.reports.entry(key.clone()).or_default();
        proxies.insert(Arc::clone(proxy));
        if proxies.len() < enough {
            return false;
        }
        self.reports.remove(&key);
        let aside = Arc::make_mut(self.aside.entry(key.0).or_default());
        aside.len() < REMEMBERED && aside.insert(key.1)
    }

    /// What is set aside for a build; empty for most.
    pub(crate) fn of(&self, build: &str) -> RefusedSet {
        self.aside.get(build).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{ENOUGH, Quarantine, Refused};
    use meltemi_names::{TypeUrl, Version};
    use std::sync::Arc;

    fn refused(name: &str) -> Refused {
        Refused { type_url: TypeUrl::Cluster, name: name.into(), version: Version::of(b"bytes") }
    }

    fn text(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn two_proxies_of_one_build_set_a_resource_aside() {
        let mut quarantine = Quarantine::default();
        let build = text("envoy/1.40.0");
        assert!(!quarantine.report(&build, &text("a.x"), refused("c"), false, ENOUGH));
        assert!(
            !quarantine.report(&build, &text("a.x"), refused("c"), false, ENOUGH),
            "the same proxy twice is one"
        );
        assert!(
            !quarantine.report(&text("envoy/1.39.0"), &text("b.x"), refused("c"), false, ENOUGH),
            "another build"
        );
        assert!(!quarantine.report(&build, &text("b.x"), refused("d"), false, ENOUGH), "another resource");
        assert!(quarantine.report(&build, &text("b.x"), refused("c"), false, ENOUGH));
        assert!(quarantine.of("envoy/1.40.0").contains(&refused("c")));
        assert!(quarantine.of("envoy/1.39.0").is_empty());
    }

    #[test]
    fn what_one_proxy_of_the_build_accepts_is_not_the_resources_fault() {
        let mut quarantine = Quarantine::default();
        let build = text("envoy/1.40.0");
        quarantine.report(&build, &text("a.x"), refused("c"), false, ENOUGH);
        assert!(!quarantine.report(&build, &text("b.x"), refused("c"), true, ENOUGH));
        assert!(quarantine.of(&build).is_empty());
    }
}
