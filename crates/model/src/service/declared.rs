//! Services that ServiceEntries declare: one for each host, and who is meant where several objects declare the same host.
//!
//! Knows: which entries count as one, which service of a host a namespace sees (Istio: pilot/pkg/model/sidecar.go). Must not know:
//! endpoints, Envoy.   Start at [`Group`].
//! Invariant: a mesh without ServiceEntries reads one empty index here, [`Contested`]'s.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::service::TargetPort;
use meltemi_api::service_entry::{EntryResolution, Location, ServiceEntryPort};
use meltemi_api::value::Session;
use meltemi_api::{Meta, ServiceEntry};
use meltemi_memo::Question;
use meltemi_names::{Host, Kind, Labels, Namespace, ObjectKey, Port, Protocol, Selector};

use super::allocation::AllocatedTo;
use super::{Age, Resolution, ServiceId, ServiceOf, ServicePort, ServiceShape, aliases};
use crate::entry::IndexKey;
use crate::exposure::Exposure;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};
use crate::settings::settings;

/// The hosts that an entry declares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HostsOf(ObjectKey);

impl Question for HostsOf {
    type World = Mesh;
    type Answer = Vec<Host>;
    const NAME: &'static str = "hosts of an entry";

    fn answer(&self, read: &Read<'_>) -> Vec<Host> {
        read::service_entry(read, &self.0).map(|(_, entry)| entry.hosts.clone()).unwrap_or_default()
    }
}

/// The services that an object declares.
pub fn declared(read: &Read<'_>, object: &ObjectKey) -> Vec<ServiceId> {
    match object.kind {
        Kind::ServiceEntry => {
            let hosts = read.ask(HostsOf(object.clone()));
            let hosts: BTreeSet<&Host> = hosts.iter().collect();
            hosts.into_iter().map(|host| ServiceId { object: object.clone(), host: host.clone() }).collect()
        }
        _ => vec![ServiceId::of(object)],
    }
}

/// The objects that a service is made of: more than one where several entries are one service.
pub fn objects_of(read: &Read<'_>, service: &ServiceId) -> Vec<ObjectKey> {
    match service.object.kind {
        Kind::ServiceEntry => (*read.ask(Group(service.clone()))).clone(),
        _ => vec![service.object.clone()],
    }
}

/// The entries that count as one service with this one, oldest first: those of its namespace and host that agree in all but ports,
/// addresses and endpoints. Empty for all but the oldest of them, which is the one that they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group(pub ServiceId);

/// In what entries must agree to count as one (Istio: `canMergeServices`).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kin {
    resolution: EntryResolution,
    labels: Labels,
    selector: Option<Selector>,
    exposure: Exposure,
}

impl Question for Group {
    type World = Mesh;
    type Answer = Vec<ObjectKey>;
    const NAME: &'static str = "entries that are one service";

    fn answer(&self, read: &Read<'_>) -> Vec<ObjectKey> {
        let ServiceId { object, host } = &self.0;
        let default = settings(read).default_service_export_to.clone();
        let kin = |key: &ObjectKey| {
            let (meta, entry) = read::service_entry(read, key)?;
            let kin = Kin {
                resolution: entry.resolution,
                labels: meta.labels.clone(),
                selector: entry.workload_selector.as_ref().map(|selector| selector.labels.clone()),
                exposure: Exposure::resolve(&entry.export_to, &default, &key.namespace),
            };
            Some((Age::of(meta), kin))
        };
        let Some((_, own)) = kin(object) else { return Vec::new() };
        let same = |key: &&ObjectKey| key.kind == Kind::ServiceEntry && key.namespace == object.namespace;
        let mut all: Vec<(Age, &ObjectKey)> = filed(read, IndexKey::ServicesByHost(host.clone()))
            .filter(same)
            .filter_map(|key| kin(key).filter(|(_, other)| *other == own).map(|(age, _)| (age, key)))
            .collect();
        all.sort_unstable();
        if all.first().is_none_or(|(_, first)| *first != object) {
            return Vec::new();
        }
        all.into_iter().map(|(_, key)| key.clone()).collect()
    }
}

/// The service of that name; none where an older entry is the same service.
pub(super) fn shape(read: &Read<'_>, id: &ServiceId) -> Option<ServiceShape> {
    let (meta, entry) = read::service_entry(read, &id.object)?;
    if !entry.hosts.contains(&id.host) {
        return None;
    }
    let group = read.ask(Group(id.clone()));
    let members: Vec<(&Meta, &ServiceEntry)> =
        group.iter().filter_map(|key| read::service_entry(read, key)).collect();
    if members.is_empty() {
        return None;
    }
    let mut ports: Vec<ServicePort> = Vec::new();
    let mut overrides = BTreeMap::new();
    for (port, number) in members.iter().flat_map(|(_, entry)| numbered(&entry.ports)) {
        // The oldest says what a port speaks.
        if ports.iter().any(|known| known.port == number) {
            continue;
        }
        ports.push(ServicePort { port: number, name: port.name.as_str().into(), protocol: port.protocol });
        if let Some(target) = port.target_port.filter(|_| entry.resolution == EntryResolution::None) {
            overrides.insert(number, target);
        }
    }
    let written = || members.iter().flat_map(|(_, entry)| &entry.addresses).copied();
    let addresses: BTreeSet<_> = written().filter_map(|block| block.alone()).collect();
    let blocks: BTreeSet<_> = written().filter(|block| block.alone().is_none()).collect();
    let allocated = read.ask(AllocatedTo(id.clone()));
    Some(ServiceShape {
        id: id.clone(),
        ports,
        addresses: addresses.into_iter().collect(),
        blocks: blocks.into_iter().collect(),
        allocated: (*allocated).clone(),
        resolution: match entry.resolution {
            EntryResolution::None => Resolution::Passthrough,
            EntryResolution::DynamicDns => Resolution::Dynamic,
            EntryResolution::Static => Resolution::Endpoints,
            EntryResolution::Dns => Resolution::Dns,
            EntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        },
        port_overrides: overrides,
        external: entry.location == Location::MeshExternal,
        selector: entry
            .workload_selector
            .as_ref()
            .map(|selector| selector.labels.clone())
            .filter(|selector| !selector.is_empty()),
        exposure: Exposure::resolve(
            &entry.export_to,
            &settings(read).default_service_export_to,
            &meta.key.namespace,
        ),
        age: Age::of(meta),
        node_local: false,
        session: Session::of(&meta.labels),
        aliases: aliases(read, &id.host),
    })
}

/// The ports that carry TCP, with their numbers.
pub(crate) fn numbered(ports: &[ServiceEntryPort]) -> impl Iterator<Item = (&ServiceEntryPort, Port)> {
    let tcp = ports.iter().filter(|port| port.protocol != Protocol::Udp);
    tcp.filter_map(|port| Some((port, port.number?)))
}

/// What an endpoint of an entry listens on.
pub(crate) fn target(port: &ServiceEntryPort, number: Port) -> TargetPort {
    TargetPort::Number(port.target_port.unwrap_or(number))
}

/// The hosts that more than one service has: at least one of them is of a ServiceEntry, since those of Kubernetes have their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contested;

impl Question for Contested {
    type World = Mesh;
    type Answer = BTreeSet<Host>;
    const NAME: &'static str = "hosts of several services";

    fn answer(&self, read: &Read<'_>) -> BTreeSet<Host> {
        let mut found = BTreeSet::new();
        for entry in filed(read, IndexKey::ServiceEntries) {
            for host in read.ask(HostsOf(entry.clone())).iter() {
                if filed(read, IndexKey::ServicesByHost(host.clone())).nth(1).is_some() {
                    found.insert(host.clone());
                }
            }
        }
        found
    }
}

/// Which service a host is, of those that a namespace sees: one of its own namespace, else Kubernetes' (nobody takes a host from a
/// Service by a ServiceEntry), else one that is not for all, else the oldest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// Who asks; none: somebody who sees just what everyone does.
    pub viewer: Option<Namespace>,
    /// The host.
    pub host: Host,
}

impl Question for Chosen {
    type World = Mesh;
    type Answer = Option<ServiceId>;
    const NAME: &'static str = "service of a host";

    fn answer(&self, read: &Read<'_>) -> Option<ServiceId> {
        let ids = filed(read, IndexKey::ServicesByHost(self.host.clone()))
            .map(|object| ServiceId { object: object.clone(), host: self.host.clone() });
        let sees = |shape: &ServiceShape| match &self.viewer {
            Some(viewer) => shape.exposure.reaches(viewer),
            None => shape.exposure == Exposure::Public,
        };
        let ranked = ids.filter_map(|id| {
            let shape = read.ask(ServiceOf(id));
            let shape = shape.as_ref().as_ref().filter(|shape| sees(shape))?;
            let rank = (
                self.viewer.as_ref() != Some(shape.id.namespace()),
                shape.id.object.kind != Kind::Service,
                shape.exposure == Exposure::Public,
                shape.age.clone(),
            );
            Some((rank, shape.id.clone()))
        });
        ranked.min().map(|(_, id)| id)
    }
}
