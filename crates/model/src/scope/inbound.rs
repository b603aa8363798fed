//! What a Sidecar says of what comes in.

use std::sync::Arc;

use meltemi_api::destination_rule::ConnectionPool;
use meltemi_api::sidecar::Ingress;
use meltemi_memo::Question;
use meltemi_names::{ObjectKey, Port};

use crate::mesh::Mesh;
use crate::read::{self, Read};

/// The ingress listeners of a Sidecar. Without any, services say on which ports a workload is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IngressOf(pub ObjectKey);

impl Question for IngressOf {
    type World = Mesh;
    type Answer = Arc<[Ingress]>;
    const NAME: &'static str = "ingress listeners of a sidecar";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        read::sidecar(read, &self.0).map(|(_, sidecar)| sidecar.ingress.as_slice().into()).unwrap_or_default()
    }
}

/// The limits of what comes in at a port; none: those of the service's DestinationRule hold (Istio: pilot/pkg/model/sidecar.go,
/// `InboundConnectionPoolForPort`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InboundPoolOf {
    /// The Sidecar.
    pub sidecar: ObjectKey,
    /// The port that the workload is reached at.
    pub port: Port,
}

impl Question for InboundPoolOf {
    type World = Mesh;
    type Answer = Option<ConnectionPool>;
    const NAME: &'static str = "connection pool of a sidecar";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (_, sidecar) = read::sidecar(read, &self.sidecar)?;
        let of_port = sidecar
            .ingress
            .iter()
            .find(|ingress| ingress.port.as_ref().is_some_and(|port| port.number == Some(self.port)))
            .and_then(|ingress| ingress.connection_pool.clone());
        of_port.or_else(|| sidecar.inbound_connection_pool.clone())
    }
}
