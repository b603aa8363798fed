//! Clusters.

use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_names::{Locality, Namespace, ObjectKey, Port, Protocol, Selector};

use crate::key::{Made, Members, RuleRef};

/// Clusters that stand for no service: `PassthroughCluster` and `BlackHoleCluster`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixedKey;

impl Question for FixedKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: fixed clusters";

    fn answer(&self, _read: &Read<'_>) -> Members {
        Members::new()
    }
}

/// The clusters and load assignments of one service as one kind of caller has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePartKey {
    /// Whose rules apply.
    pub viewer: Namespace,
    /// The service.
    pub service: ObjectKey,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// As in [`crate::key::OutboundKey`].
    pub locality: Option<Locality>,
    /// As in [`crate::key::OutboundKey`].
    pub node: Option<Arc<str>>,
}

impl Question for ServicePartKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: service";

    fn answer(&self, _read: &Read<'_>) -> Members {
        Members::new()
    }
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterKey {
    /// Drops all.
    BlackHole,
    /// Sends to where the client wanted to go.
    Passthrough,
    /// The same for what comes in.
    InboundPassthrough,
    /// A service's port, whole or a subset of it.
    Outbound {
        /// The service.
        service: ObjectKey,
        /// The service's port.
        port: Port,
        /// The subset's name.
        subset: Option<Arc<str>>,
        /// The DestinationRules in force for it.
        rule: Option<RuleRef>,
    },
    /// The application's own port.
    Inbound {
        /// The service whose rule's connection pool applies.
        service: ObjectKey,
        /// The service's port.
        port: Port,
        /// The port that the application listens on.
        target: Port,
        /// What it speaks.
        protocol: Protocol,
    },
}

impl Question for ClusterKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "cluster";

    fn answer(&self, _read: &Read<'_>) -> Made {
        None
    }
}
