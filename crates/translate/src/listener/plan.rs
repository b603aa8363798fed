//! Which outbound listeners there are, and what each is for: all services that a caller sees, laid on addresses and ports.
//!
//! Knows Istio's rules for services that meet at one address and port. Must not know Envoy's messages. Invariant: services are laid
//! oldest first, and what an older one took a younger one never takes away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::sidecar::EgressBind;
use meltemi_api::value::Subnet;
use meltemi_catalog::ResourceName;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::endpoints::{EndpointAddress, EndpointsOf};
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::scope::{EgressOf, Imported};
use meltemi_model::service::{
    PublicServices, Resolution, ServiceId, ServiceOf, ServicePort, ServiceShape, VisibleServices,
};
use meltemi_names::{Namespace, ObjectKey, Port, Protocol};

use super::bind::{Bind, Treatment};
use super::block::Block;
use super::place::Place;
use super::policy::ConnectionPolicy;
use super::ruled::RuledChain;
use super::settings::{SettingsOfListeners, TelemetryKey};
use crate::resource_names::{HTTP_PROXY_ROUTE, port_route, service_route, unix_route};

/// An outbound listener, as small as says all: callers of any namespace for which it comes out equal share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundListener {
    /// Where it listens.
    pub bind: Bind,
    /// The services' port.
    pub port: Port,
    /// What happens to HTTP, if a service there may speak it.
    pub http: Option<HttpChain>,
    /// Services told apart by the name in TLS.
    pub tls: Arc<[Backend]>,
    /// Services told apart by where a connection was going.
    pub blocks: Arc<[Block]>,
    /// The service that gets everything else.
    pub tcp: Option<Backend>,
    /// Where what no service takes goes, if a Sidecar says so; none: where the mesh's settings say.
    pub fallback: Option<ResourceName>,
    /// Connections that VirtualServices send elsewhere; one with neither names nor blocks of addresses is in the place of `tcp`.
    pub ruled: Arc<[RuledChain]>,
    /// As in [`crate::key::OutboundKey`].
    pub access_log: bool,
    /// As in [`crate::key::OutboundKey`].
    pub metrics: bool,
    /// What callers tell of their traffic.
    pub telemetry: TelemetryKey,
}

impl OutboundListener {
    /// A socket of the loopback address at which any service is called by its name, as clients of an HTTP proxy do (Istio:
    /// core/listener.go, `buildHTTPProxy`).
    pub(crate) fn http_proxy(
        family: IpFamily,
        port: Port,
        (http10, dynamic): (bool, Option<IpFamily>),
    ) -> Self {
        let http = HttpChain { route: HTTP_PROXY_ROUTE.into(), grpc_web: false, http10, dynamic };
        Self {
            bind: Bind::Loopback(family),
            port,
            http: Some(http),
            tls: Arc::default(),
            blocks: Arc::default(),
            tcp: None,
            fallback: None,
            ruled: Arc::default(),
            access_log: false,
            metrics: false,
            telemetry: TelemetryKey::default(),
        }
    }
}

/// What happens to HTTP at a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpChain {
    /// The route configuration.
    pub route: ResourceName,
    /// A service there speaks gRPC-Web.
    pub grpc_web: bool,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// Some requests' hosts are resolved as they are called, to addresses of that family.
    pub dynamic: Option<IpFamily>,
}

/// A service that connections are sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The service.
    pub service: ServiceId,
    /// Its port.
    pub port: Port,
    /// What that port speaks.
    pub protocol: Protocol,
    /// The name that a connection asks for is resolved as it is called, to addresses of that family.
    pub dynamic: Option<IpFamily>,
    /// What the caller's rules say of connections to it.
    pub policy: ConnectionPolicy,
}

/// What some callers' services come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The listeners whose place is known from the services alone.
    pub(crate) listeners: Vec<OutboundListener>,
    /// Ports whose listeners are at the service's endpoints; the oldest service first.
    pub(crate) headless: Vec<HeadlessPort>,
    /// Ports that no caller reaches, with the older service that has the place.
    shadowed: BTreeMap<(ServiceId, Port), ServiceId>,
}

/// A port of a headless service that is not told by HTTP's host: callers ask for an endpoint's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeadlessPort {
    http: Option<HttpChain>,
    backend: Backend,
}

impl HeadlessPort {
    /// The addresses of use that its listeners are at.
    pub(crate) fn addresses(&self, read: &Read<'_>, family: IpFamily) -> Arc<Vec<IpAddr>> {
        read.ask(AddressesOf { service: self.backend.service.clone(), port: self.backend.port, family })
    }

    /// The listener at one of them.
    pub(crate) fn at(&self, address: IpAddr) -> OutboundListener {
        OutboundListener {
            bind: Bind::Address(address),
            port: self.backend.port,
            http: self.http.clone(),
            tls: Arc::default(),
            blocks: Arc::default(),
            tcp: Some(self.backend.clone()),
            fallback: None,
            ruled: Arc::default(),
            access_log: false,
            metrics: false,
            telemetry: TelemetryKey::default(),
        }
    }
}

/// The addresses of the endpoints that serve a port, sorted: that one is not ready, or moves to another zone, ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AddressesOf {
    service: ServiceId,
    port: Port,
    family: IpFamily,
}

impl Question for AddressesOf {
    type World = Mesh;
    type Answer = Vec<IpAddr>;
    const NAME: &'static str = "addresses of endpoints";

    fn answer(&self, read: &Read<'_>) -> Vec<IpAddr> {
        let endpoints = read.ask(EndpointsOf(self.service.clone()));
        let serving = endpoints
            .values()
            .flat_map(|endpoints| endpoints.iter())
            .filter(|endpoint| endpoint.ports.contains_key(&self.port));
        let addresses: BTreeSet<IpAddr> = serving
            .filter_map(|endpoint| match endpoint.address {
                EndpointAddress::Ip(address) if self.family.takes(address) => Some(address),
                EndpointAddress::Ip(_) | EndpointAddress::Name(_) | EndpointAddress::Unix(_) => None,
            })
            .collect();
        addresses.into_iter().collect()
    }
}

/// The outbound listeners that some callers have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OutboundPlan {
    /// Whose services; none: those that everyone sees.
    pub(crate) viewer: Option<Namespace>,
    /// The Sidecar through which the viewer sees them.
    pub(crate) scope: Option<ObjectKey>,
    /// Nothing is redirected: listeners are sockets.
    pub(crate) bound: bool,
    /// Which addresses are of use.
    pub(crate) family: IpFamily,
    /// HTTP/1.0 is accepted.
    pub(crate) http10: bool,
    /// As in [`super::ListenersKey`].
    pub(crate) allocated: bool,
}

impl Question for OutboundPlan {
    type World = Mesh;
    type Answer = Plan;
    const NAME: &'static str = "outbound listeners";

    fn answer(&self, read: &Read<'_>) -> Plan {
        let settings = read.ask(SettingsOfListeners::of_mesh());
        let virtual_ports = [settings.outbound_port, settings.inbound_port];
        let mut layout = Layout { plan: Plan::default(), drafts: BTreeMap::new(), virtual_ports };
        match (&self.viewer, &self.scope) {
            (None, _) => self.lay(read, &read.ask(PublicServices), &Place::of_mesh(self.bound), &mut layout),
            (Some(viewer), None) => {
                let services = read.ask(VisibleServices(viewer.clone()));
                self.lay(read, &services, &Place::of_mesh(self.bound), &mut layout);
            }
            (Some(viewer), Some(sidecar)) => {
                let listeners = read.ask(EgressOf(sidecar.clone()));
                let named = || listeners.iter().filter_map(|egress| egress.port.as_ref()?.number);
                for (listener, egress) in listeners.iter().enumerate() {
                    let (viewer, sidecar) = (viewer.clone(), sidecar.clone());
                    let services = read.ask(Imported { viewer, sidecar, listener });
                    self.lay(read, &services, &Place::of(egress, named(), self.bound), &mut layout);
                }
            }
        }
        let Layout { mut plan, drafts, .. } = layout;
        plan.listeners = drafts.into_iter().map(|((bind, port), draft)| draft.finish(bind, port)).collect();
        plan
    }
}

/// Listeners while services are laid.
struct Layout {
    plan: Plan,
    drafts: BTreeMap<(Bind, Port), Draft>,
    virtual_ports: [Port; 2],
}

impl OutboundPlan {
    fn lay(&self, read: &Read<'_>, services: &[ServiceId], place: &Place, layout: &mut Layout) {
        let Layout { plan, drafts, virtual_ports } = layout;
        for key in services {
            let service = read.ask(ServiceOf(key.clone()));
            let Some(service) = &*service else { continue };
            for port in &*place.ports(service) {
                if self.is_called_by_endpoint(service, port, place) {
                    let mut draft = Draft::new(service, port);
                    let route = service_route(&service.id.host, port.port);
                    draft.add(self, route, true, &[], service, port);
                    let Draft { http, tcp, .. } = draft;
                    plan.headless.extend(tcp.map(|backend| HeadlessPort { http, backend }));
                    continue;
                }
                for bind in self.binds(service, port, place) {
                    let (own, is_somewhere) = (bind.is_own(), bind.is_own() || bind.is_bound());
                    // A Unix socket has no port: one that nobody else has stands for it.
                    let (at, route) = match &bind {
                        Bind::Unix(path) => (virtual_ports[0], unix_route(path)),
                        _ if own => (port.port, service_route(&service.id.host, port.port)),
                        _ => (port.port, port_route(port.port)),
                    };
                    // The virtual listeners, the agent's health port and its metrics port are taken (Istio: pilot/pkg/model/context.go).
                    let reserved = virtual_ports.contains(&at) || matches!(at.number(), 15021 | 15090);
                    if (reserved && bind.is_everywhere()) || (!own && place.taken.contains(&at)) {
                        continue;
                    }
                    let draft = drafts.entry((bind, at)).or_insert_with(|| Draft::new(service, port));
                    // At a socket nothing is known of where a connection was going.
                    let blocks = if is_somewhere { &[] } else { &*service.blocks };
                    if let Some(older) = draft.add(self, route, own, blocks, service, port) {
                        plan.shadowed.insert((key.clone(), port.port), older);
                    }
                }
            }
        }
    }

    /// Whether callers ask for an endpoint's address, and nothing but that tells whom they mean.
    fn is_called_by_endpoint(&self, service: &ServiceShape, port: &ServicePort, place: &Place) -> bool {
        !place.bound
            && place.bind.is_none()
            && place.port.is_none()
            && service.is_headless()
            && Treatment::of(port.protocol) != Treatment::Http
    }

    /// Where a service's port is listened for.
    fn binds(&self, service: &ServiceShape, port: &ServicePort, place: &Place) -> Vec<Bind> {
        match &place.bind {
            Some(EgressBind::Unix(path)) => return vec![Bind::Unix(path.as_str().into())],
            Some(EgressBind::Ip(address)) => {
                return vec![Bind::Given { address: *address, bound: place.bound }];
            }
            None => {}
        }
        if place.bound {
            return vec![Bind::Loopback(self.family)];
        }
        if Treatment::of(port.protocol) == Treatment::Http {
            return vec![Bind::Any(self.family)];
        }
        let addresses = service.addresses(self.allocated);
        let own = addresses.iter().filter(|address| self.family.takes(**address)).copied();
        // Blocks are laid on the wildcard listener, where the destination of a connection tells whose it is.
        let shared = addresses.is_empty() || !service.blocks.is_empty();
        own.map(Bind::Address).chain(shared.then_some(Bind::Any(self.family))).collect()
    }
}

/// A listener while services are laid on it.
struct Draft {
    /// The oldest service there.
    oldest: ServiceId,
    /// What it speaks.
    first: Protocol,
    http: Option<HttpChain>,
    tls: Vec<Backend>,
    blocks: Vec<Block>,
    tcp: Option<Backend>,
}

impl Draft {
    fn new(service: &ServiceShape, port: &ServicePort) -> Self {
        Self {
            oldest: service.id.clone(),
            first: port.protocol,
            http: None,
            tls: Vec::new(),
            blocks: Vec::new(),
            tcp: None,
        }
    }

    /// Lays a younger service on it (Istio: the conflicts of pilot/pkg/networking/core/listener.go). HTTP and other protocols are told
    /// apart by their first bytes, TLS by the name in it; of services that nothing tells apart the oldest stays. `own`: the address is
    /// one service's; `blocks`: those that tell its connections from others. Answers who has the place, if nothing of the service is reached here.
    fn add(
        &mut self,
        caller: &OutboundPlan,
        route: ResourceName,
        own: bool,
        blocks: &[Subnet],
        service: &ServiceShape,
        port: &ServicePort,
    ) -> Option<ServiceId> {
        // These servers speak first: waiting for the client's bytes to tell protocols apart would wait for ever.
        let speaks_first = |protocol| matches!(protocol, Protocol::Mongo | Protocol::Mysql);
        if port.protocol != self.first && (speaks_first(port.protocol) || speaks_first(self.first)) {
            return Some(self.oldest.clone());
        }
        let treatment = Treatment::of(port.protocol);
        let dynamic = (service.resolution == Resolution::Dynamic).then_some(caller.family);
        let backend = || Backend {
            service: service.id.clone(),
            port: port.port,
            protocol: port.protocol,
            dynamic,
            policy: ConnectionPolicy::default(),
        };
        if treatment != Treatment::Tcp {
            let http = self.http.get_or_insert(HttpChain {
                route,
                grpc_web: false,
                http10: caller.http10,
                dynamic: None,
            });
            http.dynamic = http.dynamic.or(dynamic);
            http.grpc_web |= port.protocol == Protocol::GrpcWeb;
        }
        if treatment != Treatment::Http && !blocks.is_empty() {
            let block = Block { subnets: blocks.into(), backend: backend() };
            if let Some(other) = self.blocks.iter().find(|other| other.equals(&block)) {
                return Some(other.backend.service.clone());
            }
            self.blocks.push(block);
        } else if port.protocol.is_tls() && (!own || dynamic.is_some()) {
            if self.tls.iter().all(|other| other.service.host != service.id.host) {
                self.tls.push(backend());
            }
        } else if treatment != Treatment::Http {
            let first = self.tcp.get_or_insert_with(backend);
            if first.service != service.id && treatment == Treatment::Tcp {
                return Some(first.service.clone());
            }
        }
        None
    }

    fn finish(mut self, bind: Bind, port: Port) -> OutboundListener {
        // Nothing is known of where a connection to a socket wanted to go: one without a name in its TLS is the oldest service's.
        if bind.is_bound() && self.tcp.is_none() {
            self.tcp = self.tls.first().cloned();
        }
        OutboundListener {
            bind,
            port,
            http: self.http,
            tls: self.tls.into(),
            blocks: self.blocks.into(),
            tcp: self.tcp,
            fallback: None,
            ruled: Arc::default(),
            access_log: false,
            metrics: false,
            telemetry: TelemetryKey::default(),
        }
    }
}

/// The older service that has the place of a service's port, if no redirected caller beside the service reaches the port: nothing
/// tells its connections from the older one's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShadowedBy {
    /// The service.
    pub service: ServiceId,
    /// Its port.
    pub port: Port,
}

impl Question for ShadowedBy {
    type World = Mesh;
    type Answer = Option<ServiceId>;
    const NAME: &'static str = "who shadows a port";

    fn answer(&self, read: &Read<'_>) -> Option<ServiceId> {
        let plan = read.ask(OutboundPlan {
            viewer: (*read.ask(ViewerOf(self.service.namespace().clone()))).clone(),
            scope: None,
            bound: false,
            family: IpFamily::Dual,
            http10: false,
            allocated: false,
        });
        plan.shadowed.get(&(self.service.clone(), self.port)).cloned()
    }
}

/// The viewer of [`OutboundPlan`] for a namespace: none for all those that see just what everyone sees, so that they share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ViewerOf(pub(crate) Namespace);

impl Question for ViewerOf {
    type World = Mesh;
    type Answer = Option<Namespace>;
    const NAME: &'static str = "viewer of a namespace";

    fn answer(&self, read: &Read<'_>) -> Option<Namespace> {
        // What everyone sees, each namespace sees, unless it has another service of the same host.
        let visible = read.ask(VisibleServices(self.0.clone()));
        let public = read.ask(PublicServices);
        let sees_more = !Arc::ptr_eq(&visible, &public) && *visible != *public;
        sees_more.then(|| self.0.clone())
    }
}
