//! Services as translation sees them, and which of them a namespace sees.

mod allocation;
mod declared;
mod id;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::service::TrafficDistribution;
use meltemi_api::value::{ExportTo, Session, Subnet};
use meltemi_memo::Question;
use meltemi_names::{Host, Kind, Namespace, ObjectKey, Port, Protocol, Selector};

pub use allocation::{AllocatedTo, AnyAllocated};
pub use declared::{Chosen, Contested, Group, declared, objects_of};
pub(crate) use declared::{numbered, target};
pub use id::ServiceId;

use crate::entry::IndexKey;
use crate::exposure::Exposure;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed, none_filed};
use crate::settings::settings;

/// The DNS suffix of Kubernetes services. Istio's default `cluster.local`; a setting of the process, not of the mesh.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// The host of the service under that key.
pub fn host_of(service: &ObjectKey) -> Host {
    Host::of_service(service.name.as_str(), service.namespace.as_str(), CLUSTER_DOMAIN)
}

/// Orders objects as Istio does where the oldest wins: creation time (none is oldest of all, and equal among themselves), then name,
/// then namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age {
    /// Seconds since 1970.
    pub created: Option<meltemi_api::value::Timestamp>,
    /// The object; compared by name, then namespace.
    pub name: meltemi_names::ObjectName,
    /// Its namespace.
    pub namespace: Namespace,
}

impl Resolution {
    /// Whether the proxy resolves names.
    pub fn is_dns(self) -> bool {
        matches!(self, Self::Dns | Self::DnsRoundRobin | Self::Dynamic)
    }
}

impl Age {
    /// The age of an object.
    pub fn of(meta: &meltemi_api::Meta) -> Self {
        Self { created: meta.created, name: meta.key.name.clone(), namespace: meta.key.namespace.clone() }
    }
}

/// How a service's endpoints are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// The proxy picks among the endpoints (a ClusterIP service).
    Endpoints,
    /// The connection goes where it was going: the client picks the endpoint's address itself (headless), or the address is none that
    /// the mesh knows (a ServiceEntry with resolution NONE).
    Passthrough,
    /// The endpoints' names are resolved by the proxy: each address is an endpoint.
    Dns,
    /// The same of one name, of whose addresses the first is taken.
    DnsRoundRobin,
    /// The proxy resolves the name that each request or connection names itself. There are no endpoints.
    Dynamic,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// The service's port, never the target's.
    pub port: Port,
    /// Its name; empty where there is only one and it has none.
    pub name: Arc<str>,
    /// What it speaks.
    pub protocol: Protocol,
}

/// A service as outbound translation sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceShape {
    /// The object that declares it, and its host.
    pub id: ServiceId,
    /// Its ports that carry TCP, as written.
    pub ports: Vec<ServicePort>,
    /// Cluster IPs, or what a ServiceEntry writes; empty for headless services, and for those that write none.
    pub addresses: Vec<IpAddr>,
    /// Blocks of addresses that a ServiceEntry writes.
    pub blocks: Vec<Subnet>,
    /// Addresses that it was given because it has none: of use to proxies that answer DNS alone.
    pub allocated: Arc<[IpAddr]>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// The port that connections go to where they go to the address that was called, if it is another one than the service's.
    pub port_overrides: BTreeMap<Port, Port>,
    /// It is not part of the mesh: nobody there has the mesh's certificates.
    pub external: bool,
    /// Which workloads it has; none: its endpoints are written by somebody else.
    pub selector: Option<Selector>,
    /// Who sees it.
    pub exposure: Exposure,
    /// What orders it among others.
    pub age: Age,
    /// Traffic stays on the caller's node (`internalTrafficPolicy: Local`).
    pub node_local: bool,
    /// By what its clients stay with their endpoint, if they do.
    pub session: Option<Session>,
    /// Hosts that stand for this service too: of ExternalName services that point to it, through others of them or directly.
    pub aliases: Vec<Host>,
}

impl ServiceShape {
    /// The port of that number.
    pub fn port(&self, port: Port) -> Option<&ServicePort> {
        self.ports.iter().find(|found| found.port == port)
    }

    /// Its port, if it has one alone.
    pub fn only_port(&self) -> Option<Port> {
        match self.ports.as_slice() {
            [only] => Some(only.port),
            _ => None,
        }
    }

    /// Whether its clients ask DNS for its endpoints' addresses, of which the mesh knows (a Service with `clusterIP: None`).
    pub fn is_headless(&self) -> bool {
        self.resolution == Resolution::Passthrough && self.id.object.kind == Kind::Service
    }

    /// The addresses at which it is called, by a caller whose proxy answers DNS or does not.
    pub fn addresses(&self, dns_capture: bool) -> &[IpAddr] {
        let given = dns_capture && self.addresses.is_empty() && self.blocks.is_empty();
        if given { &self.allocated } else { &self.addresses }
    }
}

/// The service under that key; none if there is none, or if it is an ExternalName (an alias, no service of its own).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceOf(pub ServiceId);

impl Question for ServiceOf {
    type World = Mesh;
    type Answer = Option<Arc<ServiceShape>>;
    const NAME: &'static str = "service";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        if self.0.object.kind == Kind::ServiceEntry {
            return declared::shape(read, &self.0).map(Arc::new);
        }
        let (meta, service) = read::service(read, &self.0.object)?;
        if service.external_name.is_some() {
            return None;
        }
        let aliases = aliases(read, &self.0.host);
        let mesh = settings(read);
        Some(Arc::new(ServiceShape {
            id: self.0.clone(),
            ports: service
                .ports
                .iter()
                .map(|port| ServicePort {
                    port: port.port,
                    name: port.name.as_deref().unwrap_or_default().into(),
                    protocol: port.protocol(),
                })
                .filter(|port| port.protocol != Protocol::Udp)
                .collect(),
            addresses: service.cluster_ips.clone(),
            blocks: Vec::new(),
            allocated: Arc::default(),
            port_overrides: BTreeMap::new(),
            external: false,
            resolution: if service.headless { Resolution::Passthrough } else { Resolution::Endpoints },
            selector: Some(service.selector.clone()).filter(|selector| !selector.is_empty()),
            exposure: Exposure::resolve(
                &written_exposure(meta),
                &mesh.default_service_export_to,
                &meta.key.namespace,
            ),
            age: Age::of(meta),
            node_local: service.internal_traffic_local,
            session: Session::of(&meta.labels),
            aliases,
        }))
    }
}

/// The hosts that stand for `host`: ExternalName services that point to it, or to one that does; sorted.
fn aliases(read: &Read<'_>, host: &Host) -> Vec<Host> {
    let mut found = BTreeSet::new();
    let mut next = vec![host.clone()];
    while let Some(target) = next.pop() {
        for key in filed(read, IndexKey::AliasesOf(target)) {
            let alias = host_of(key);
            if found.insert(alias.clone()) {
                next.push(alias);
            }
        }
    }
    found.into_iter().collect()
}

/// The annotation by which a Kubernetes Service says who sees it: a list by comma.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// What the annotation says. An entry that has no meaning is a finding, and lets nobody see the service: one that was meant for some
/// must not be for all.
pub(crate) fn written_exposure(meta: &meltemi_api::Meta) -> Vec<ExportTo> {
    let written = meta.annotations.value(EXPORT_TO).unwrap_or_default();
    let entries = written.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| ExportTo::parse(entry).unwrap_or(ExportTo::Nobody)).collect()
}

/// Which endpoints a service's traffic goes to first: by its own word, else by its namespace's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DistributionOf(pub ServiceId);

impl Question for DistributionOf {
    type World = Mesh;
    type Answer = TrafficDistribution;
    const NAME: &'static str = "traffic distribution of a service";

    fn answer(&self, read: &Read<'_>) -> TrafficDistribution {
        let own = match read::service(read, &self.0.object) {
            Some((meta, service)) => service.traffic_distribution(meta),
            None => match read::service_entry(read, &self.0.object) {
                Some((meta, _)) => TrafficDistribution::annotated(meta),
                None => return TrafficDistribution::Any,
            },
        };
        let inherited = || {
            let namespace = ObjectKey::new(Kind::Namespace, "", self.0.namespace().as_str());
            read::meta(read, &namespace).and_then(TrafficDistribution::annotated)
        };
        own.or_else(inherited).unwrap_or_default()
    }
}

/// How near to the caller anything at all is preferred; while nothing is, it makes no difference where a caller runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyDistribution;

impl Question for AnyDistribution {
    type World = Mesh;
    type Answer = TrafficDistribution;
    const NAME: &'static str = "any traffic distribution";

    fn answer(&self, read: &Read<'_>) -> TrafficDistribution {
        [TrafficDistribution::SameNode, TrafficDistribution::SameZone]
            .into_iter()
            .find(|preference| !none_filed(read, IndexKey::Preferring(*preference)))
            .unwrap_or_default()
    }
}

/// Whether the clients of any service stay with their endpoint; while none do, nothing is made for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnySession;

impl Question for AnySession {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any persistent session";

    fn answer(&self, read: &Read<'_>) -> bool {
        !none_filed(read, IndexKey::WithSessions)
    }
}

/// All services that a namespace sees, oldest first; those that only some see before the public ones (Istio's order, in which the
/// first wins). One for each host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VisibleServices(pub Namespace);

impl Question for VisibleServices {
    type World = Mesh;
    type Answer = Arc<[ServiceId]>;
    const NAME: &'static str = "visible services";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let public = read.ask(PublicServices);
        // Where services are public by default, only those that write an exportTo can be this namespace's own.
        let by_default = Exposure::resolve(&[], &settings(read).default_service_export_to, &self.0);
        let candidates =
            if by_default == Exposure::Public { IndexKey::RestrictedServices } else { IndexKey::Services };
        let own = by_age(read, filed(read, candidates), |shape| {
            shape.exposure != Exposure::Public && shape.exposure.reaches(&self.0)
        });
        let contested = read.ask(Contested);
        let chosen = |viewer: Option<&Namespace>, host: &Host| {
            read.ask(Chosen { viewer: viewer.cloned(), host: host.clone() })
        };
        let is_own = |host: &&Host| chosen(Some(&self.0), host) != chosen(None, host);
        if own.is_empty() && !contested.iter().any(|host| is_own(&host)) {
            return Arc::clone(&public);
        }
        let everyone = if contested.is_empty() { public } else { read.ask(AllPublicServices) };
        let meant = |id: &&ServiceId| {
            !contested.contains(&id.host) || chosen(Some(&self.0), &id.host).as_ref().as_ref() == Some(*id)
        };
        own.iter().chain(everyone.iter()).filter(meant).cloned().collect()
    }
}

/// The services that everyone sees, oldest first, one for each host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicServices;

impl Question for PublicServices {
    type World = Mesh;
    type Answer = Arc<[ServiceId]>;
    const NAME: &'static str = "public services";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let all = read.ask(AllPublicServices);
        let contested = read.ask(Contested);
        if contested.is_empty() {
            return Arc::clone(&all);
        }
        let chosen = |host: &Host| read.ask(Chosen { viewer: None, host: host.clone() });
        let meant = |id: &&ServiceId| {
            !contested.contains(&id.host) || chosen(&id.host).as_ref().as_ref() == Some(*id)
        };
        all.iter().filter(meant).cloned().collect()
    }
}

/// The services that everyone sees, oldest first, also where several have one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AllPublicServices;

impl Question for AllPublicServices {
    type World = Mesh;
    type Answer = Arc<[ServiceId]>;
    const NAME: &'static str = "all public services";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        by_age(read, filed(read, IndexKey::Services), |shape| shape.exposure == Exposure::Public).into()
    }
}

fn by_age<'a>(
    read: &Read<'_>,
    objects: impl Iterator<Item = &'a ObjectKey>,
    keep: impl Fn(&ServiceShape) -> bool,
) -> Vec<ServiceId> {
    let mut found: Vec<(Age, ServiceId)> = objects
        .flat_map(|object| declared(read, object))
        .filter_map(|id| {
            let shape = read.ask(ServiceOf(id));
            let shape = shape.as_ref().as_ref()?;
            keep(shape).then(|| (shape.age.clone(), shape.id.clone()))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, key)| key).collect()
}

/// The service of that host as a namespace sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceByHost {
    /// Who asks.
    pub viewer: Namespace,
    /// A host as a service has it; short names are resolved before.
    pub host: Host,
}

impl Question for ServiceByHost {
    type World = Mesh;
    type Answer = Option<Arc<ServiceShape>>;
    const NAME: &'static str = "service by host";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let chosen = Chosen { viewer: Some(self.viewer.clone()), host: self.host.clone() };
        let id = (*read.ask(chosen)).clone()?;
        (*read.ask(ServiceOf(id))).clone()
    }
}

/// The services that a namespace sees on each port, oldest first within a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortTable(pub Namespace);

impl Question for PortTable {
    type World = Mesh;
    type Answer = BTreeMap<Port, Vec<(ServiceId, Protocol)>>;
    const NAME: &'static str = "port table";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut table: Self::Answer = BTreeMap::new();
        for key in read.ask(VisibleServices(self.0.clone())).iter() {
            let shape = read.ask(ServiceOf(key.clone()));
            for port in shape.iter().flat_map(|shape| &shape.ports) {
                table.entry(port.port).or_default().push((key.clone(), port.protocol));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests;
