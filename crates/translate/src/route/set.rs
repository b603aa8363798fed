//! Which route configurations and virtual hosts a kind of caller has: names only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::mesh_config::OutboundMode;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_model::service::{PortTable, ServiceOf, ServiceShape};
use meltemi_model::settings::settings;
use meltemi_model::virtual_service::{MeshVirtualServices, Outline, followed};
use meltemi_names::{Host, Port, Protocol, Selector};

use super::body::BodyKey;
use super::domains::{Domain, ServiceDomains};
use super::virtual_host::{Subject, VirtualHostKey, literal_domain};
use super::{ConfigName, RouteKey, RoutesKey, hash};
use crate::key::{Members, ResourceKey};
use crate::listener::has_own_route;

/// Hosts that only a VirtualService knows are served here (Istio: core/httproute.go).
const HTTP: u32 = 80;

/// What requests to unknown hosts meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OutboundModeInForce;

impl Question for OutboundModeInForce {
    type World = Mesh;
    type Answer = OutboundMode;
    const NAME: &'static str = "outbound mode";

    fn answer(&self, read: &Read<'_>) -> OutboundMode {
        settings(read).outbound_traffic_policy.mode
    }
}

/// The members of a caller's routes, in a fixed order.
pub(super) fn members(key: &RoutesKey, read: &Read<'_>) -> Members {
    let table = read.ask(PortTable(key.namespace.clone()));
    let all = read.ask(MeshVirtualServices);
    let rules = Rules::new(key, followed(&all, &key.namespace));
    let mode = *read.ask(OutboundModeInForce);
    let known: BTreeSet<Host> = table.values().flatten().map(|(service, _)| service.host.clone()).collect();
    let mut members = Members::new();
    for (&port, services) in table.iter() {
        let services: Vec<(Arc<ServiceShape>, Protocol)> = services
            .iter()
            .filter(|(_, protocol)| protocol.is_http() || *protocol == Protocol::Auto)
            .filter_map(|(service, protocol)| {
                Some(((*read.ask(ServiceOf(service.clone()))).clone()?, *protocol))
            })
            .collect();
        if services.is_empty() {
            continue;
        }
        let page = Page { key, read, rules: &rules, known: &known, port };
        page.shared(&services, mode, &mut members);
        page.sniffed(&services, &mut members);
    }
    members
}

/// The VirtualServices that the caller follows, first wins, and by host.
struct Rules<'a> {
    key: &'a RoutesKey,
    ordered: Vec<&'a Arc<Outline>>,
    by_host: BTreeMap<&'a Host, Vec<usize>>,
    any_wildcard: bool,
}

impl<'a> Rules<'a> {
    fn new(key: &'a RoutesKey, ordered: Vec<&'a Arc<Outline>>) -> Self {
        let mut by_host: BTreeMap<&Host, Vec<usize>> = BTreeMap::new();
        for (at, outline) in ordered.iter().enumerate() {
            for host in &outline.hosts {
                by_host.entry(host).or_default().push(at);
            }
        }
        let any_wildcard = by_host.keys().any(|host| host.is_wildcard());
        Self { key, ordered, by_host, any_wildcard }
    }

    fn admits(&self, at: usize, port: Port) -> bool {
        self.ordered[at].admits(port, &self.key.namespace, &self.key.selectors)
    }

    /// The VirtualService for requests to `host` on `port`: of those with the most specific host the first of which a route remains.
    fn in_force(&self, host: &Host, port: Port) -> Option<usize> {
        let first = |at: &Vec<usize>| at.iter().copied().find(|&at| self.admits(at, port));
        if let Some(exact) = self.by_host.get(host) {
            return first(exact);
        }
        if !self.any_wildcard {
            return None;
        }
        host.covering().find_map(|wildcard| self.by_host.get(&wildcard)).and_then(first)
    }
}

/// One port of one kind of caller.
struct Page<'a> {
    key: &'a RoutesKey,
    read: &'a Read<'a>,
    rules: &'a Rules<'a>,
    /// The hosts of all services that the caller sees.
    known: &'a BTreeSet<Host>,
    port: Port,
}

impl Page<'_> {
    /// The configuration that all services of the port share.
    fn shared(&self, services: &[(Arc<ServiceShape>, Protocol)], mode: OutboundMode, members: &mut Members) {
        let config = ConfigName::Port(self.port);
        members.push(self.head(&config));
        let mut by_rule: BTreeMap<usize, Vec<&ServiceShape>> = BTreeMap::new();
        let mut plain = Vec::new();
        for (shape, _) in services {
            match self.rules.in_force(&shape.id.host, self.port) {
                Some(at) => by_rule.entry(at).or_default().push(shape),
                None => plain.push(&**shape),
            }
        }
        let full_names = services.iter().map(|(shape, _)| shape.id.host.as_str()).collect();
        let mut domains = Taken { full_names, taken: BTreeSet::new() };
        for (at, outline) in self.rules.ordered.iter().enumerate() {
            let ruled = by_rule.remove(&at).unwrap_or_default();
            if !ruled.is_empty()
                || (u32::from(self.port.number()) == HTTP && self.rules.admits(at, self.port))
            {
                for host in outline.hosts.iter().filter(|host| self.is_only_here(host, services)) {
                    // Several VirtualServices for one host: the first has it whole.
                    if let Some(dropped) =
                        domains.claim([Domain { text: literal_domain(host).into(), is_short: false }].iter())
                    {
                        members.push(self.virtual_host(
                            &config,
                            Subject::Host(host.clone()),
                            dropped,
                            self.ruled(outline),
                        ));
                    }
                }
            }
            for shape in ruled {
                self.service(&config, shape, self.ruled(outline), &mut domains, members);
            }
        }
        for shape in plain {
            self.service(&config, shape, self.unruled(shape), &mut domains, members);
        }
        let (name, body) = match mode {
            OutboundMode::AllowAny => ("allow_any", BodyKey::AllowAny),
            OutboundMode::RegistryOnly => ("block_all", BodyKey::BlockAll),
        };
        if let Some(dropped) = domains.claim([Domain { text: "*".into(), is_short: false }].iter()) {
            members.push(self.virtual_host(&config, Subject::Rest(name), dropped, body));
        }
    }

    /// The configurations of services whose protocol is found out on listeners of their own.
    fn sniffed(&self, services: &[(Arc<ServiceShape>, Protocol)], members: &mut Members) {
        let alone = services.iter().filter(|(shape, _)| {
            shape
                .port(self.port)
                .is_some_and(|port| has_own_route(shape, port, self.key.family, self.key.allocated))
        });
        for (shape, _) in alone {
            let config = ConfigName::Sniffed(shape.id.host.clone(), self.port);
            let body = match self.rules.in_force(&shape.id.host, self.port) {
                Some(at) => self.ruled(self.rules.ordered[at]),
                None => self.unruled(shape),
            };
            members.push(self.head(&config));
            members.push(self.virtual_host(
                &config,
                Subject::Listener(shape.id.host.clone()),
                Arc::default(),
                body,
            ));
        }
    }

    fn head(&self, config: &ConfigName) -> ResourceKey {
        ResourceKey::Route(RouteKey { config: config.clone(), virtual_hosts: self.key.virtual_hosts })
    }

    fn virtual_host(
        &self,
        config: &ConfigName,
        subject: Subject,
        dropped: Arc<[Arc<str>]>,
        body: BodyKey,
    ) -> ResourceKey {
        let (config, virtual_hosts) = (config.clone(), self.key.virtual_hosts);
        ResourceKey::VirtualHost(VirtualHostKey { config, subject, dropped, body, virtual_hosts })
    }

    fn service(
        &self,
        config: &ConfigName,
        shape: &ServiceShape,
        body: BodyKey,
        domains: &mut Taken<'_>,
        members: &mut Members,
    ) {
        let homes = || std::iter::once(&shape.id.host).chain(&shape.aliases);
        let is_home = |host: &Host| host.as_str().split('.').nth(1) == Some(self.key.namespace.as_str());
        let names = ServiceDomains {
            service: shape.id.clone(),
            near: homes().any(is_home).then(|| self.key.namespace.clone()),
            domain: self.key.domain.clone(),
            family: self.key.family,
            allocated: self.key.allocated && !shape.allocated.is_empty(),
        };
        if let Some(dropped) = domains.claim(self.read.ask(names.clone()).iter()) {
            members.push(self.virtual_host(config, Subject::Service(names), dropped, body));
        }
    }

    /// Whether `host` of a VirtualService stands for no service: none is called so, or (a wildcard) none here is covered by it.
    fn is_only_here(&self, host: &Host, services: &[(Arc<ServiceShape>, Protocol)]) -> bool {
        if host.is_wildcard() {
            !services.iter().any(|(shape, _)| host.covers(&shape.id.host))
        } else {
            !self.known.contains(host)
        }
    }

    fn ruled(&self, outline: &Outline) -> BodyKey {
        let asked = |selector: &Selector| outline.callers.iter().any(|callers| callers.labels == *selector);
        let named =
            outline.callers.iter().any(|callers| callers.namespace.as_ref() == Some(&self.key.namespace));
        BodyKey::Rules {
            virtual_service: outline.key.clone(),
            port: self.port,
            selectors: self.key.selectors.iter().filter(|selector| asked(selector)).cloned().collect(),
            source_namespace: named.then(|| self.key.namespace.clone()),
            rules: hash::rules_that_hash(
                self.read,
                &self.key.namespace,
                &self.key.selectors,
                &outline.destinations,
            ),
        }
    }

    fn unruled(&self, shape: &ServiceShape) -> BodyKey {
        let rules =
            hash::rules_that_hash(self.read, &self.key.namespace, &self.key.selectors, [&shape.id.host]);
        BodyKey::Default { service: shape.id.clone(), port: self.port, rules }
    }
}

/// The domains of one configuration that virtual hosts have already.
struct Taken<'a> {
    /// Full names of services on the port: no short form may hide one.
    full_names: BTreeSet<&'a str>,
    taken: BTreeSet<Arc<str>>,
}

impl Taken<'_> {
    /// Takes what of `domains` is free, and answers the rest, sorted; none if nothing was free. Names are lower case already.
    fn claim<'d>(&mut self, domains: impl Iterator<Item = &'d Domain>) -> Option<Arc<[Arc<str>]>> {
        let mut own: BTreeSet<&str> = BTreeSet::new();
        let mut dropped = Vec::new();
        for Domain { text, is_short } in domains {
            if own.contains(&**text) {
                continue;
            }
            if (*is_short && self.full_names.contains(&**text)) || !self.taken.insert(Arc::clone(text)) {
                dropped.push(Arc::clone(text));
            } else {
                own.insert(text);
            }
        }
        dropped.sort_unstable();
        dropped.dedup();
        (!own.is_empty()).then(|| dropped.into())
    }
}
