//! What a change of some objects can reach: the part of a mesh that is enough to see all that it does.
//!
//! A weight in a mesh of 10,000 services matters to one of them. Here stands, once, what may meet what; where that is not known the
//! whole mesh is compared. A test compares both ways over meshes by chance. Must not know: what is made of the objects.
//! Invariant: what is left out makes the same before and after, or makes the same difference nowhere.

mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meltemi_api::{Object, Spec, VirtualService};
use meltemi_model::Mesh;
use meltemi_model::index::{destinations, gateway_key, qualified, workload_labels};
use meltemi_model::service::host_of;
use meltemi_model::virtual_service::delegate::delegate_key;
use meltemi_names::{Host, Kind, Labels, Namespace, ObjectKey, Selector};

/// More objects than this are no small change.
const MANY: usize = 200;

/// Part of the objects of two meshes.
#[derive(Debug)]
pub(crate) struct Reach {
    objects: BTreeSet<ObjectKey>,
}

impl Reach {
    /// What the objects that differ can reach, and the workloads that are asked for beside; none: it may be anything.
    pub(crate) fn of(
        before: &Mesh,
        after: &Mesh,
        changed: &BTreeSet<ObjectKey>,
        workloads: &BTreeSet<ObjectKey>,
    ) -> Option<Self> {
        if changed.len() > MANY {
            return None;
        }
        let mesh = Both::new(before, after, changed);
        if mesh.has_pods(before) != mesh.has_pods(after) {
            return None;
        }
        let services = mesh.services();
        let start = mesh.start(&services)?;
        let rules = mesh.rules(&start)?;
        let mut found = Part { workloads: workloads.clone(), ..Part::default() };
        found.workloads.extend(start.workloads);
        found.objects.extend(changed.iter().cloned());
        if !rules.objects.is_empty() {
            found.objects.extend(pages::keepers(&mesh));
        }
        found.objects.extend(rules.objects);
        mesh.take_services(&services, &rules.needed, &rules.hosts, &mut found);
        mesh.take_workloads(&services, &mut found);
        mesh.take_rest(&services, &mut found);
        Some(Self { objects: found.objects })
    }

    /// With these workloads beside, and those that say that they are at the same addresses. All else of them is the same before and
    /// after.
    pub(crate) fn beside(self, mesh: &Mesh, workloads: BTreeSet<ObjectKey>) -> Self {
        let own = workloads.iter().filter_map(|key| mesh.object(key));
        let addresses: BTreeSet<IpAddr> = own.flat_map(|object| addresses_of(object)).collect();
        let mut objects = self.objects;
        objects.extend(workloads);
        let same =
            mesh.objects().filter(|object| addresses_of(object).any(|address| addresses.contains(&address)));
        objects.extend(same.map(|object| object.meta.key.clone()));
        Self { objects }
    }

    /// Whether the object is part of it.
    pub(crate) fn has(&self, key: &ObjectKey) -> bool {
        self.objects.contains(key)
    }
}

/// The objects before and after, those that differ twice.
struct Both<'a> {
    before: &'a Mesh,
    after: &'a Mesh,
    changed: &'a BTreeSet<ObjectKey>,
    all: Vec<&'a Object>,
}

/// A service as others meet it.
struct Service<'a> {
    key: &'a ObjectKey,
    hosts: Vec<Host>,
    /// For which other host it stands (ExternalName).
    alias_of: Option<&'a Host>,
    selector: Option<&'a Selector>,
    addresses: Vec<IpAddr>,
}

/// Where the change is.
#[derive(Default)]
struct Start {
    /// Services whose requests or endpoints may change.
    hosts: BTreeSet<Host>,
    rules: BTreeSet<ObjectKey>,
    workloads: BTreeSet<ObjectKey>,
    /// Gateways whose VirtualServices come, go or move.
    gateways: BTreeSet<ObjectKey>,
}

/// The VirtualServices of the part.
#[derive(Default)]
struct Rules {
    objects: BTreeSet<ObjectKey>,
    /// Hosts all of whose requests must be as in the whole.
    needed: BTreeSet<Host>,
    /// Those, and all that requests to them are sent to.
    hosts: BTreeSet<Host>,
}

#[derive(Default)]
struct Part {
    objects: BTreeSet<ObjectKey>,
    workloads: BTreeSet<ObjectKey>,
}

impl<'a> Both<'a> {
    fn new(before: &'a Mesh, after: &'a Mesh, changed: &'a BTreeSet<ObjectKey>) -> Self {
        let others = changed.iter().filter_map(|key| after.object(key));
        let all = before.objects().chain(others).map(|object| &**object).collect();
        Self { before, after, changed, all }
    }

    fn all(&self) -> impl Iterator<Item = &'a Object> {
        self.all.iter().copied()
    }

    fn of(&self, key: &ObjectKey) -> impl Iterator<Item = &'a Object> {
        [self.before.object(key), self.after.object(key)].into_iter().flatten().map(|object| &**object)
    }

    fn virtual_services(&self) -> impl Iterator<Item = (&'a ObjectKey, &'a VirtualService)> {
        self.all().filter_map(|object| match &object.spec {
            Spec::VirtualService(service) => Some((&object.meta.key, service)),
            _ => None,
        })
    }

    /// Whether there is any Pod at all makes a difference to every EndpointSlice.
    fn has_pods(&self, mesh: &Mesh) -> bool {
        mesh.objects().any(|object| object.meta.key.kind == Kind::Pod)
    }

    fn services(&self) -> Vec<Service<'a>> {
        let all = self.all().filter_map(|object| {
            let key = &object.meta.key;
            match &object.spec {
                Spec::Service(service) => Some(Service {
                    key,
                    hosts: vec![host_of(key)],
                    alias_of: service.external_name.as_ref(),
                    selector: Some(&service.selector).filter(|selector| !selector.is_empty()),
                    addresses: service.cluster_ips.clone(),
                }),
                Spec::ServiceEntry(entry) => Some(Service {
                    key,
                    hosts: entry.hosts.clone(),
                    alias_of: None,
                    selector: entry.workload_selector.as_ref().map(|selector| &selector.labels),
                    addresses: entry.addresses.iter().map(|subnet| subnet.address).collect(),
                }),
                _ => None,
            }
        });
        all.collect()
    }

    /// Where the change is; none if it may be everywhere.
    fn start(&self, services: &[Service<'a>]) -> Option<Start> {
        let mut start = Start::default();
        for key in self.changed {
            for object in self.of(key) {
                match &object.spec {
                    Spec::VirtualService(service) => {
                        // Rules for connections stand in listeners that services share.
                        let of_connections = !service.tcp.is_empty() || !service.tls.is_empty();
                        if of_connections || service.hosts.iter().any(Host::is_wildcard) {
                            return None;
                        }
                        start.rules.insert(key.clone());
                        if service.is_in_mesh() {
                            start.hosts.extend(hosts_of(key, service));
                        }
                    }
                    Spec::DestinationRule(rule) => {
                        let host = qualified(&rule.host, &key.namespace);
                        if host.is_wildcard() {
                            return None;
                        }
                        start.hosts.insert(host);
                    }
                    Spec::WorkloadEntry(_) | Spec::Pod(_) => {
                        // By its labels or its place another scope, certificate or order of all endpoints may be its own.
                        if self.before.object(key).is_some_and(|before| is_another(before, object)) {
                            return None;
                        }
                        start.workloads.insert(key.clone());
                        let labels = labels_of(object);
                        for service in of_namespace(services, &key.namespace) {
                            if service.selects(&labels) {
                                start.hosts.extend(service.hosts.iter().cloned());
                            }
                        }
                        start.hosts.extend(self.sliced(object));
                    }
                    Spec::EndpointSlice(slice) => {
                        start.hosts.extend(slice.service.as_ref().map(|name| service_host(name, key)));
                    }
                    // What makes or says a listener, or is for all of a namespace, meets too much.
                    _ => return None,
                }
            }
            start.gateways.extend(self.moved_gateways(key));
        }
        Some(start)
    }

    /// The services of slices that name a pod.
    fn sliced(&self, pod: &Object) -> BTreeSet<Host> {
        let Spec::Pod(written) = &pod.spec else { return BTreeSet::new() };
        let own = &pod.meta.key;
        let all = self.all().filter_map(|object| match &object.spec {
            Spec::EndpointSlice(slice) if object.meta.key.namespace == own.namespace => {
                let names = slice.endpoints.iter().any(|endpoint| {
                    endpoint.pod.as_ref() == Some(&own.name)
                        || endpoint.addresses.iter().any(|address| written.ips.contains(address))
                });
                slice.service.as_ref().filter(|_| names).map(|name| service_host(name, own))
            }
            _ => None,
        });
        all.collect()
    }

    /// The Gateways of a VirtualService that it is not bound to before and after, with the same hosts.
    fn moved_gateways(&self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let side = |mesh: &'a Mesh| match mesh.object(key).map(|object| &object.spec) {
            Some(Spec::VirtualService(service)) => Some((&service.hosts, gateways_of(key, service))),
            _ => None,
        };
        let (before, after) = (side(self.before), side(self.after));
        if before == after {
            return BTreeSet::new();
        }
        before.into_iter().chain(after).flat_map(|(_, gateways)| gateways).collect()
    }

    /// The VirtualServices that meet the change; none if what they meet is not known.
    fn rules(&self, start: &Start) -> Option<Rules> {
        let mut rules = Rules { needed: start.hosts.clone(), ..Rules::default() };
        for (key, service) in self.virtual_services() {
            let sends =
                destinations(service).any(|to| start.hosts.contains(&qualified(&to.host, &key.namespace)));
            let is_bound = || gateways_of(key, service).iter().any(|own| start.gateways.contains(own));
            if sends || start.rules.contains(key) || (!start.gateways.is_empty() && is_bound()) {
                rules.objects.insert(key.clone());
            }
        }
        self.delegates(&mut rules.objects);
        for (key, service) in self.virtual_services().filter(|(key, _)| rules.objects.contains(key)) {
            for host in hosts_of(key, service) {
                // It may stand for many services, and gives way to others.
                if service.is_in_mesh() && host.is_wildcard() {
                    return None;
                }
                rules.needed.insert(host);
            }
        }
        // Of several for one host one has it.
        for (key, service) in self.virtual_services() {
            let meets = |host: &Host| {
                rules.needed.contains(host)
                    || (host.is_wildcard() && rules.needed.iter().any(|needed| host.covers(needed)))
            };
            if hosts_of(key, service).any(|host| meets(&host)) {
                rules.objects.insert(key.clone());
            }
        }
        self.delegates(&mut rules.objects);
        rules.hosts.clone_from(&rules.needed);
        for (key, service) in self.virtual_services().filter(|(key, _)| rules.objects.contains(key)) {
            rules.hosts.extend(destinations(service).map(|to| qualified(&to.host, &key.namespace)));
        }
        Some(rules)
    }

    /// Adds those that delegate to one that is there, and those that one of them delegates to.
    fn delegates(&self, rules: &mut BTreeSet<ObjectKey>) {
        let pairs: Vec<(&ObjectKey, ObjectKey)> = self
            .virtual_services()
            .flat_map(|(key, service)| service.http.iter().map(move |rule| (key, rule)))
            .filter_map(|(key, rule)| Some((key, delegate_key(rule.delegate.as_ref()?, &key.namespace))))
            .collect();
        let mut before = 0;
        while rules.len() > before {
            before = rules.len();
            for (root, delegate) in &pairs {
                if rules.contains(*root) || rules.contains(delegate) {
                    rules.insert((*root).clone());
                    rules.insert(delegate.clone());
                }
            }
        }
    }

    /// The services of the hosts, and those that want the same names and addresses as they.
    fn take_services(
        &self,
        services: &[Service<'a>],
        needed: &BTreeSet<Host>,
        hosts: &BTreeSet<Host>,
        found: &mut Part,
    ) {
        let mut hosts = hosts.clone();
        let aliases: Vec<&Service<'_>> =
            services.iter().filter(|service| service.alias_of.is_some()).collect();
        let mut before = 0;
        while hosts.len() > before {
            before = hosts.len();
            for alias in &aliases {
                let own = alias.hosts.iter().chain(alias.alias_of);
                if own.clone().any(|host| hosts.contains(host)) {
                    hosts.extend(own.cloned());
                }
            }
        }
        let addresses: BTreeSet<IpAddr> = services
            .iter()
            .filter(|service| service.hosts.iter().any(|host| needed.contains(host)))
            .flat_map(|service| service.addresses.iter().copied())
            .collect();
        let shorter: BTreeSet<&str> = needed.iter().flat_map(short_forms).collect();
        for service in services {
            let is_named = |host: &Host| {
                hosts.contains(host)
                    || shorter.contains(host.as_str())
                    || short_forms(host).any(|form| needed.iter().any(|host| host.as_str() == form))
            };
            if service.hosts.iter().any(is_named)
                || service.addresses.iter().any(|address| addresses.contains(address))
            {
                found.objects.insert(service.key.clone());
            }
        }
    }

    /// The workloads of the services that are there, and the other services of those.
    fn take_workloads(&self, services: &[Service<'a>], found: &mut Part) {
        let mut selectors: BTreeMap<&Namespace, Vec<&Selector>> = BTreeMap::new();
        for service in services.iter().filter(|service| found.objects.contains(service.key)) {
            selectors.entry(&service.key.namespace).or_default().extend(service.selector);
        }
        let (mut pods, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for object in self.all() {
            let Spec::EndpointSlice(slice) = &object.spec else { continue };
            let key = &object.meta.key;
            let of = |name| ObjectKey::new(Kind::Service, key.namespace.clone(), name);
            if slice.service.clone().is_some_and(|name| found.objects.contains(&of(name))) {
                found.objects.insert(key.clone());
                for endpoint in &slice.endpoints {
                    addresses.extend(endpoint.addresses.iter().copied());
                    pods.extend(endpoint.pod.iter().map(|name| (&key.namespace, name)));
                }
            }
        }
        let mut first_pod = None;
        for object in self.all() {
            let key = &object.meta.key;
            if !matches!(key.kind, Kind::Pod | Kind::WorkloadEntry) {
                continue;
            }
            if key.kind == Kind::Pod {
                first_pod.get_or_insert(key);
            }
            let of_services = selectors.get(&key.namespace).is_some_and(|selectors| {
                let labels = labels_of(object);
                selectors.iter().any(|selector| selector.selects(&labels))
            });
            if of_services
                || pods.contains(&(&key.namespace, &key.name))
                || addresses_of(object).any(|address| addresses.contains(&address))
            {
                found.workloads.insert(key.clone());
            }
        }
        // Where there is a pod at all, endpoints wait for theirs.
        found.workloads.extend(first_pod.cloned());
        // Who is at an address is the first of those that say it is theirs.
        let own: BTreeSet<IpAddr> =
            found.workloads.iter().flat_map(|key| self.of(key)).flat_map(addresses_of).collect();
        let same = self.all().filter(|object| addresses_of(object).any(|address| own.contains(&address)));
        let same: Vec<ObjectKey> = same.map(|object| object.meta.key.clone()).collect();
        found.workloads.extend(same);
        for key in &found.workloads {
            for object in self.of(key) {
                let labels = labels_of(object);
                let selecting =
                    of_namespace(services, &key.namespace).filter(|service| service.selects(&labels));
                found.objects.extend(selecting.map(|service| service.key.clone()));
            }
        }
        // Services without a selector lead to the workloads that their slices name.
        for object in self.all() {
            let Spec::EndpointSlice(slice) = &object.spec else { continue };
            if slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).any(|at| own.contains(at)) {
                let key = &object.meta.key;
                found.objects.insert(key.clone());
                let service = slice.service.clone();
                found
                    .objects
                    .extend(service.map(|name| ObjectKey::new(Kind::Service, key.namespace.clone(), name)));
            }
        }
        found.objects.extend(found.workloads.iter().cloned());
    }

    /// The DestinationRules of the services that are there, and all that is for more than services.
    fn take_rest(&self, services: &[Service<'a>], found: &mut Part) {
        let hosts: BTreeSet<&Host> = services
            .iter()
            .filter(|service| found.objects.contains(service.key))
            .flat_map(|service| &service.hosts)
            .collect();
        for object in self.all() {
            let key = &object.meta.key;
            let is_taken = match &object.spec {
                Spec::DestinationRule(rule) => {
                    let host = qualified(&rule.host, &key.namespace);
                    hosts.contains(&host)
                        || (host.is_wildcard() && hosts.iter().any(|other| host.covers(other)))
                }
                Spec::Service(_)
                | Spec::ServiceEntry(_)
                | Spec::VirtualService(_)
                | Spec::EndpointSlice(_)
                | Spec::Pod(_)
                | Spec::WorkloadEntry(_) => false,
                _ => true,
            };
            if is_taken {
                found.objects.insert(key.clone());
            }
        }
    }
}

impl Service<'_> {
    fn selects(&self, labels: &Labels) -> bool {
        self.selector.is_some_and(|selector| selector.selects(labels))
    }
}

fn of_namespace<'s, 'a>(
    services: &'s [Service<'a>],
    namespace: &'s Namespace,
) -> impl Iterator<Item = &'s Service<'a>> {
    services.iter().filter(move |service| service.key.namespace == *namespace)
}

fn hosts_of(key: &ObjectKey, service: &VirtualService) -> impl Iterator<Item = Host> {
    service.hosts.iter().map(|host| qualified(host, &key.namespace))
}

fn gateways_of(key: &ObjectKey, service: &VirtualService) -> BTreeSet<ObjectKey> {
    service.gateways.iter().filter_map(|gateway| gateway_key(gateway, &key.namespace)).collect()
}

fn service_host(name: &meltemi_names::ObjectName, beside: &ObjectKey) -> Host {
    host_of(&ObjectKey::new(Kind::Service, beside.namespace.clone(), name.clone()))
}

/// The names that a service is called by from near: `a`, `a.b`, `a.b.svc` of `a.b.svc.cluster.local`.
fn short_forms(host: &Host) -> impl Iterator<Item = &str> {
    let host = host.as_str();
    host.match_indices('.').filter_map(|(end, _)| host.get(..end))
}

/// Whether what callers are asked for differs between two states of a workload.
fn is_another(before: &Object, after: &Object) -> bool {
    let place = |object: &Object| match &object.spec {
        Spec::WorkloadEntry(entry) => {
            (entry.locality.clone(), entry.service_account.is_some(), None, entry.ports.clone())
        }
        Spec::Pod(pod) => (None, true, pod.node_name.clone(), BTreeMap::new()),
        _ => (None, false, None, BTreeMap::new()),
    };
    let families = |object: &Object| {
        let has = |wanted: fn(&IpAddr) -> bool| addresses_of(object).any(|address| wanted(&address));
        (has(IpAddr::is_ipv4), has(IpAddr::is_ipv6))
    };
    labels_of(before) != labels_of(after)
        || place(before) != place(after)
        || families(before) != families(after)
}

/// The labels of a workload.
pub(crate) fn labels_of(object: &Object) -> Labels {
    match &object.spec {
        Spec::WorkloadEntry(entry) => workload_labels(&object.meta, &entry.labels),
        _ => object.meta.labels.clone(),
    }
}

/// The addresses of a workload; none of other objects.
pub(crate) fn addresses_of(object: &Object) -> impl Iterator<Item = IpAddr> {
    let (pod, entry) = match &object.spec {
        Spec::Pod(pod) => (pod.ips.as_slice(), None),
        Spec::WorkloadEntry(entry) => ([].as_slice(), crate::cmd::explain::workload::ip(entry)),
        _ => ([].as_slice(), None),
    };
    pod.iter().copied().chain(entry)
}
