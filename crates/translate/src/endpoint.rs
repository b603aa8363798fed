//! Load assignments.

use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_names::{Locality, ObjectKey, Port, Selector};

use crate::key::Made;

/// The endpoints of one cluster, as callers of one locality have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentKey {
    /// The service.
    pub service: ObjectKey,
    /// The service's port.
    pub port: Port,
    /// The subset's name.
    pub subset: Option<Arc<str>>,
    /// The labels that the endpoints must carry: the subset's, taken out of its rule, so that the rule's other fields do not matter
    /// here, and a subset that is gone from its rule while a route still needs it keeps its endpoints up to date.
    pub labels: Selector,
    /// Where the caller runs; none where nothing reads it.
    pub locality: Option<Locality>,
    /// The caller's Kubernetes node; none unless the service keeps its traffic on the node.
    pub node: Option<Arc<str>>,
}

impl Question for AssignmentKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "assignment";

    fn answer(&self, _read: &Read<'_>) -> Made {
        None
    }
}
