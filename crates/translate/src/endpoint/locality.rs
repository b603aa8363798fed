//! The endpoints of one locality, chosen and encoded.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::endpoints::{
    Backend, CLUSTER_ID, Endpoint, EndpointAddress, Endpoints, EndpointsIn, Health,
};
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::service::ServiceId;
use meltemi_names::{Locality, Port, Selector};
use meltemi_proto::envoy::config::core::v3::{HealthStatus, Locality as EnvoyLocality, Metadata};
use meltemi_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use meltemi_proto::envoy::config::endpoint::v3::{
    Endpoint as EnvoyEndpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::near::Common;
use crate::address::{named, pipe, tcp};
use crate::encode::Piece;
use crate::metadata;
use crate::wrap::u32_value;

/// `ClusterLoadAssignment.endpoints`.
const ENDPOINTS: u64 = 2;

/// Which nodes endpoints run on. A caller that does not know its node takes those that do not know theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Nodes {
    /// Any.
    All,
    /// This one.
    On(Option<Arc<str>>),
    /// Another one.
    Off(Option<Arc<str>>),
}

/// The endpoints of one locality that a cluster takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Picked {
    pub(super) service: ServiceId,
    pub(super) locality: Locality,
    /// They carry these labels.
    pub(super) labels: Selector,
    pub(super) nodes: Nodes,
    /// They are that far by their labels; none: it makes no difference.
    pub(super) apart: Option<(Common, u32)>,
    /// Their address is of that family; none: of any.
    pub(super) family: Option<IpFamily>,
    pub(super) healthy_only: bool,
}

impl Question for Picked {
    type World = Mesh;
    type Answer = Endpoints;
    const NAME: &'static str = "picked endpoints";

    fn answer(&self, read: &Read<'_>) -> Endpoints {
        let all = read.ask(EndpointsIn { service: self.service.clone(), locality: self.locality.clone() });
        let Some(all) = &*all else { return Endpoints::default() };
        let takes = |endpoint: &Endpoint| {
            self.labels.selects_where(|key| endpoint.label(key, &self.locality))
                && match &self.nodes {
                    Nodes::All => true,
                    Nodes::On(node) => *node == endpoint.node,
                    Nodes::Off(node) => *node != endpoint.node,
                }
                && self.apart.as_ref().is_none_or(|(common, far)| {
                    common.distance(|key| endpoint.label(key, &self.locality)) == *far
                })
                && self.family.is_none_or(|family| match &endpoint.address {
                    EndpointAddress::Ip(ip) => {
                        family.takes(*ip) && !(endpoint.twin && family == IpFamily::Dual)
                    }
                    EndpointAddress::Name(_) | EndpointAddress::Unix(_) => true,
                })
                && (!self.healthy_only || endpoint.health != Health::Unhealthy)
        };
        if all.iter().all(|endpoint| takes(endpoint)) {
            return Arc::clone(all);
        }
        all.iter().filter(|endpoint| takes(endpoint)).cloned().collect()
    }
}

/// How far the endpoints of a locality are by their labels, each distance once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Distances {
    pub(super) picked: Picked,
    pub(super) common: Common,
}

impl Question for Distances {
    type World = Mesh;
    type Answer = BTreeSet<u32>;
    const NAME: &'static str = "distances of endpoints";

    fn answer(&self, read: &Read<'_>) -> BTreeSet<u32> {
        let endpoints = read.ask(self.picked.clone());
        let far =
            |endpoint: &Arc<Endpoint>| self.common.distance(|key| endpoint.label(key, &self.picked.locality));
        endpoints.iter().map(far).collect()
    }
}

/// How much the endpoints that serve a port weigh together; 0 is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WeightOf {
    pub(super) picked: Picked,
    pub(super) port: Port,
}

impl Question for WeightOf {
    type World = Mesh;
    type Answer = u32;
    const NAME: &'static str = "weight of endpoints";

    fn answer(&self, read: &Read<'_>) -> u32 {
        let endpoints = read.ask(self.picked.clone());
        let serving = endpoints.iter().filter(|endpoint| endpoint.ports.contains_key(&self.port));
        serving.fold(0, |whole, endpoint| whole.saturating_add(endpoint.weight))
    }
}

/// One locality of a load assignment, encoded; none if it has no endpoint on that port. Shared by all clusters of the same labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LocalityPiece {
    pub(super) picked: Picked,
    /// The service's port.
    pub(super) port: Port,
    /// 0 comes first.
    pub(super) priority: u32,
    /// Its weight among localities; none: that of its endpoints together.
    pub(super) share: Option<u32>,
}

impl Question for LocalityPiece {
    type World = Mesh;
    type Answer = Option<Piece>;
    const NAME: &'static str = "locality of an assignment";

    fn answer(&self, read: &Read<'_>) -> Option<Piece> {
        let endpoints = read.ask(self.picked.clone());
        let mut weight: u32 = 0;
        let mut lb_endpoints = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints.iter() {
            let Some(port) = endpoint.ports.get(&self.port) else { continue };
            weight = weight.saturating_add(endpoint.weight);
            lb_endpoints.push(encoded(endpoint, *port));
        }
        let Locality { region, zone, sub_zone } = &self.picked.locality;
        (!lb_endpoints.is_empty()).then(|| {
            Piece::field(
                ENDPOINTS,
                &LocalityLbEndpoints {
                    locality: Some(EnvoyLocality {
                        region: region.to_string(),
                        zone: zone.to_string(),
                        sub_zone: sub_zone.to_string(),
                    }),
                    lb_endpoints,
                    load_balancing_weight: u32_value(self.share.unwrap_or(weight)),
                    priority: self.priority,
                    ..LocalityLbEndpoints::default()
                },
            )
        })
    }
}

fn encoded(endpoint: &Endpoint, port: Port) -> LbEndpoint {
    let address = match &endpoint.address {
        EndpointAddress::Ip(ip) => tcp(*ip, port),
        EndpointAddress::Name(name) => named(name, port),
        EndpointAddress::Unix(path) => pipe(path),
    };
    let health = match endpoint.health {
        Health::Healthy => HealthStatus::Healthy,
        Health::Unhealthy => HealthStatus::Unhealthy,
        Health::Draining => HealthStatus::Draining,
    };
    LbEndpoint {
        health_status: health.into(),
        metadata: metadata(&endpoint.backend, port),
        load_balancing_weight: u32_value(endpoint.weight),
        host_identifier: Some(HostIdentifier::Endpoint(EnvoyEndpoint {
            address: Some(address),
            ..EnvoyEndpoint::default()
        })),
    }
}

/// What clients know of an endpoint beside its address: `istio.workload`, what metrics of the client say of the server when nobody else
/// tells; and whether it takes the mesh's mutual TLS on that port of its own, by which clusters choose what they speak to it (Istio:
/// pilot/pkg/networking/util/util.go).
fn metadata(backend: &Backend, port: Port) -> Option<Metadata> {
    let namespace = backend.namespace.as_ref().map_or("", |namespace| namespace.as_str());
    let label = |key: &str| backend.labels.value(key);
    let workload = meltemi_telemetry::Workload::labelled(&backend.workload, namespace, CLUSTER_ID, label);
    let mut found = metadata::istio([("workload", metadata::text(workload.packed()))]);
    if backend.tls.has(port)
        && let Some(metadata) = &mut found
    {
        metadata::choose_socket(metadata, "tlsMode", "istio");
    }
    found
}
