//! Which endpoints come first: those near the caller, or that have labels in common with it.
//!
//! Knows: how far apart two places are, in Istio's steps. Must not know: how a service, a rule or the mesh says what it prefers, Envoy's
//! messages.
//! Invariant: the priorities of an assignment are 0, 1, 2, ... without a gap; Envoy refuses others.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::destination_rule::LocalityPattern;
use meltemi_api::service::TrafficDistribution;
use meltemi_names::Locality;

use super::locality::Nodes;

/// Where the caller runs, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Near {
    /// Endpoints of its zone come first, then those of its region.
    Zone {
        /// The caller's region.
        region: Arc<str>,
        /// The caller's zone.
        zone: Arc<str>,
    },
    /// Endpoints of its node come first, then those of its sub-zone, zone, region.
    Node {
        /// The caller's locality.
        locality: Locality,
        /// The caller's node.
        node: Option<Arc<str>>,
    },
    /// Endpoints with these labels come first, then those that lack the last of them, and so on; among equals those of these places.
    Common {
        /// Which labels.
        common: Common,
        /// Which places.
        places: Places,
    },
    /// Endpoints of these places alone, each place with its share of the requests, in percent.
    Shares(Arc<[(LocalityPattern, u32)]>),
}

/// Labels that near endpoints have, the most important first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Common {
    /// With their values; an empty one is a label that they lack.
    pub labels: Arc<[(Arc<str>, Arc<str>)]>,
    /// The first is the network: endpoints of another one come after all of this one, and keep their order.
    pub network_first: bool,
}

/// Which places come first, from there on down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Places {
    /// None.
    Alike,
    /// The caller's sub-zone, its zone, its region, another region, all others.
    Down {
        /// Where the caller runs.
        here: Locality,
        /// The region that takes over; none: all others are alike.
        next: Option<Arc<str>>,
    },
    /// The caller's region, another region, all others.
    Regions {
        /// The caller's region.
        here: Arc<str>,
        /// The region that takes over; none: all others are alike.
        next: Option<Arc<str>>,
    },
}

/// More than the steps of [`Places`].
const STEPS: u32 = 5;

impl Places {
    fn distance(&self, there: &Locality) -> u32 {
        let region = |next: &Option<Arc<str>>, first: u32| {
            if next.as_ref().is_none_or(|next| *next == there.region) { first } else { first + 1 }
        };
        match self {
            Self::Alike => 0,
            Self::Down { here, .. } if here == there => 0,
            Self::Down { here, .. } if (&here.region, &here.zone) == (&there.region, &there.zone) => 1,
            Self::Down { here, .. } if here.region == there.region => 2,
            Self::Down { next, .. } => region(next, 3),
            Self::Regions { here, .. } if *here == there.region => 0,
            Self::Regions { next, .. } => region(next, 1),
        }
    }
}

impl Common {
    /// How far an endpoint is whose labels have these values: the first that differs decides (Istio:
    /// core/loadbalancer/loadbalancer.go, `applyFailoverPriorityPerLocality`).
    pub(super) fn distance<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> u32 {
        let all = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        let mut elsewhere = 0;
        for (index, (key, wanted)) in (0..).zip(self.labels.iter()) {
            if value(key).unwrap_or_default() == &**wanted {
                continue;
            }
            if index == 0 && self.network_first {
                elsewhere = all;
            } else {
                return elsewhere + (all - index);
            }
        }
        elsewhere
    }
}

impl Near {
    /// What `preferred` reads of a caller there; none if all endpoints are alike.
    pub(crate) fn to(
        locality: &Locality,
        node: Option<&Arc<str>>,
        preferred: TrafficDistribution,
    ) -> Option<Self> {
        match preferred {
            TrafficDistribution::Any => None,
            TrafficDistribution::SameZone => {
                Some(Self::Zone { region: Arc::clone(&locality.region), zone: Arc::clone(&locality.zone) })
            }
            TrafficDistribution::SameNode => {
                Some(Self::Node { locality: locality.clone(), node: node.cloned() })
            }
        }
    }

    /// The labels that tell endpoints of one locality apart; none: there are none.
    pub(super) fn common(&self) -> Option<&Common> {
        match self {
            Self::Common { common, .. } => Some(common).filter(|common| !common.labels.is_empty()),
            Self::Zone { .. } | Self::Node { .. } | Self::Shares(_) => None,
        }
    }

    /// How far an endpoint is, by its labels first and then by its place.
    pub(super) fn joined(by_labels: u32, by_place: u32) -> u32 {
        by_labels.saturating_mul(STEPS).saturating_add(by_place)
    }

    /// The endpoints of a locality, in parts by how far they are. The first difference decides, from the region down (Istio:
    /// core/loadbalancer/loadbalancer.go, failover by labels); one network is all there is.
    pub(super) fn parts(
        &self,
        there: &Locality,
        nodes: &Nodes,
    ) -> impl Iterator<Item = (Nodes, u32)> + use<> {
        let mut parts = Vec::with_capacity(2);
        match self {
            Self::Zone { region, zone } => {
                let distance = match (*region == there.region, *zone == there.zone) {
                    (false, _) => 2,
                    (true, false) => 1,
                    (true, true) => 0,
                };
                parts.push((nodes.clone(), distance));
            }
            Self::Common { places, .. } => parts.push((nodes.clone(), places.distance(there))),
            Self::Shares(_) => parts.push((nodes.clone(), 0)),
            Self::Node { locality: here, node } => {
                let distance = if here.region != there.region {
                    4
                } else if here.zone != there.zone {
                    3
                } else if here.sub_zone != there.sub_zone {
                    2
                } else {
                    0
                };
                // Nothing is nearer than the node to which a service keeps its traffic anyway.
                if distance == 0 && *nodes == Nodes::All {
                    parts.push((Nodes::On(node.clone()), 0));
                    parts.push((Nodes::Off(node.clone()), 1));
                } else {
                    parts.push((nodes.clone(), distance));
                }
            }
        }
        parts.into_iter()
    }
}

/// Distances as priorities: in the same order, and without a gap.
pub(super) fn dense<P>(parts: Vec<(P, u32)>) -> Vec<(P, u32)> {
    let there: BTreeSet<u32> = parts.iter().map(|(_, distance)| *distance).collect();
    let rank = |distance: u32| there.range(..distance).map(|_| 1).sum();
    parts.into_iter().map(|(part, distance)| (part, rank(distance))).collect()
}

/// The weights of groups of endpoints at these places, by their shares; what is at none of them has none. A share is split among its
/// groups by the weights that they have, and rounded up (Istio: core/loadbalancer/loadbalancer.go, `applyLocalityWeights`).
pub(super) fn shared(shares: &[(LocalityPattern, u32)], groups: &[(&Locality, u32)]) -> Vec<Option<u32>> {
    let mut weights: Vec<Option<u32>> = vec![None; groups.len()];
    for (pattern, share) in shares {
        let of_pattern: Vec<usize> = (0..groups.len())
            .filter(|index| weights[*index].is_none() && pattern.covers(groups[*index].0))
            .collect();
        let whole: u64 = of_pattern.iter().map(|index| u64::from(groups[*index].1)).sum();
        for index in of_pattern {
            let part = (u64::from(groups[index].1) * u64::from(*share)).div_ceil(whole.max(1));
            weights[index] = Some(u32::try_from(part).unwrap_or(u32::MAX));
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meltemi_api::destination_rule::LocalityPattern;
    use meltemi_names::Locality;

    use super::{Common, Places, shared};

    /// Istio's documentation ("Failover priority"): the first label that differs decides.
    #[test]
    fn the_first_label_that_differs_decides() {
        let labels = [("network", "n1"), ("region", "eu"), ("zone", "eu-1")];
        let labels: Vec<(Arc<str>, Arc<str>)> =
            labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let distance = |network_first, found: [&str; 3]| {
            let common = Common { labels: labels.clone().into(), network_first };
            common.distance(|key| labels.iter().position(|(found, _)| &**found == key).map(|at| found[at]))
        };
        assert_eq!(distance(false, ["n1", "eu", "eu-1"]), 0);
        assert_eq!(distance(false, ["n1", "eu", "eu-2"]), 1);
        assert_eq!(distance(false, ["n1", "us", "eu-1"]), 2);
        assert_eq!(distance(false, ["n2", "eu", "eu-1"]), 3);
        // Of another network, and still in order there.
        assert_eq!(distance(true, ["n2", "eu", "eu-1"]), 3);
        assert_eq!(distance(true, ["n2", "eu", "eu-2"]), 4);
        assert_eq!(distance(true, ["n2", "us", "eu-1"]), 5);
    }

    #[test]
    fn places_are_near_from_the_sub_zone_up() {
        let here = || Locality::parse("eu/eu-1/a");
        let far = |next: Option<&str>| {
            let places = Places::Down { here: here(), next: next.map(Arc::from) };
            ["eu/eu-1/a", "eu/eu-1/b", "eu/eu-2/a", "us/us-1", "ap/ap-1"]
                .map(|there| places.distance(&Locality::parse(there)))
        };
        assert_eq!(far(None), [0, 1, 2, 3, 3]);
        assert_eq!(far(Some("us")), [0, 1, 2, 3, 4]);
        let regions = Places::Regions { here: "eu".into(), next: Some("us".into()) };
        let regions = ["eu/eu-2", "us/us-1", "ap"].map(|there| regions.distance(&Locality::parse(there)));
        assert_eq!(regions, [0, 1, 2]);
    }

    #[test]
    fn a_share_is_split_by_weight_and_rounded_up() {
        let places = ["eu/eu-1", "eu/eu-2", "us/us-1", "ap/ap-1"].map(Locality::parse);
        let shares = [("eu/*", 80), ("us", 20)].map(|(text, share)| (LocalityPattern::parse(text), share));
        let groups: Vec<(&Locality, u32)> = places.iter().zip([1, 2, 5, 7]).collect();
        assert_eq!(shared(&shares, &groups), [Some(27), Some(54), Some(20), None]);
    }
}
