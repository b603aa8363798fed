//! Which route configurations and virtual hosts a kind of caller has: names only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::mesh_config::OutboundMode;
use meltemi_model::read::Read;
use meltemi_model::scope::{OutboundPolicy, OutboundPolicyOf};
use meltemi_model::service::{ServiceOf, ServicePort, ServiceShape};
use meltemi_model::virtual_service::Outline;
use meltemi_names::{Host, Port, Protocol, Selector};

use super::body::BodyKey;
use super::domains::{Domain, PortSuffix, ServiceDomains};
use super::view::{At, View, views};
use super::virtual_host::{Subject, VirtualHostKey, literal_domain};
use super::{ConfigName, RouteKey, RoutesKey, hash};
use crate::key::{Members, ResourceKey};
use crate::listener::{fallback, has_own_route};

/// Hosts that only a VirtualService knows are served here (Istio: core/httproute.go).
const HTTP: u32 = 80;

/// Services of a port, and what each speaks there.
type Services = Vec<(Arc<ServiceShape>, Protocol)>;

/// The members of a caller's routes, in a fixed order.
pub(super) fn members(key: &RoutesKey, read: &Read<'_>) -> Members {
    let policy = read.ask(OutboundPolicyOf(key.scope.clone()));
    let mut members = Members::new();
    let mut made = BTreeSet::new();
    for view in views(key, read) {
        let rules = Rules::new(key, view.rules.iter().collect());
        let services = view.table.values().flatten();
        let known: BTreeSet<Host> = services.map(|(service, _)| service.host.clone()).collect();
        let pages: Vec<(Page<'_>, Services)> = view
            .table
            .iter()
            .map(|(&port, services)| {
                let services = services
                    .iter()
                    .filter(|(_, protocol)| protocol.is_http() || *protocol == Protocol::Auto)
                    .filter_map(|(service, protocol)| {
                        Some(((*read.ask(ServiceOf(service.clone()))).clone()?, *protocol))
                    })
                    .collect();
                (Page { key, read, view: &view, rules: &rules, known: &known, port }, services)
            })
            .filter(|(_, services): &(_, Vec<_>)| !services.is_empty())
            .collect();
        match &view.at {
            At::Ports => {
                for (page, services) in pages {
                    page.port(&services, &policy, &mut made, &mut members);
                    page.sniffed(&services, &mut made, &mut members);
                }
            }
            At::All(place) => {
                let config = ConfigName::AllPorts(place.clone());
                if made.insert(config.clone()) {
                    all_ports(&config, (key, read), &pages, &policy, &mut members);
                }
            }
        }
    }
    members
}

/// The configuration of a listener for all ports of its services.
fn all_ports(
    config: &ConfigName,
    (key, read): (&RoutesKey, &Read<'_>),
    pages: &[(Page<'_>, Services)],
    policy: &OutboundPolicy,
    members: &mut Members,
) {
    members.push(head(key, config));
    let mut claimed = BTreeSet::new();
    // Without a port a request is for port 80, or for the service's only one.
    let ports = |host: &Host| {
        pages.iter().filter(|(_, services)| services.iter().any(|(shape, _)| shape.id.host == *host)).count()
    };
    for (page, services) in pages {
        let full_names = services.iter().map(|(shape, _)| shape.id.host.as_str()).collect();
        let mut domains = Taken { full_names, taken: std::mem::take(&mut claimed) };
        let suffix = |shape: &ServiceShape| {
            let may = u32::from(page.port.number()) == HTTP || ports(&shape.id.host) == 1;
            if may { PortSuffix::May(page.port) } else { PortSuffix::Must(page.port) }
        };
        page.shared(config, services, &suffix, &mut domains, members);
        claimed = domains.taken;
    }
    let mut domains = Taken { full_names: BTreeSet::new(), taken: claimed };
    rest(config, (key, read), policy, &mut domains, members);
}

fn head(key: &RoutesKey, config: &ConfigName) -> ResourceKey {
    ResourceKey::from(RouteKey { config: config.clone(), virtual_hosts: key.virtual_hosts })
}

/// What requests to unknown hosts meet.
fn rest(
    config: &ConfigName,
    (key, read): (&RoutesKey, &Read<'_>),
    policy: &OutboundPolicy,
    domains: &mut Taken<'_>,
    members: &mut Members,
) {
    let (name, body) = match (policy.mode, &policy.proxy) {
        (OutboundMode::RegistryOnly, _) => ("block_all", BodyKey::BlockAll),
        (OutboundMode::AllowAny | OutboundMode::AllowAnyDynamicDns, None) => ("allow_any", BodyKey::AllowAny),
        (OutboundMode::AllowAny | OutboundMode::AllowAnyDynamicDns, Some(_)) => {
            ("allow_any", BodyKey::EgressProxy(fallback(read, &key.namespace, &key.selectors, policy)))
        }
    };
    if let Some(dropped) = domains.claim([Domain { text: "*".into(), is_short: false }].iter()) {
        let (config, virtual_hosts, subject) = (config.clone(), key.virtual_hosts, Subject::Rest(name));
        let host = VirtualHostKey { config, subject, dropped, body, virtual_hosts };
        members.push(host.into());
    }
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
    view: &'a View,
    rules: &'a Rules<'a>,
    /// The hosts of all services that the caller sees.
    known: &'a BTreeSet<Host>,
    port: Port,
}

impl Page<'_> {
    /// The configuration that all services of the port share.
    fn port(
        &self,
        services: &[(Arc<ServiceShape>, Protocol)],
        policy: &OutboundPolicy,
        made: &mut BTreeSet<ConfigName>,
        members: &mut Members,
    ) {
        let config = ConfigName::Port(self.port);
        if self.view.is_taken(self.port) || !made.insert(config.clone()) {
            return;
        }
        members.push(head(self.key, &config));
        let full_names = services.iter().map(|(shape, _)| shape.id.host.as_str()).collect();
        let mut domains = Taken { full_names, taken: BTreeSet::new() };
        self.shared(&config, services, &|_| PortSuffix::None, &mut domains, members);
        rest(&config, (self.key, self.read), policy, &mut domains, members);
    }

    /// The virtual hosts of all services of the port.
    fn shared(
        &self,
        config: &ConfigName,
        services: &[(Arc<ServiceShape>, Protocol)],
        suffix: &dyn Fn(&ServiceShape) -> PortSuffix,
        domains: &mut Taken<'_>,
        members: &mut Members,
    ) {
        let mut by_rule: BTreeMap<usize, Vec<&ServiceShape>> = BTreeMap::new();
        let mut plain = Vec::new();
        for (shape, _) in services {
            match self.rules.in_force(&shape.id.host, self.port) {
                Some(at) => by_rule.entry(at).or_default().push(shape),
                None => plain.push(&**shape),
            }
        }
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
                            config,
                            Subject::Host(host.clone()),
                            dropped,
                            self.ruled(outline),
                        ));
                    }
                }
            }
            for shape in ruled {
                self.service(config, shape, self.ruled(outline), suffix(shape), domains, members);
            }
        }
        for shape in plain {
            self.service(config, shape, self.unruled(shape), suffix(shape), domains, members);
        }
    }

    /// The configurations of services whose protocol is found out on listeners of their own.
    fn sniffed(
        &self,
        services: &[(Arc<ServiceShape>, Protocol)],
        made: &mut BTreeSet<ConfigName>,
        members: &mut Members,
    ) {
        let alone = services.iter().filter(|(shape, _)| {
            shape.port(self.port).is_some_and(|port| {
                let protocol = self.view.protocol.unwrap_or(port.protocol);
                let port = ServicePort { protocol, ..port.clone() };
                has_own_route(shape, &port, self.key.family, self.key.allocated)
            })
        });
        for (shape, _) in alone {
            let config = ConfigName::Sniffed(shape.id.host.clone(), self.port);
            if !made.insert(config.clone()) {
                continue;
            }
            let body = match self.rules.in_force(&shape.id.host, self.port) {
                Some(at) => self.ruled(self.rules.ordered[at]),
                None => self.unruled(shape),
            };
            members.push(head(self.key, &config));
            members.push(self.virtual_host(
                &config,
                Subject::Listener(shape.id.host.clone()),
                Arc::default(),
                body,
            ));
        }
    }

    fn virtual_host(
        &self,
        config: &ConfigName,
        subject: Subject,
        dropped: Arc<[Arc<str>]>,
        body: BodyKey,
    ) -> ResourceKey {
        let (config, virtual_hosts) = (config.clone(), self.key.virtual_hosts);
        ResourceKey::from(VirtualHostKey { config, subject, dropped, body, virtual_hosts })
    }

    fn service(
        &self,
        config: &ConfigName,
        shape: &ServiceShape,
        body: BodyKey,
        suffix: PortSuffix,
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
            suffix,
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
