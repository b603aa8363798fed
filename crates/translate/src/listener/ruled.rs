//! Connections that VirtualServices send elsewhere than to the service that was called: `tcp` and `tls` rules laid on a listener.
//!
//! Knows which rules are for which service and caller, and how Envoy tells chains apart (Istio: pilot/pkg/networking/core/tls.go).
//! Must not know weights, which only the listener's own translation reads: a step of a canary ends there. Invariants: no two chains of
//! a listener have a name and a block of addresses in common, which Envoy refuses; a mesh without such rules is asked one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::value::Subnet;
use meltemi_api::virtual_service::Destination;
use meltemi_catalog::ResourceName;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::scope::{EgressOf, ImportedRules};
use meltemi_model::service::{Resolution, ServiceByHost, ServiceId};
use meltemi_model::virtual_service::connection::{
    ConnectionCondition, ConnectionPlace, ConnectionRule, ConnectionVirtualServices,
};
use meltemi_model::virtual_service::{Outline, followed};
use meltemi_names::{Host, Namespace, ObjectKey, Port};

use super::ListenersKey;
use super::block::Block;
use super::plan::{Backend, OutboundListener};
use super::policy::{self, ConnectionPolicy, Target};
use crate::external_name::meant;
use crate::resource_names::outbound_cluster;

/// Connections that a rule takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuledChain {
    /// Names that clients ask for in TLS; empty: any.
    pub names: Arc<[Host]>,
    /// Blocks of addresses that clients call; empty: any.
    pub subnets: Arc<[Subnet]>,
    /// The service that is called.
    pub service: ServiceId,
    /// Who decides.
    pub virtual_service: ObjectKey,
    /// By which of its rules.
    pub place: ConnectionPlace,
    /// The clusters of the rule's destinations, in their order.
    pub clusters: Arc<[ResourceName]>,
    /// What the caller's rules say of these connections.
    pub policy: ConnectionPolicy,
    /// The name that a connection asks for is resolved as it is called, to addresses of that family, and that port.
    pub dynamic: Option<(IpFamily, Port)>,
}

/// The VirtualServices that any egress listener of a Sidecar imports.
fn imported(read: &Read<'_>, viewer: &Namespace, sidecar: &ObjectKey) -> BTreeSet<ObjectKey> {
    let listeners = 0..read.ask(EgressOf(sidecar.clone())).len();
    let rules = listeners.map(|listener| {
        read.ask(ImportedRules { viewer: viewer.clone(), sidecar: sidecar.clone(), listener })
    });
    rules.flat_map(|rules| rules.iter().map(|outline| outline.key.clone()).collect::<Vec<_>>()).collect()
}

/// The rules for connections that some callers follow.
pub(crate) struct RulesOfConnections<'a> {
    read: &'a Read<'a>,
    caller: &'a ListenersKey,
    /// The first wins.
    ordered: Vec<Arc<Outline>>,
    by_host: BTreeMap<Host, Vec<usize>>,
    wildcards: Vec<(Host, usize)>,
}

impl<'a> RulesOfConnections<'a> {
    /// None where there are none.
    pub(crate) fn of(read: &'a Read<'a>, caller: &'a ListenersKey) -> Option<Self> {
        let all = read.ask(ConnectionVirtualServices);
        let mut ordered: Vec<Arc<Outline>> = followed(&all, &caller.namespace).into_iter().cloned().collect();
        if !ordered.is_empty()
            && let Some(sidecar) = &caller.scope
        {
            let imported = imported(read, &caller.namespace, sidecar);
            ordered.retain(|outline| imported.contains(&outline.key));
        }
        if ordered.is_empty() {
            return None;
        }
        let mut by_host: BTreeMap<Host, Vec<usize>> = BTreeMap::new();
        let mut wildcards = Vec::new();
        for (at, outline) in ordered.iter().enumerate() {
            for host in &outline.hosts {
                if host.is_wildcard() {
                    wildcards.push((host.clone(), at));
                } else {
                    by_host.entry(host.clone()).or_default().push(at);
                }
            }
        }
        Some(Self { read, caller, ordered, by_host, wildcards })
    }

    /// The listener with the chains of the rules for its services, in the place of the services' own.
    pub(crate) fn applied(&self, mut listener: OutboundListener) -> OutboundListener {
        let mut chains = Chains::default();
        let mut plain = Vec::new();
        for backend in listener.tls.iter() {
            if !self.tls(backend, &[], &mut chains)
                && chains.claim(std::slice::from_ref(&backend.service.host), &[]).is_some()
            {
                plain.push(backend.clone());
            }
        }
        let mut blocks = Vec::new();
        for block in listener.blocks.iter() {
            let Block { subnets, backend } = block;
            let replaced = if block.reads_name() {
                self.tls(backend, subnets, &mut chains)
            } else {
                self.tcp(backend, subnets, &mut chains)
            };
            let name = block.reads_name().then(|| backend.service.host.clone());
            if !replaced && let Some((_, subnets)) = chains.claim(name.as_slice(), subnets) {
                blocks.push(Block { subnets: subnets.into(), backend: backend.clone() });
            }
        }
        if let Some(backend) = &listener.tcp {
            let replaced = if backend.protocol.is_tls() {
                // At a socket nothing but the name tells what is called: what names nothing stays the oldest service's.
                self.tls(backend, &[], &mut chains) && !listener.bind.is_bound()
            } else {
                self.tcp(backend, &[], &mut chains)
            };
            if replaced {
                listener.tcp = None;
            }
        }
        if chains.taken.contains(&(None, None)) {
            listener.tcp = None;
        }
        if !chains.made.is_empty() {
            listener.tls = plain.into();
            listener.blocks = blocks.into();
            listener.ruled = chains.made.into();
        }
        listener
    }

    /// The VirtualServices for a service, in the order in which the first wins: all whose hosts cover it, since Istio asks for no
    /// other.
    fn of_service(&self, host: &Host) -> impl Iterator<Item = &Arc<Outline>> {
        let exact = self.by_host.get(host).into_iter().flatten().copied();
        let covering =
            self.wildcards.iter().filter(|(wildcard, _)| wildcard.covers(host) || host.covers(wildcard));
        let all: BTreeSet<usize> = exact.chain(covering.map(|(_, at)| *at)).collect();
        all.into_iter().filter_map(|at| self.ordered.get(at))
    }

    fn admits(&self, condition: &ConnectionCondition, port: Port) -> bool {
        condition.callers.admit(port, Some(&self.caller.namespace), &self.caller.selectors)
    }

    /// Lays the `tls` rules for a service that is called at any address `within`; false if there are none for these callers.
    fn tls(&self, backend: &Backend, within: &[Subnet], chains: &mut Chains) -> bool {
        let mut any = false;
        for outline in self.of_service(&backend.service.host) {
            for rule in &outline.connections.tls {
                let admitted =
                    rule.conditions.iter().filter(|condition| self.admits(condition, backend.port));
                for condition in admitted {
                    any = true;
                    let everything = condition.names.iter().any(|name| name.as_str() == "*");
                    let names = if everything { &[][..] } else { &condition.names };
                    let subnets = if condition.subnets.is_empty() { within } else { &condition.subnets };
                    if let Some((names, subnets)) = chains.claim(names, subnets) {
                        let place = ConnectionPlace::Tls(rule.place);
                        chains.made.push(self.chain(backend, &outline.key, place, rule, names, subnets));
                    }
                }
            }
        }
        any
    }

    /// Lays the `tcp` rules for a service; true if one of them takes all connections, so that none goes to the service itself.
    fn tcp(&self, backend: &Backend, within: &[Subnet], chains: &mut Chains) -> bool {
        for outline in self.of_service(&backend.service.host) {
            for rule in &outline.connections.tcp {
                let mut subnets: Vec<Subnet> = Vec::new();
                let mut takes_all = false;
                for condition in &rule.conditions {
                    if self.admits(condition, backend.port) {
                        takes_all |= condition.subnets.is_empty();
                        subnets.extend_from_slice(&condition.subnets);
                        if takes_all {
                            break;
                        }
                    }
                }
                if takes_all {
                    subnets = within.to_vec();
                } else if subnets.is_empty() {
                    continue;
                }
                if let Some((names, subnets)) = chains.claim(&[], &subnets) {
                    let place = ConnectionPlace::Tcp(rule.place);
                    chains.made.push(self.chain(backend, &outline.key, place, rule, names, subnets));
                }
                if takes_all {
                    return true;
                }
            }
        }
        false
    }

    fn chain(
        &self,
        backend: &Backend,
        virtual_service: &ObjectKey,
        place: ConnectionPlace,
        rule: &ConnectionRule,
        names: Vec<Host>,
        subnets: Vec<Subnet>,
    ) -> RuledChain {
        let mut policy: Option<ConnectionPolicy> = None;
        let mut clusters = Vec::with_capacity(rule.destinations.len());
        let mut dynamic = None;
        let alone = rule.destinations.len() == 1;
        for destination in &rule.destinations {
            let (cluster, of_cluster, resolved) = self.destination(backend, destination, alone);
            clusters.push(cluster);
            dynamic = dynamic.or(resolved);
            // How long connections live is said by the rules of the first destination (Istio: networking/core/networkfilter.go).
            match &mut policy {
                None => policy = Some(of_cluster),
                Some(policy) => policy.as_bytes |= of_cluster.as_bytes,
            }
        }
        RuledChain {
            names: names.into(),
            subnets: subnets.into(),
            service: backend.service.clone(),
            virtual_service: virtual_service.clone(),
            place,
            clusters: clusters.into(),
            policy: policy.unwrap_or_default(),
            dynamic,
        }
    }

    fn destination(
        &self,
        called: &Backend,
        destination: &Destination,
        alone: bool,
    ) -> (ResourceName, ConnectionPolicy, Option<(IpFamily, Port)>) {
        let host = &meant(self.read, &destination.host);
        let service =
            self.read.ask(ServiceByHost { viewer: self.caller.namespace.clone(), host: host.clone() });
        let shape = service.as_ref().as_ref();
        // Unlike for requests, a service is found whatever its ports are (Istio: networking/core/networkfilter.go).
        let only = || shape.and_then(|shape| shape.only_port());
        let port = destination.port.or_else(only).unwrap_or(called.port);
        let subset = destination.subset.as_deref();
        let policy = shape.map(|shape| {
            let protocol = shape.port(port).map_or(called.protocol, |port| port.protocol);
            let subset = subset.filter(|_| alone).map(Arc::from);
            policy::of(self.read, self.caller, &Target { service: shape.id.clone(), port, protocol, subset })
        });
        let dynamic = shape.is_some_and(|shape| shape.resolution == Resolution::Dynamic);
        let dynamic = dynamic.then_some((self.caller.family, port));
        (outbound_cluster(port, subset, host), policy.unwrap_or_default(), dynamic)
    }
}

/// Chains while they are laid.
#[derive(Default)]
struct Chains {
    made: Vec<RuledChain>,
    /// What chains take; none is any name, or any address.
    taken: BTreeSet<(Option<Host>, Option<Subnet>)>,
}

impl Chains {
    /// Takes what is free of the connections with these names to these blocks; none if nothing is. A name of which a part is taken
    /// is given up as a whole.
    fn claim(&mut self, names: &[Host], subnets: &[Subnet]) -> Option<(Vec<Host>, Vec<Subnet>)> {
        let any_or = |subnets: &[Subnet]| -> Vec<Option<Subnet>> {
            if subnets.is_empty() { vec![None] } else { subnets.iter().copied().map(Some).collect() }
        };
        if names.is_empty() {
            let free: Vec<Option<Subnet>> =
                any_or(subnets).into_iter().filter(|subnet| self.taken.insert((None, *subnet))).collect();
            let subnets = free.iter().copied().flatten().collect();
            return (!free.is_empty()).then_some((Vec::new(), subnets));
        }
        let mut blocks = any_or(subnets);
        blocks.sort_unstable();
        blocks.dedup();
        let mut free = Vec::new();
        for name in names {
            let is_free = blocks.iter().all(|block| !self.taken.contains(&(Some(name.clone()), *block)));
            if is_free {
                self.taken.extend(blocks.iter().map(|block| (Some(name.clone()), *block)));
                free.push(name.clone());
            }
        }
        let subnets = blocks.into_iter().flatten().collect();
        (!free.is_empty()).then_some((free, subnets))
    }
}
