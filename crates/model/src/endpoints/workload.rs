//! Endpoints that a service's selector picks itself: WorkloadEntries, and pods where nobody makes slices of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::WorkloadEntry;
use meltemi_api::pod::Phase;
use meltemi_api::service::TargetPort;
use meltemi_api::value::Address;
use meltemi_memo::Question;
use meltemi_names::{Labels, Namespace, ObjectKey, Port};

use super::slice::PodBackend;
use super::targets::Targets;
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
            Address::Unix(path) if !targets.resolved => EndpointAddress::Unix(path.as_str().into()),
            Address::Name(name) if targets.resolved => EndpointAddress::Name(name.as_str().into()),
            Address::Unix(_) | Address::Name(_) => return None,
        };
        let at = At { address, labels, workload: self.entry.name.as_str().into() };
        made(read, targets, entry, at, &self.entry.namespace)
    }
}

/// Where an endpoint listens, and what is behind it.
pub(super) struct At {
    pub(super) address: EndpointAddress,
    pub(super) labels: Labels,
    pub(super) workload: Arc<str>,
}

/// The endpoint that an entry, or a part of a ServiceEntry, describes; none if it is not sent.
pub(super) fn made(
    read: &Read<'_>,
    targets: &Targets,
    entry: &WorkloadEntry,
    at: At,
    namespace: &Namespace,
) -> Option<Located> {
    let At { address, labels, workload } = at;
    if entry.unwell {
        return None;
    }
    // The entry's own port by the name of the service's port, else the target port (Istio: serviceregistry/serviceentry).
    let port_of =
        |target: &Target| match (target.name.as_ref().and_then(|name| entry.ports.get(name)), &target.target)
        {
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
        tls: peer::tls_ports(read, namespace, &labels, can),
        labels,
        workload,
        namespace: Some(namespace.clone()),
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
        hostname: None,
        twin: false,
    };
    Some((place, Arc::new(endpoint)))
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
        let named = |name: &String| {
            pod.ports.iter().find(|port| port.name.as_ref() == Some(name)).map(|port| port.port)
        };
        let port_of = |target: &Target| {
            let by_name = target.name.as_ref().filter(|_| targets.by_name).and_then(named);
            by_name.or_else(|| match &target.target {
                TargetPort::Number(port) => Some(*port),
                TargetPort::Name(name) => named(name),
            })
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
                    hostname: None,
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
