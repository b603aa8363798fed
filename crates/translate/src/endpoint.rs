//! Load assignments: who answers for a cluster.
//!
//! Knows: which endpoints a cluster has and how Envoy is told. Must not know: how endpoints are found, policies.   Start at
//! [`AssignmentKey`].
//! Invariant: an assignment is put together from its localities, each encoded by its own question: one endpoint that changes encodes
//! one locality for each port and set of labels that holds it.

mod caller;
mod locality;
mod near;

use std::sync::Arc;

use meltemi_api::destination_rule::LocalityPattern;
use meltemi_catalog::Resource;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::endpoints::LocalitiesOf;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::service::{ServiceId, objects_of};
use meltemi_names::{Locality, Port, Selector, TypeUrl};
use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;

use crate::cluster::NodeLocal;
use crate::encode::{Piece, assembled};
use crate::key::Made;
use crate::resource_names::outbound_cluster;
pub use caller::Caller;
use locality::{Distances, LocalityPiece, Nodes, Picked, WeightOf};
pub use near::{Common, Near, Places};

/// The endpoints of one cluster, as callers of one place have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentKey {
    /// The service.
    pub service: ServiceId,
    /// The service's port.
    pub port: Port,
    /// The subset's name.
    pub subset: Option<Arc<str>>,
    /// The labels that the endpoints must carry: the subset's, taken out of its rule, so that the rule's other fields do not matter
    /// here, and a subset that is gone from its rule while a route still needs it keeps its endpoints up to date.
    pub labels: Selector,
    /// Which endpoints come first; none: all are alike.
    pub near: Option<Near>,
    /// The caller's Kubernetes node; none unless the service keeps its traffic on the node.
    pub node: Option<Arc<str>>,
    /// Which addresses the caller reaches; none unless the service has endpoints of both families.
    pub family: Option<IpFamily>,
    /// Unhealthy endpoints are left out: with a panic threshold Envoy would use them.
    pub healthy_only: bool,
}

impl Question for AssignmentKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "assignment";

    fn answer(&self, read: &Read<'_>) -> Made {
        let name = outbound_cluster(self.port, self.subset.as_deref(), &self.service.host);
        let head = Piece::of(&ClusterLoadAssignment {
            cluster_name: name.as_str().to_owned(),
            ..ClusterLoadAssignment::default()
        });
        let node = (*read.ask(NodeLocal(self.service.clone()))).then(|| self.node.clone());
        let localities = read.ask(LocalitiesOf(self.service.clone()));
        let picked = |locality: &Locality, nodes: Nodes| Picked {
            service: self.service.clone(),
            locality: locality.clone(),
            labels: self.labels.clone(),
            nodes,
            apart: None,
            family: self.family,
            healthy_only: self.healthy_only,
        };
        let all = node.map_or(Nodes::All, Nodes::On);
        let whole = localities.iter().map(|locality| picked(locality, all.clone()));
        let pieces: Vec<LocalityPiece> = match &self.near {
            None => whole.map(|picked| self.piece(picked, 0, None)).collect(),
            Some(Near::Shares(shares)) => self.by_shares(read, shares, whole.collect()),
            Some(near) => {
                let parts = localities.iter().flat_map(|locality| {
                    near.parts(locality, &all).map(|(nodes, far)| (picked(locality, nodes), far))
                });
                let parts = parts.flat_map(|(picked, far)| apart(read, near, picked, far));
                let serving = parts.filter(|(picked, _)| self.weight(read, picked) > 0).collect();
                let dense = near::dense(serving).into_iter();
                dense.map(|(picked, priority)| self.piece(picked, priority, None)).collect()
            }
        };
        let pieces: Vec<_> = pieces.into_iter().map(|piece| read.ask(piece)).collect();
        let (body, version) = assembled(
            std::iter::once(&head).chain(pieces.iter().filter_map(|piece| piece.as_ref().as_ref())),
        );
        let resource = Resource::new(TypeUrl::Endpoint, name, version, body);
        Some(Arc::new(resource.made_from(objects_of(read, &self.service))))
    }
}

impl AssignmentKey {
    fn piece(&self, picked: Picked, priority: u32, share: Option<u32>) -> LocalityPiece {
        LocalityPiece { picked, port: self.port, priority, share }
    }

    fn weight(&self, read: &Read<'_>, picked: &Picked) -> u32 {
        *read.ask(WeightOf { picked: picked.clone(), port: self.port })
    }

    fn by_shares(
        &self,
        read: &Read<'_>,
        shares: &[(LocalityPattern, u32)],
        localities: Vec<Picked>,
    ) -> Vec<LocalityPiece> {
        let weigh = |picked: Picked| (self.weight(read, &picked), picked);
        let serving: Vec<(u32, Picked)> =
            localities.into_iter().map(weigh).filter(|(weight, _)| *weight > 0).collect();
        let groups: Vec<_> = serving.iter().map(|(weight, picked)| (&picked.locality, *weight)).collect();
        let weights = near::shared(shares, &groups);
        let shared = serving.into_iter().zip(weights);
        shared.filter_map(|((_, picked), share)| Some(self.piece(picked, 0, Some(share?)))).collect()
    }
}

/// The same endpoints, in parts by what they have in common with the caller.
fn apart(read: &Read<'_>, near: &Near, picked: Picked, by_place: u32) -> Vec<(Picked, u32)> {
    let Some(common) = near.common() else { return vec![(picked, Near::joined(0, by_place))] };
    let distances = read.ask(Distances { picked: picked.clone(), common: common.clone() });
    if let [only] = Vec::from_iter(distances.iter().copied())[..] {
        return vec![(picked, Near::joined(only, by_place))];
    }
    let part = |far: &u32| {
        let apart = Some((common.clone(), *far));
        (Picked { apart, ..picked.clone() }, Near::joined(*far, by_place))
    };
    distances.iter().map(part).collect()
}

#[cfg(test)]
mod tests;
