//! Which endpoints a service's traffic goes to first: `spec.trafficDistribution`, and Istio's annotation for it.
//!
//! Must not know: localities, namespaces' inheritance.   Invariant: a value that is not known is [`TrafficDistribution::Any`], as in
//! Istio (pilot/pkg/serviceregistry/kube/conversion.go).

/// The annotation of Services, and of Namespaces for their Services.
pub const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// Which endpoints come first, as long as they are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficDistribution {
    /// All are alike.
    #[default]
    Any,
    /// Those of the caller's zone, then of its region.
    SameZone,
    /// Those of the caller's node, then of its sub-zone, zone, region.
    SameNode,
}

impl TrafficDistribution {
    /// The written form, in any case; none if it has no meaning.
    pub fn parse(text: &str) -> Option<Self> {
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        if is("PreferClose") || is("PreferSameZone") {
            Some(Self::SameZone)
        } else if is("PreferSameNode") {
            Some(Self::SameNode)
        } else {
            None
        }
    }

    /// What an object's annotation says; none if it has none.
    pub fn annotated(meta: &crate::Meta) -> Option<Self> {
        let text = meta.annotations.value(TRAFFIC_DISTRIBUTION).filter(|text| !text.is_empty())?;
        Some(Self::parse(text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::TrafficDistribution::{Any, SameNode, SameZone};
    use super::{TRAFFIC_DISTRIBUTION, TrafficDistribution};
    use crate::Meta;
    use meltemi_names::{Kind, ObjectKey};

    #[test]
    fn the_older_name_means_the_zone_and_case_does_not_matter() {
        let said = |text: &str| {
            let mut meta = Meta::new(ObjectKey::new(Kind::Namespace, "", "shop"));
            meta.annotations = [(TRAFFIC_DISTRIBUTION, text)].into_iter().collect();
            TrafficDistribution::annotated(&meta)
        };
        assert_eq!(said("PreferClose"), Some(SameZone));
        assert_eq!(said("prefersamezone"), Some(SameZone));
        assert_eq!(said("PREFERSAMENODE"), Some(SameNode));
        assert_eq!(said("Any"), Some(Any));
        assert_eq!(said("nearby"), Some(Any));
        assert_eq!(said(""), None);
    }
}
