//! Endpoints of ServiceEntries: those that are written in them, those that their selectors pick, and their hosts themselves.
//!
//! Must not know: Envoy, subsets.   Start at [`located`].
//! Invariant: entries that are one service have the endpoints of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::service::TargetPort;
use meltemi_api::service_entry::EntryResolution;
use meltemi_api::value::Address;
use meltemi_api::{ServiceEntry, WorkloadEntry};
use meltemi_memo::Question;
use meltemi_names::{Locality, Namespace, Port};

use super::targets::{Target, Targets};
use super::workload::{At, EntryEndpoint, PodEndpoint, made};
use super::{Backend, Endpoint, EndpointAddress, Health, Located, TargetsOf};
use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};
use crate::service::{Group, ServiceId, numbered, target};

/// What endpoints of an entry are made by.
pub(super) fn targets(entry: &ServiceEntry) -> Targets {
    let ports = numbered(&entry.ports).map(|(port, number)| Target {
        port: number,
        name: Some(port.name.clone()),
        target: target(port, number),
    });
    Targets {
        selector: entry
            .workload_selector
            .as_ref()
            .filter(|_| picks(entry.resolution))
            .map(|selector| selector.labels.clone())
            .unwrap_or_default(),
        ports: ports.collect(),
        drains: false,
        unready: false,
        resolved: matches!(entry.resolution, EntryResolution::Dns | EntryResolution::DnsRoundRobin),
        by_name: true,
    }
}

/// Whether there are endpoints at all.
fn picks(resolution: EntryResolution) -> bool {
    !matches!(resolution, EntryResolution::None | EntryResolution::DynamicDns)
}

/// The endpoints of a service that entries declare.
pub(super) fn located(read: &Read<'_>, service: &ServiceId) -> Vec<Located> {
    let mut found = Vec::new();
    let mut served: BTreeSet<Port> = BTreeSet::new();
    for object in read.ask(Group(service.clone())).iter() {
        let member = ServiceId { object: object.clone(), host: service.host.clone() };
        let written = read.ask(Written(member.clone()));
        let mut own: Vec<Located> = written.iter().cloned().collect();
        let targets = read.ask(TargetsOf(member.clone()));
        let Some(targets) = &*targets else { continue };
        own.extend(picked(read, &member, targets));
        // Of a name of which one address is taken there is one endpoint for each port: the oldest entry's (Istio:
        // serviceregistry/serviceentry/conversion.go).
        if read::service_entry(read, object)
            .is_some_and(|(_, entry)| entry.resolution == EntryResolution::DnsRoundRobin)
        {
            own = own.into_iter().filter_map(|located| first_of_port(located, &mut served)).collect();
        }
        found.extend(own);
    }
    found
}

/// The endpoint without the ports that are served already; none if that leaves none.
fn first_of_port((place, endpoint): Located, served: &mut BTreeSet<Port>) -> Option<Located> {
    let ports: BTreeMap<Port, Port> = endpoint
        .ports
        .iter()
        .filter(|(port, _)| served.insert(**port))
        .map(|(port, own)| (*port, *own))
        .collect();
    (!ports.is_empty()).then(|| (place, Arc::new(Endpoint { ports: Arc::new(ports), ..(*endpoint).clone() })))
}

fn picked(read: &Read<'_>, member: &ServiceId, targets: &Targets) -> Vec<Located> {
    let Some((label, value)) = targets.selector.labels().iter().next() else { return Vec::new() };
    let namespace: &Namespace = member.namespace();
    let (label, value): (Arc<str>, Arc<str>) = (label.into(), value.into());
    let mut found = Vec::new();
    let entries = IndexKey::WorkloadsLabelled(namespace.clone(), label.clone(), value.clone());
    for entry in filed(read, entries) {
        let question = EntryEndpoint { service: member.clone(), entry: entry.clone() };
        found.extend((*read.ask(question)).clone());
    }
    for pod in filed(read, IndexKey::PodsLabelled(namespace.clone(), label, value)) {
        let question = PodEndpoint { service: member.clone(), pod: pod.clone() };
        found.extend(read.ask(question).iter().cloned());
    }
    found
}

/// The endpoints that an entry writes; its host, where it writes none and is to be resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Written(ServiceId);

impl Question for Written {
    type World = Mesh;
    type Answer = Vec<Located>;
    const NAME: &'static str = "endpoints written in an entry";

    fn answer(&self, read: &Read<'_>) -> Vec<Located> {
        let id = &self.0;
        let Some((_, entry)) = read::service_entry(read, &id.object) else { return Vec::new() };
        if !picks(entry.resolution) {
            return Vec::new();
        }
        let targets = targets(entry);
        if entry.endpoints.is_empty() && entry.workload_selector.is_none() && targets.resolved {
            return vec![host_itself(id, &targets)];
        }
        let name = id.object.name.as_str();
        let written =
            entry.endpoints.iter().enumerate().filter_map(|(index, endpoint): (usize, &WorkloadEntry)| {
                let address = match endpoint.address.as_ref()? {
                    Address::Ip(ip) => EndpointAddress::Ip(*ip),
                    Address::Name(name) => EndpointAddress::Name(name.as_str().into()),
                    Address::Unix(path) => EndpointAddress::Unix(path.as_str().into()),
                };
                let at = At {
                    address,
                    labels: endpoint.labels.clone(),
                    workload: format!("{name}-{index}").into(),
                };
                made(read, &targets, endpoint, at, id.namespace())
            });
        written.collect()
    }
}

/// An entry's host as its own endpoint: nothing is known of who serves it.
fn host_itself(id: &ServiceId, targets: &Targets) -> Located {
    let ports = targets.ports.iter().map(|target| match target.target {
        TargetPort::Number(number) => (target.port, number),
        TargetPort::Name(_) => (target.port, target.port),
    });
    let backend = Backend {
        workload: id.object.name.as_str().into(),
        namespace: Some(id.namespace().clone()),
        ..Backend::default()
    };
    let endpoint = Endpoint {
        address: EndpointAddress::Name(id.host.as_str().into()),
        health: Health::Healthy,
        ports: Arc::new(ports.collect()),
        node: None,
        weight: 1,
        backend: Arc::new(backend),
        pod: None,
        hostname: None,
        twin: false,
    };
    (Locality::default(), Arc::new(endpoint))
}
