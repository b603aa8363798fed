//! Load assignments: who answers for a cluster.
//!
//! Knows: which endpoints a cluster has and how Envoy is told. Must not know: how endpoints are found, policies.   Start at
//! [`AssignmentKey`].
//! Invariant: an assignment is put together from its localities, each encoded by its own question: one endpoint that changes encodes
//! one locality for each port and set of labels that holds it.

mod locality;
mod near;

use std::sync::Arc;

use meltemi_catalog::Resource;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::endpoints::LocalitiesOf;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::service::ServiceId;
use meltemi_names::{Locality, Port, Selector, TypeUrl};
use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;

use crate::cluster::NodeLocal;
use crate::encode::{Piece, assembled};
use crate::key::Made;
use crate::resource_names::outbound_cluster;
use locality::{LocalityPiece, Nodes, Picked};
pub use near::Near;

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
            family: self.family,
            healthy_only: self.healthy_only,
        };
        let all = node.map_or(Nodes::All, Nodes::On);
        let pieces = match &self.near {
            None => localities.iter().map(|locality| (picked(locality, all.clone()), 0)).collect(),
            Some(near) => {
                let parts = localities.iter().flat_map(|locality| {
                    near.parts(locality, &all).map(|(nodes, distance)| (picked(locality, nodes), distance))
                });
                let has_port = |picked: &Picked| {
                    read.ask(picked.clone()).iter().any(|endpoint| endpoint.ports.contains_key(&self.port))
                };
                near::dense(parts.filter(|(picked, _)| has_port(picked)).collect())
            }
        };
        let pieces = pieces
            .into_iter()
            .map(|(picked, priority)| read.ask(LocalityPiece { picked, port: self.port, priority }));
        let pieces: Vec<_> = pieces.collect();
        let (body, version) = assembled(
            std::iter::once(&head).chain(pieces.iter().filter_map(|piece| piece.as_ref().as_ref())),
        );
        let resource = Resource::new(TypeUrl::Endpoint, name, version, body);
        Some(Arc::new(resource.made_from(vec![self.service.object.clone()])))
    }
}

#[cfg(test)]
mod tests;
