//! The workload beside a proxy: its labels as the mesh knows them, and the ports that services lead to.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_api::service::{ServicePort, TargetPort};
use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Locality, ObjectKey, Port, Protocol};

use crate::endpoints;
use crate::entry::IndexKey;
use crate::index::workload_labels;
use crate::mesh::Mesh;
use crate::peer::WorkloadPolicy;
use crate::proxy::Proxy;
use crate::read::{self, Read, filed, none_filed};
use crate::service::{Age, Group, ServiceId, ServiceOf, declared, numbered};

/// A port of a workload that a service leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundPort {
    /// The port that the application listens on.
    pub target: Port,
    /// The oldest service that leads to it.
    pub service: ServiceId,
    /// That service's port.
    pub port: Port,
    /// What that service says the port speaks.
    pub protocol: Protocol,
}

/// What is known of the workload beside a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadFacts {
    /// Its name: of the Deployment, or of the WorkloadEntry; else the one that the proxy says, empty if it says none.
    pub name: Arc<str>,
    /// The pod's or WorkloadEntry's labels, else those that the proxy says.
    pub labels: Labels,
    /// The Kubernetes node that it runs on.
    pub node: Option<Arc<str>>,
    /// The ports that services lead to, by target port.
    pub ports: Arc<[InboundPort]>,
    /// The PeerAuthentication that selects it.
    pub policy: Option<ObjectKey>,
}

/// The workload beside a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload(pub Arc<Proxy>);

/// A workload's ports by name.
pub type NamedPorts = BTreeMap<String, Port>;

impl Question for Workload {
    type World = Mesh;
    type Answer = WorkloadFacts;
    const NAME: &'static str = "workload";

    fn answer(&self, read: &Read<'_>) -> WorkloadFacts {
        let proxy = &self.0;
        let Identity { name, labels, node, named, .. } = identify(read, proxy);
        let mut ports = BTreeMap::new();
        // The oldest service wins a target port (Istio: core/listener_inbound.go).
        for Led { service, port, protocol, target } in led(read, proxy, &labels, &named) {
            ports.entry(target).or_insert(InboundPort { target, service, port, protocol });
        }
        let policy = WorkloadPolicy { namespace: proxy.namespace.clone(), labels: labels.clone() };
        let policy = (*read.ask(policy)).clone();
        WorkloadFacts { name, labels, node, ports: ports.into_values().collect(), policy }
    }
}

/// A port of a service that leads to a workload, and to which port of it.
struct Led {
    service: ServiceId,
    port: Port,
    protocol: Protocol,
    target: Port,
}

/// The ports of services that lead to a workload, of the oldest service first.
fn led(read: &Read<'_>, proxy: &Proxy, labels: &Labels, named: &NamedPorts) -> Vec<Led> {
    let mut services: Vec<(Age, ServiceId)> = labels
        .iter()
        .flat_map(|(key, value)| {
            filed(read, IndexKey::ServicesSelecting(proxy.namespace.clone(), key.into(), value.into()))
        })
        .flat_map(|key| declared(read, key))
        .filter_map(|id| {
            let shape = (*read.ask(ServiceOf(id))).clone()?;
            let selects = shape.selector.as_ref().is_some_and(|selector| selector.selects(labels));
            selects.then(|| (shape.age.clone(), shape.id.clone()))
        })
        .collect();
    services.sort_unstable();
    let mut found = Vec::new();
    let mut leads = |service: &ServiceId, (port, protocol): (Port, Protocol), target: Option<Port>| {
        if let Some(target) = target.filter(|_| protocol != Protocol::Udp) {
            found.push(Led { service: service.clone(), port, protocol, target });
        }
    };
    let spoken = |port: &ServicePort| (port.port, port.protocol());
    for (_, id) in &services {
        let entries = (id.object.kind == Kind::ServiceEntry).then(|| read.ask(Group(id.clone())));
        for entry in entries.iter().flat_map(|entries| entries.iter()) {
            let Some((_, entry)) = read::service_entry(read, entry) else { continue };
            for (port, number) in numbered(&entry.ports) {
                let target = named.get(&port.name).copied().or(port.target_port).unwrap_or(number);
                leads(id, (number, port.protocol), Some(target));
            }
        }
        let Some((_, service)) = read::service(read, &id.object) else { continue };
        for port in &service.ports {
            let target = match &port.target_port {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => named.get(name).copied(),
            };
            leads(id, spoken(port), target);
        }
    }
    if services.is_empty() {
        for (_, id, slice) in without_selector(read, proxy) {
            let (Some((_, service)), Some((_, slice))) =
                (read::service(read, &id.object), read::endpoint_slice(read, &slice))
            else {
                continue;
            };
            for port in &service.ports {
                let own = slice.ports.iter().find(|own| own.name == port.name);
                leads(&id, spoken(port), own.and_then(|own| own.port));
            }
        }
    }
    found
}

/// The label of Services whose ports no Gateway means (Istio: pilot/pkg/model/gateway.go, `DisableGatewayPortTranslationLabel`).
const NO_TRANSLATION: &str = "experimental.istio.io/disable-gateway-port-translation";

/// Each port of a service that leads to a gateway's proxy, with the port that it listens on, of the oldest service first.
pub(crate) fn led_to(read: &Read<'_>, proxy: &Proxy) -> Vec<(Port, Port)> {
    let Identity { labels, named, .. } = identify(read, proxy);
    let counts = |led: &Led| {
        read::meta(read, &led.service.object).is_none_or(|meta| meta.labels.value(NO_TRANSLATION).is_none())
    };
    led(read, proxy, &labels, &named)
        .iter()
        .filter(|led| counts(led))
        .map(|led| (led.port, led.target))
        .collect()
}

/// The services without a selector whose slices name one of the proxy's addresses, oldest first, each with such a slice.
fn without_selector(read: &Read<'_>, proxy: &Proxy) -> Vec<(Age, ServiceId, ObjectKey)> {
    let mut found = Vec::new();
    for address in &proxy.addresses {
        for slice in filed(read, IndexKey::SlicesAt(*address)) {
            let service = read::endpoint_slice(read, slice).and_then(|(_, slice)| slice.service.clone());
            let Some(service) = service.filter(|_| slice.namespace == proxy.namespace) else { continue };
            let id = ServiceId::of(&ObjectKey::new(Kind::Service, slice.namespace.clone(), service));
            let shape = read.ask(ServiceOf(id.clone()));
            if let Some(shape) = shape.as_ref().as_ref().filter(|shape| shape.selector.is_none()) {
                found.push((shape.age.clone(), id, slice.clone()));
            }
        }
    }
    found.sort_unstable();
    found
}

/// What is known of the workload beside a proxy, by whoever knows it.
struct Identity {
    name: Arc<str>,
    labels: Labels,
    node: Option<Arc<str>>,
    named: NamedPorts,
    /// Its own word, which counts before its labels and its node.
    locality: Option<Locality>,
}

/// Where a proxy's workload runs; what nobody else knows the proxy says itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadLocality(pub Arc<Proxy>);

impl Question for WorkloadLocality {
    type World = Mesh;
    type Answer = Locality;
    const NAME: &'static str = "locality of a workload";

    fn answer(&self, read: &Read<'_>) -> Locality {
        let Identity { labels, node, locality, .. } = identify(read, &self.0);
        let known = locality.unwrap_or_else(|| endpoints::locality(read, &labels, node.as_ref()));
        if known.is_empty() { self.0.locality.clone() } else { known }
    }
}

/// The pod of that name, else the WorkloadEntry at one of its addresses, else what the proxy says of itself.
fn identify(read: &Read<'_>, proxy: &Proxy) -> Identity {
    let key = ObjectKey::new(Kind::Pod, proxy.namespace.clone(), &*proxy.name);
    if let Some((meta, pod)) = read::pod(read, &key) {
        let node = pod.node_name.clone().or_else(|| proxy.node_name.clone());
        let named = pod.ports.iter().filter_map(|port| Some((port.name.clone()?, port.port))).collect();
        let name = Arc::clone(&pod.workload);
        return Identity { name, labels: meta.labels.clone(), node, named, locality: None };
    }
    for address in &proxy.addresses {
        for key in filed(read, IndexKey::WorkloadsAt(*address)) {
            if key.namespace != proxy.namespace {
                continue;
            }
            let Some((meta, entry)) = read::workload_entry(read, key) else { continue };
            let labels = workload_labels(meta, &entry.labels);
            // On one machine many entries share a loopback address: only the one whose labels the proxy says is its own.
            let says_so = !proxy.labels.is_empty()
                && proxy.labels.iter().all(|(key, value)| labels.value(key) == Some(value));
            if address.is_loopback() && !says_so {
                continue;
            }
            let named = entry.ports.clone();
            let locality =
                entry.locality.clone().or_else(|| Locality::of_labels(&labels)).unwrap_or_default();
            let (name, node) = (key.name.as_str().into(), proxy.node_name.clone());
            return Identity { name, labels, node, named, locality: Some(locality) };
        }
    }
    let node = proxy.node_name.clone();
    let named = proxy.named_ports.clone();
    Identity { name: Arc::clone(&proxy.workload), labels: proxy.labels.clone(), node, named, locality: None }
}

/// Whether any service keeps its traffic on the caller's node; while none does, the node makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyNodeLocal;

impl Question for AnyNodeLocal {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any node-local service";

    fn answer(&self, read: &Read<'_>) -> bool {
        !none_filed(read, IndexKey::NodeLocalServices)
    }
}

#[cfg(test)]
mod tests;
