//! What egress listeners import, and all that a scope's proxies call (Istio: pilot/pkg/model/sidecar.go).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::sidecar::{Egress, EgressHost};
use meltemi_memo::Question;
use meltemi_names::{Host, Kind, Namespace, ObjectKey, Port, Protocol};

use super::hosts::Hosts;
use super::policy::OutboundPolicyOf;
use crate::entry::IndexKey;
use crate::index::{of_connections, of_requests, qualified};
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};
use crate::service::{ServiceId, ServiceOf, VisibleServices};
use crate::virtual_service::delegate::http_rules;
use crate::virtual_service::{MeshVirtualServices, Outline, followed};

/// The egress listeners of a Sidecar: those with a port first, as they are written. None written: one for all that is exported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressOf(pub ObjectKey);

impl Question for EgressOf {
    type World = Mesh;
    type Answer = Arc<[Egress]>;
    const NAME: &'static str = "egress listeners of a sidecar";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let Some((_, sidecar)) = read::sidecar(read, &self.0) else { return Arc::default() };
        if sidecar.egress.is_empty() {
            return [Egress { hosts: vec![EgressHost::everything()], ..Egress::default() }].into();
        }
        sidecar.egress.as_slice().into()
    }
}

/// The port that services must have to be imported by an egress listener; none: they have all of theirs (Istio: `needsPortMatch`).
pub(super) fn port_of(egress: &Egress) -> Option<Port> {
    let port = egress.port.as_ref()?;
    port.number.filter(|_| port.protocol() != Protocol::HttpProxy)
}

/// The services that an egress listener imports, the first that wins first; of several with one host the one of the caller's own
/// namespace, else the Kubernetes Service, else the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Imported {
    /// Whose proxies.
    pub viewer: Namespace,
    /// The Sidecar.
    pub sidecar: ObjectKey,
    /// The place of the listener in [`EgressOf`].
    pub listener: usize,
}

impl Question for Imported {
    type World = Mesh;
    type Answer = Arc<[ServiceId]>;
    const NAME: &'static str = "imported services";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let egress = read.ask(EgressOf(self.sidecar.clone()));
        let Some(egress) = egress.get(self.listener) else { return Arc::default() };
        let hosts = Hosts { viewer: &self.viewer, hosts: &egress.hosts };
        let candidates: Vec<ServiceId> = match hosts.exact() {
            Some(named) => self.by_name(read, named),
            None => read.ask(VisibleServices(self.viewer.clone())).to_vec(),
        };
        let mut imported: Vec<ServiceId> = candidates
            .into_iter()
            .filter(|service| hosts.import(service.namespace(), &service.host))
            .collect();
        if let Some(port) = port_of(egress) {
            imported.retain(|service| {
                let shape = read.ask(ServiceOf(service.clone()));
                shape.as_ref().as_ref().is_some_and(|shape| shape.port(port).is_some())
            });
        }
        let mut best: BTreeMap<Host, ServiceId> = BTreeMap::new();
        for service in &imported {
            let rank = |one: &ServiceId| (*one.namespace() != self.viewer, one.object.kind != Kind::Service);
            match best.get(&service.host) {
                Some(other) if rank(other) <= rank(service) => {}
                _ => {
                    best.insert(service.host.clone(), service.clone());
                }
            }
        }
        imported.into_iter().filter(|service| best.get(&service.host) == Some(service)).collect()
    }
}

impl Imported {
    /// The services of these hosts that the viewer sees, without a look at any other.
    fn by_name(&self, read: &Read<'_>, named: Vec<(Namespace, Host)>) -> Vec<ServiceId> {
        let named: BTreeSet<(Namespace, Host)> = named.into_iter().collect();
        let mut found = Vec::new();
        for (namespace, host) in named {
            for object in filed(read, IndexKey::ServicesByHost(host.clone())) {
                let id = ServiceId { object: object.clone(), host: host.clone() };
                let shape = read.ask(ServiceOf(id.clone()));
                let Some(shape) = shape.as_ref().as_ref() else { continue };
                if *id.namespace() == namespace && shape.exposure.reaches(&self.viewer) {
                    // As in [`VisibleServices`]: those that only some see come before the public ones.
                    let public = shape.exposure == crate::exposure::Exposure::Public;
                    found.push((public, shape.age.clone(), id));
                }
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, id)| id).collect()
    }
}

/// The VirtualServices that an egress listener imports, the first that wins first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImportedRules {
    /// Whose proxies.
    pub viewer: Namespace,
    /// The Sidecar.
    pub sidecar: ObjectKey,
    /// The place of the listener in [`EgressOf`].
    pub listener: usize,
}

impl Question for ImportedRules {
    type World = Mesh;
    type Answer = Arc<[Arc<Outline>]>;
    const NAME: &'static str = "imported virtual services";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let egress = read.ask(EgressOf(self.sidecar.clone()));
        let Some(egress) = egress.get(self.listener) else { return Arc::default() };
        let hosts = Hosts { viewer: &self.viewer, hosts: &egress.hosts };
        let all = read.ask(MeshVirtualServices);
        let imports = |outline: &Outline| {
            outline.hosts.iter().any(|host| hosts.import_rule(&outline.key.namespace, host))
        };
        followed(&all, &self.viewer).into_iter().filter(|outline| imports(outline)).cloned().collect()
    }
}

/// The destinations of a VirtualService for callers of a namespace, by host, with the ports that they name; none: all ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationsOf {
    /// The VirtualService.
    pub virtual_service: ObjectKey,
    /// Of which namespace the callers are.
    pub viewer: Namespace,
}

/// Ports of services; none: all of them.
pub type Ports = Option<BTreeSet<Port>>;

impl Question for DestinationsOf {
    type World = Mesh;
    type Answer = BTreeMap<Host, Ports>;
    const NAME: &'static str = "destinations of a virtual service";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut found: Self::Answer = BTreeMap::new();
        let Some((meta, service)) = read::virtual_service(read, &self.virtual_service) else { return found };
        // Routes that are for workloads of other namespaces alone bring nothing (Istio: push_context.go,
        // `virtualServiceDestinationsFilteredBySourceNamespace`).
        let http = http_rules(read, meta, service);
        let requests = http.rules.iter().filter(|route| {
            let mut named =
                route.matches.iter().filter_map(|found| found.source_namespace.as_ref()).peekable();
            named.peek().is_none() || named.any(|namespace| *namespace == self.viewer)
        });
        for destination in requests.flat_map(of_requests).chain(of_connections(service)) {
            let host = qualified(&destination.host, &meta.key.namespace);
            let ports = found.entry(host).or_insert_with(|| Some(BTreeSet::new()));
            *ports = match (ports.take(), destination.port) {
                (Some(mut ports), Some(port)) => {
                    ports.insert(port);
                    Some(ports)
                }
                _ => None,
            };
        }
        found
    }
}

/// A service that proxies of a scope call, with the ports that they call it at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The service.
    pub service: ServiceId,
    /// None: all of its ports.
    pub ports: Option<Arc<[Port]>>,
}

/// All services that proxies of a scope call: those that egress listeners import, and where imported VirtualServices send requests,
/// be that imported or not; and the proxy of the outbound policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopedServices {
    /// Whose proxies.
    pub viewer: Namespace,
    /// The Sidecar.
    pub sidecar: ObjectKey,
}

impl Question for ScopedServices {
    type World = Mesh;
    type Answer = Arc<[Seen]>;
    const NAME: &'static str = "services in a scope";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut gathered = Gathered::default();
        for (listener, egress) in read.ask(EgressOf(self.sidecar.clone())).iter().enumerate() {
            let (viewer, sidecar) = (self.viewer.clone(), self.sidecar.clone());
            let port = port_of(egress);
            for service in read.ask(Imported { viewer, sidecar, listener }).iter() {
                gathered.add(service, port.map(|port| BTreeSet::from([port])));
            }
            let (viewer, sidecar) = (self.viewer.clone(), self.sidecar.clone());
            for outline in read.ask(ImportedRules { viewer, sidecar, listener }).iter() {
                let (virtual_service, viewer) = (outline.key.clone(), self.viewer.clone());
                let destinations = read.ask(DestinationsOf { virtual_service, viewer });
                for (host, ports) in destinations.iter() {
                    let Some(service) = self.inferred(read, host) else { continue };
                    gathered.add(&service, port.map_or_else(|| ports.clone(), |port| Some([port].into())));
                }
            }
        }
        let policy = read.ask(OutboundPolicyOf(Some(self.sidecar.clone())));
        if let Some(proxy) = &policy.proxy
            && let Some(service) = self.inferred(read, &proxy.host)
        {
            gathered.add(&service, Some([proxy.port].into()));
        }
        gathered.order.into_iter().filter_map(|(service, ports)| seen(read, service, ports)).collect()
    }
}

impl ScopedServices {
    /// The service of a host that no egress host asks for: the one of the caller's own namespace, else a Kubernetes Service, else the
    /// oldest that the caller sees.
    fn inferred(&self, read: &Read<'_>, host: &Host) -> Option<ServiceId> {
        let known = filed(read, IndexKey::ServicesByHost(host.clone()));
        known
            .filter_map(|object| {
                let id = ServiceId { object: object.clone(), host: host.clone() };
                let shape = (*read.ask(ServiceOf(id.clone()))).clone()?;
                let elsewhere = *id.namespace() != self.viewer;
                (!elsewhere || shape.exposure.reaches(&self.viewer))
                    .then(|| ((elsewhere, id.object.kind != Kind::Service, shape.age.clone()), id))
            })
            .min()
            .map(|(_, id)| id)
    }
}

/// None for a service that has none of these ports.
fn seen(read: &Read<'_>, service: ServiceId, ports: Ports) -> Option<Seen> {
    let Some(mut ports) = ports else { return Some(Seen { service, ports: None }) };
    let shape = (*read.ask(ServiceOf(service.clone()))).clone()?;
    ports.retain(|port| shape.port(*port).is_some());
    if ports.is_empty() {
        return None;
    }
    let all = ports.len() == shape.ports.len();
    Some(Seen { service, ports: (!all).then(|| ports.into_iter().collect()) })
}

/// Services as they are found, one of each host.
#[derive(Default)]
struct Gathered {
    order: Vec<(ServiceId, Ports)>,
    by_host: BTreeMap<Host, usize>,
}

impl Gathered {
    /// Of two services with one host the first counts, but a Kubernetes Service before others.
    fn add(&mut self, service: &ServiceId, ports: Ports) {
        let Some(at) = self.by_host.get(&service.host).copied() else {
            self.by_host.insert(service.host.clone(), self.order.len());
            self.order.push((service.clone(), ports));
            return;
        };
        let Some((known, known_ports)) = self.order.get_mut(at) else { return };
        if known == service {
            *known_ports = match (known_ports.take(), ports) {
                (Some(mut one), Some(other)) => {
                    one.extend(other);
                    Some(one)
                }
                _ => None,
            };
        } else if known.object.kind != Kind::Service && service.object.kind == Kind::Service {
            (*known, *known_ports) = (service.clone(), ports);
        }
    }
}
