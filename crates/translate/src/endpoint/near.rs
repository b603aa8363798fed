//! Which endpoints come first: those near the caller (`trafficDistribution`).
//!
//! Knows: how far apart two places are, in Istio's steps. Must not know: how a service says what it prefers, Envoy's messages.
//! Invariant: the priorities of an assignment are 0, 1, 2, ... without a gap; Envoy refuses others.

use std::collections::BTreeSet;
use std::sync::Arc;

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
