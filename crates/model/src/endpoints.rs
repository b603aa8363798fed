//! Who serves a service: slices, pods, nodes and WorkloadEntries joined.
//!
//! Knows: which objects are endpoints of a service, and what is known of each. Must not know: subsets, policies, Envoy.   Start at
//! [`EndpointsOf`]; `slice` and `workload` make endpoints of one object each.
//! Invariant: one object that changes remakes its own endpoints, and the list of the services that it serves; nothing of others.

mod declared;
mod identity;
mod merge;
mod slice;
mod targets;
mod topology;
mod workload;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Locality, Namespace, ObjectName, Port, Selector};

use crate::entry::IndexKey;
use crate::index::workload_labels;
use crate::mesh::Mesh;
use crate::peer::TlsPorts;
use crate::read::{self, Read, filed};
use crate::service::ServiceId;
pub use identity::{Identities, IdentitiesOf, TakeTls, WhoTakesTls};
use slice::SliceEndpoints;
use targets::{Target, TargetsOf};
pub(crate) use topology::{CLUSTER, HOSTNAME, REGION, SUB_ZONE, ZONE};
pub use topology::{CLUSTER_ID, NETWORK, is_topology_label, locality, network, place_label};
use workload::{EntryEndpoint, PodEndpoint};

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// At an IP address, on the endpoint's port.
    Ip(IpAddr),
    /// At whatever the name is resolved to, on the endpoint's port.
    Name(Arc<str>),
    /// At the path of a Unix domain socket; ports have no meaning.
    Unix(Arc<str>),
}

/// Whether an endpoint takes requests. One that is going away is no endpoint, unless its service drains those that do. The best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It does.
    Healthy,
    /// It is there, and not ready.
    Unhealthy,
    /// It is going away, and still answers the clients that it has.
    Draining,
}

/// The workload behind an endpoint. Names that are not known are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backend {
    /// What subsets select by.
    pub labels: Labels,
    /// The workload's name: of the Deployment, or of the WorkloadEntry.
    pub workload: Arc<str>,
    /// Its namespace.
    pub namespace: Option<Namespace>,
    /// Whose identity it has.
    pub service_account: Option<Arc<str>>,
    /// The network that its addresses are of; none: every other one reaches them.
    pub network: Option<Arc<str>>,
    /// Where it takes the mesh's mutual TLS.
    pub tls: TlsPorts,
}

/// One who serves a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Whether it takes requests.
    pub health: Health,
    /// Its own port for each port of the service that it serves.
    pub ports: Arc<BTreeMap<Port, Port>>,
    /// The Kubernetes node that it runs on.
    pub node: Option<Arc<str>>,
    /// Its share relative to the service's other endpoints.
    pub weight: u32,
    /// The workload behind it.
    pub backend: Arc<Backend>,
    /// The pod that it is, in the service's namespace.
    pub pod: Option<ObjectName>,
    /// Its own name within the service, by its slice.
    pub hostname: Option<Arc<str>>,
    /// An IPv6 address of a pod that the service has at an IPv4 address too: for who reaches both, one of them counts.
    pub twin: bool,
}

impl Endpoint {
    /// The value of a label by which a subset may select: what is known of where it runs, over the workload's own labels (Istio:
    /// serviceregistry/util/label).
    pub fn label<'a>(&'a self, key: &str, locality: &'a Locality) -> Option<&'a str> {
        topology::label(key, locality, self.node.as_deref(), self.backend.network.as_deref())
            .or_else(|| self.backend.labels.value(key))
    }
}

/// An endpoint, and where it runs.
type Located = (Locality, Arc<Endpoint>);

/// The endpoints of one locality, by address.
pub type Endpoints = Arc<[Arc<Endpoint>]>;

/// Who serves a service, by locality; empty for a service that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointsOf(pub ServiceId);

impl Question for EndpointsOf {
    type World = Mesh;
    type Answer = BTreeMap<Locality, Endpoints>;
    const NAME: &'static str = "endpoints";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        if self.0.object.kind == Kind::ServiceEntry {
            return by_locality(merge::sorted(declared::located(read, &self.0)));
        }
        let (service, key) = (&self.0, &self.0.object);
        let shape = read.ask(TargetsOf(service.clone()));
        let Some(targets) = &*shape else { return BTreeMap::new() };
        let mut found: Vec<Located> = Vec::new();
        let mut sliced = false;
        for slice in filed(read, IndexKey::SlicesOf(key.namespace.clone(), key.name.clone())) {
            sliced = true;
            found.extend(
                read.ask(SliceEndpoints { service: service.clone(), slice: slice.clone() }).iter().cloned(),
            );
        }
        let mut found = merge::slices(found);
        if let Some((label, value)) = targets.selector.labels().iter().next() {
            let (label, value): (Arc<str>, Arc<str>) = (label.into(), value.into());
            let entries = IndexKey::WorkloadsLabelled(key.namespace.clone(), label.clone(), value.clone());
            for entry in filed(read, entries) {
                let question = EntryEndpoint { service: service.clone(), entry: entry.clone() };
                found.extend((*read.ask(question)).clone());
            }
            // Slices are what Kubernetes makes of a service's pods; where nobody makes them, the pods themselves count.
            if !sliced {
                for pod in filed(read, IndexKey::PodsLabelled(key.namespace.clone(), label, value)) {
                    let question = PodEndpoint { service: service.clone(), pod: pod.clone() };
                    found.extend(read.ask(question).iter().cloned());
                }
            }
        }
        by_locality(merge::sorted(found))
    }
}

fn by_locality(found: Vec<Located>) -> BTreeMap<Locality, Endpoints> {
    let mut by_locality: BTreeMap<Locality, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for (locality, endpoint) in found {
        by_locality.entry(locality).or_default().push(endpoint);
    }
    by_locality.into_iter().map(|(locality, endpoints)| (locality, endpoints.into())).collect()
}

/// The endpoints of a service in one locality: a change in another one ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointsIn {
    /// The service.
    pub service: ServiceId,
    /// Where they run.
    pub locality: Locality,
}

impl Question for EndpointsIn {
    type World = Mesh;
    type Answer = Option<Endpoints>;
    const NAME: &'static str = "endpoints of a locality";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        read.ask(EndpointsOf(self.service.clone())).get(&self.locality).map(Arc::clone)
    }
}

/// Where a service has endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalitiesOf(pub ServiceId);

impl Question for LocalitiesOf {
    type World = Mesh;
    type Answer = Vec<Locality>;
    const NAME: &'static str = "localities of a service";

    fn answer(&self, read: &Read<'_>) -> Vec<Locality> {
        read.ask(EndpointsOf(self.0.clone())).keys().cloned().collect()
    }
}

/// Which addresses a service's endpoints have: only of two families does it matter which of them a proxy can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// All are of one family.
    One,
    /// Some are of the one, some of the other.
    Both,
    /// As before, and there are pods with an address of each.
    Twins,
}

/// The families of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FamiliesOf(pub ServiceId);

impl Question for FamiliesOf {
    type World = Mesh;
    type Answer = Families;
    const NAME: &'static str = "address families of a service";

    fn answer(&self, read: &Read<'_>) -> Families {
        let endpoints = read.ask(EndpointsOf(self.0.clone()));
        let all = || endpoints.values().flat_map(|endpoints| endpoints.iter());
        let has = |family: fn(&IpAddr) -> bool| {
            all().any(|endpoint| matches!(&endpoint.address, EndpointAddress::Ip(ip) if family(ip)))
        };
        if !has(IpAddr::is_ipv4) || !has(IpAddr::is_ipv6) {
            Families::One
        } else if all().any(|endpoint| endpoint.twin) {
            Families::Twins
        } else {
            Families::Both
        }
    }
}

/// Whether any endpoint of a service carries these labels, those of its place among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyCarries {
    /// The service.
    pub service: ServiceId,
    /// The labels.
    pub labels: Selector,
}

impl Question for AnyCarries {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any endpoint with these labels";

    fn answer(&self, read: &Read<'_>) -> bool {
        let endpoints = read.ask(EndpointsOf(self.service.clone()));
        let mut all =
            endpoints.iter().flat_map(|(place, all)| all.iter().map(move |endpoint| (place, endpoint)));
        all.any(|(place, endpoint)| self.labels.selects_where(|key| endpoint.label(key, place)))
    }
}

/// The labels of every workload that a service selects, ready or not: what subsets can match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SelectedLabels(pub ServiceId);

impl Question for SelectedLabels {
    type World = Mesh;
    type Answer = Vec<Labels>;
    const NAME: &'static str = "labels behind a service";

    fn answer(&self, read: &Read<'_>) -> Vec<Labels> {
        let (service, key) = (&self.0, &self.0.object);
        let endpoints = read.ask(EndpointsOf(service.clone()));
        let mut found: Vec<Labels> = endpoints
            .values()
            .flat_map(|endpoints| endpoints.iter())
            .map(|e| e.backend.labels.clone())
            .collect();
        if let Some(targets) = &*read.ask(TargetsOf(service.clone()))
            && let Some((label, value)) = targets.selector.labels().iter().next()
        {
            let (label, value): (Arc<str>, Arc<str>) = (label.into(), value.into());
            let pods =
                filed(read, IndexKey::PodsLabelled(key.namespace.clone(), label.clone(), value.clone()));
            found.extend(pods.filter_map(|pod| read::meta(read, pod)).map(|meta| meta.labels.clone()));
            let entries = filed(read, IndexKey::WorkloadsLabelled(key.namespace.clone(), label, value));
            found.extend(
                entries
                    .filter_map(|entry| read::workload_entry(read, entry))
                    .map(|(meta, entry)| workload_labels(meta, &entry.labels)),
            );
            found.retain(|labels| targets.selector.selects(labels) || labels.is_empty());
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests;
