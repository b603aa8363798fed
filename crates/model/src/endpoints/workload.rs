//! Endpoints that a service's selector picks itself: WorkloadEntries, and pods where nobody makes slices of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::pod::Phase;
use meltemi_api::service::TargetPort;
use meltemi_api::value::Address;
use meltemi_memo::Question;
use meltemi_names::{ObjectKey, Port};

use super::slice::PodBackend;
use super::{Backend, Endpoint, EndpointAddress, Health, Located, Target, TargetsOf, locality, topology};
use crate::index::workload_labels;
use crate::mesh::Mesh;
use crate::peer;
use crate::read::{self, Read};
use crate::service::ServiceId;

/// A WorkloadEntry as an endpoint of a service, if its selector picks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryEndpoint {
    pub(super) service: ServiceId,
    pub(super) entry: ObjectKey,
}

impl Question for EntryEndpoint {
    type World = Mesh;
    type Answer = Option<Located>;
    const NAME: &'static str = "endpoint of a WorkloadEntry";

    fn answer(&self, read: &Read<'_>) -> Option<Located> {
        let shape = read.ask(TargetsOf(self.service.clone()));
        let targets = shape.as_ref().as_ref()?;
        let (meta, entry) = read::workload_entry(read, &self.entry)?;
        let labels = workload_labels(meta, &entry.labels);
        if !targets.selector.selects(&labels) {
            return None;
        }
        let address = match entry.address.as_ref()? {
            Address::Ip(ip) => EndpointAddress::Ip(*ip),
            Address::Unix(path) => EndpointAddress::Unix(path.as_str().into()),
            // Endpoints of a service are addresses; names are resolved for a ServiceEntry with resolution DNS alone.
            Address::Name(_) => return None,
        };
        // The entry's own port by the name of the service's port, else the target port (Istio: serviceregistry/serviceentry).
        let port_of = |target: &Target| match (
            target.name.as_ref().and_then(|name| entry.ports.get(name)),
            &target.target,
        ) {
            (Some(port), _) => Some(*port),
            (None, TargetPort::Number(port)) => Some(*port),
            (None, TargetPort::Name(name)) => entry.ports.get(name).copied(),
        };
        let place = match &entry.locality {
            Some(locality) => locality.clone(),
            None => locality(read, &labels, None),
        };
        let health = targets.sent(Health::Healthy, &labels)?;
        let network = match &entry.network {
            Some(network) => Some(network.as_str().into()),
            None => topology::network(read, &labels),
        };
        // One with an identity has a proxy that shows it, unless its label says otherwise (Istio: serviceregistry/serviceentry).
        let can = match labels.value(peer::TLS_MODE_LABEL) {
            Some(mode) => mode == peer::TLS_MODE_ISTIO,
            None => entry.service_account.is_some(),
        };
        let backend = Backend {
            tls: peer::tls_ports(read, &self.entry.namespace, &labels, can),
            labels,
            workload: self.entry.name.as_str().into(),
            namespace: Some(self.entry.namespace.clone()),
            service_account: entry.service_account.as_deref().map(Arc::from),
            network,
        };
        let endpoint = Endpoint {
            address,
            health,
            ports: Arc::new(resolved(&targets.ports, port_of)),
            node: None,
            weight: entry.weight.max(1),
            backend: Arc::new(backend),
            pod: None,
            twin: false,
        };
        Some((place, Arc::new(endpoint)))
    }
}

/// A pod as endpoints of a service, one for each address, if its selector picks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodEndpoint {
    pub(super) service: ServiceId,
    pub(super) pod: ObjectKey,
}

impl Question for PodEndpoint {
    type World = Mesh;
    type Answer = Vec<Located>;
    const NAME: &'static str = "endpoint of a pod";

    fn answer(&self, read: &Read<'_>) -> Vec<Located> {
        let shape = read.ask(TargetsOf(self.service.clone()));
        let facts = read.ask(PodBackend(self.pod.clone()));
        let (Some(targets), Some(facts), Some((_, pod))) = (&*shape, &*facts, read::pod(read, &self.pod))
        else {
            return Vec::new();
        };
        let over = matches!(pod.phase, Phase::Succeeded | Phase::Failed);
        if over || pod.terminating || !targets.selector.selects(&facts.backend.labels) {
            return Vec::new();
        }
        // A pod written by hand says nothing of its phase, and is taken to be ready.
        let ready = pod.ready || pod.phase == Phase::Unknown || targets.unready;
        let health = if ready { Health::Healthy } else { Health::Unhealthy };
        let Some(health) = targets.sent(health, &facts.backend.labels) else { return Vec::new() };
        let port_of = |target: &Target| match &target.target {
            TargetPort::Number(port) => Some(*port),
            TargetPort::Name(name) => {
                pod.ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.port)
            }
        };
        let ports = Arc::new(resolved(&targets.ports, port_of));
        let place = locality(read, &facts.backend.labels, facts.node.as_ref());
        let both = pod.ips.iter().any(IpAddr::is_ipv4);
        pod.ips
            .iter()
            .map(|ip| {
                let endpoint = Endpoint {
                    address: EndpointAddress::Ip(*ip),
                    health,
                    ports: Arc::clone(&ports),
                    node: facts.node.clone(),
                    weight: 1,
                    backend: Arc::clone(&facts.backend),
                    pod: Some(self.pod.name.clone()),
                    twin: both && ip.is_ipv6(),
                };
                (place.clone(), Arc::new(endpoint))
            })
            .collect()
    }
}

/// The workload's port for each port of the service that has one.
fn resolved(targets: &[Target], port_of: impl Fn(&Target) -> Option<Port>) -> BTreeMap<Port, Port> {
    targets.iter().filter_map(|target| Some((target.port, port_of(target)?))).collect()
}
