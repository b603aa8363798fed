//! Which endpoints come first by where they run: `localityLbSetting`, `zoneAwareLbSetting`, of a DestinationRule and of the mesh.
//!
//! Must not know: where anybody runs.   Invariant: a pattern's parts are split once, here.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_names::Locality;

/// How requests are shared among the places where a service has endpoints (Istio's reference: LocalityLoadBalancerSetting).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityLbSetting {
    /// Fixed shares, by where the caller runs; the first that is for the caller counts.
    pub distribute: Vec<Distribute>,
    /// Which region comes next.
    pub failover: Vec<Failover>,
    /// Labels that endpoints have in common with the caller, the most important first.
    pub failover_priority: Vec<FailoverLabel>,
    /// None: yes.
    pub enabled: Option<bool>,
}

impl LocalityLbSetting {
    /// Whether it has any effect.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// How requests are shared by Envoy's own zone-aware routing (Istio's reference: ZoneAwareLoadBalancerSetting).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ZoneAwareLbSetting {
    /// None: yes.
    pub enabled: Option<bool>,
    /// Which region comes next.
    pub failover: Vec<Failover>,
    /// Labels that endpoints have in common with the caller, the most important first.
    pub failover_priority: Vec<FailoverLabel>,
    /// With fewer endpoints zones make no difference; none: Envoy's 6.
    pub min_cluster_size: Option<u32>,
}

impl ZoneAwareLbSetting {
    /// Whether it has any effect.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// The shares of callers of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Distribute {
    /// Where they run.
    pub from: LocalityPattern,
    /// Where to, in percent.
    pub to: BTreeMap<LocalityPattern, u32>,
}

/// Which region takes over when the caller's own has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Failover {
    /// The caller's region.
    pub from: Arc<str>,
    /// The region that takes over.
    pub to: Arc<str>,
}

/// A place, or several: `region/zone/sub-zone`, of which the last may be `*`, or left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalityPattern {
    written: Arc<str>,
    parts: Vec<Arc<str>>,
}

impl LocalityPattern {
    /// Splits it at its slashes; what is beyond the sub-zone is part of it.
    pub fn parse(written: &str) -> Self {
        Self { written: written.into(), parts: written.splitn(3, '/').map(Arc::from).collect() }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Its parts, as written: a region, a zone, a sub-zone.
    pub fn parts(&self) -> &[Arc<str>] {
        &self.parts
    }

    /// How many parts of a locality it asks for: 0 is none, 3 is all.
    pub fn depth(&self) -> usize {
        // An empty region is one that is not known; an empty zone or sub-zone is any.
        let asks = |(index, part): (usize, &Arc<str>)| &**part != "*" && (index == 0 || !part.is_empty());
        self.parts.iter().enumerate().rposition(asks).map_or(0, |last| last + 1)
    }

    /// Whether it is that place (Istio: pilot/pkg/networking/util, `LocalityMatch`).
    pub fn covers(&self, place: &Locality) -> bool {
        let there = [&place.region, &place.zone, &place.sub_zone];
        self.parts.iter().zip(there).enumerate().all(|(index, (wanted, found))| {
            &**wanted == "*" || (index > 0 && wanted.is_empty()) || wanted == found
        })
    }
}

impl<'de> serde::Deserialize<'de> for LocalityPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

/// A label that tells near endpoints from far ones: `key`, of which the caller has the value, or `key=value`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailoverLabel {
    /// Its key.
    pub key: Arc<str>,
    /// The value that near ones have; none: the caller's own.
    pub value: Option<Arc<str>>,
}

impl FailoverLabel {
    /// At the first `=`; a text with two of them has a key alone, as in Istio (core/loadbalancer/loadbalancer.go).
    pub fn parse(written: &str) -> Self {
        let mut parts = written.split('=');
        let key = parts.next().unwrap_or_default().into();
        let value = parts.next().map(Arc::from).filter(|_| parts.next().is_none());
        Self { key, value }
    }
}

impl<'de> serde::Deserialize<'de> for FailoverLabel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::{FailoverLabel, LocalityPattern};
    use meltemi_names::Locality;

    #[test]
    fn a_pattern_covers_what_it_leaves_open() {
        let covers =
            |pattern: &str, place: &str| LocalityPattern::parse(pattern).covers(&Locality::parse(place));
        assert!(covers("*", "eu/eu-1") && covers("*", ""));
        assert!(
            covers("eu", "eu/eu-1/rack")
                && covers("eu/*", "eu/eu-1/rack")
                && covers("eu/eu-1/*", "eu/eu-1/rack")
        );
        assert!(covers("eu/eu-1/rack", "eu/eu-1/rack") && !covers("eu/eu-1/rack", "eu/eu-1"));
        assert!(!covers("eu", "us/eu-1") && !covers("eu/eu-1", "eu/eu-2"));
    }

    #[test]
    fn a_pattern_asks_for_as_much_as_it_writes() {
        let depths = ["*", "eu", "eu/*", "eu/eu-1", "eu/eu-1/*", "eu/eu-1/rack"];
        assert_eq!(depths.map(|text| LocalityPattern::parse(text).depth()), [0, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn a_label_may_have_a_value() {
        let read = |text| FailoverLabel::parse(text);
        assert_eq!((&*read("a").key, read("a").value), ("a", None));
        assert_eq!((&*read("a=b").key, read("a=b").value.as_deref()), ("a", Some("b")));
        assert_eq!((&*read("a=b=c").key, read("a=b=c").value), ("a", None));
    }
}
