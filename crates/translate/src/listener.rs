//! Listeners.
//!
//! Knows which listeners a kind of caller, or a class of workloads, has. Must not know routes and clusters but by name.   Start at
//! [`ListenersKey`] (which there are) and [`ListenerKey`] (each of them). Invariant: what tells two callers' listeners apart is in the
//! key of the listener, and nothing else of the caller is, so that callers of many namespaces share one.

mod access_log;
mod bind;
mod block;
mod chain;
mod collector;
pub mod gateway;
mod http_manager;
pub mod inbound;
mod listener_filter;
mod metrics;
mod outbound;
mod place;
mod plan;
mod policy;
mod ruled;
mod settings;
mod tcp;
mod tracing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::mesh_config::OutboundMode;
use meltemi_catalog::ResourceName;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
use meltemi_model::rule::{PolicyOf, RuleFor};
use meltemi_model::scope::{OutboundPolicy, OutboundPolicyOf};
use meltemi_model::service::ServiceByHost;
use meltemi_model::workload::InboundPort;
use meltemi_names::{Namespace, ObjectKey, Port, Selector};

pub use self::bind::{Bind, Treatment, has_own_route};
pub use self::block::Block;
pub use self::plan::{Backend, HttpChain, OutboundListener, ShadowedBy};
pub use self::policy::ConnectionPolicy;
pub use self::ruled::RuledChain;

pub(crate) use self::collector::{AnyCollector, CollectorOf, Missing};
pub use self::gateway::GatewayListener;
pub use self::inbound::InboundListener;
use self::plan::{OutboundPlan, ViewerOf};
use self::ruled::RulesOfConnections;
pub(crate) use self::settings::NamesService;
use self::settings::SettingsOfListeners;
pub use self::settings::TelemetryKey;
use crate::key::{Made, Members, ResourceKey};
use crate::patch::Patches;
use crate::resource_names::{BLACK_HOLE, PASSTHROUGH, outbound_cluster};

/// The outbound listeners of one kind of caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenersKey {
    /// Whose services are listened for.
    pub namespace: Namespace,
    /// As in [`crate::key::OutboundKey`].
    pub scope: Option<ObjectKey>,
    /// How traffic reaches the proxy.
    pub interception: Interception,
    /// Which addresses are of use.
    pub family: IpFamily,
    /// As in [`crate::key::OutboundKey`]; for rules with a workloadSelector.
    pub selectors: Arc<[Selector]>,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// Services are called at addresses that they were given, too: the caller's proxy tells those to its workload.
    pub allocated: bool,
    /// As in [`crate::key::OutboundKey`].
    pub access_log: bool,
    /// As in [`crate::key::OutboundKey`].
    pub metrics: bool,
    /// As in [`crate::key::OutboundKey`].
    pub telemetry: TelemetryKey,
    /// As in [`crate::key::OutboundKey`].
    pub has_certificates: bool,
}

impl ListenersKey {
    /// Where connections to unknown destinations go, if it is elsewhere than the mesh's settings say.
    fn fallback(&self, read: &Read<'_>) -> Option<ResourceName> {
        let own = read.ask(OutboundPolicyOf(Some(self.scope.clone()?)));
        let general = read.ask(OutboundPolicyOf(None));
        (own != general).then(|| fallback(read, &self.namespace, &self.selectors, &own))
    }
}

/// The cluster that connections of such callers to unknown destinations go to. A proxy that does not exist takes none.
pub(crate) fn fallback(
    read: &Read<'_>,
    viewer: &Namespace,
    selectors: &Arc<[Selector]>,
    policy: &OutboundPolicy,
) -> ResourceName {
    if policy.mode == OutboundMode::RegistryOnly {
        return BLACK_HOLE.into();
    }
    let Some(proxy) = &policy.proxy else { return PASSTHROUGH.into() };
    let service = read.ask(ServiceByHost { viewer: viewer.clone(), host: proxy.host.clone() });
    let Some(service) = service.as_ref().as_ref().filter(|service| service.port(proxy.port).is_some()) else {
        return BLACK_HOLE.into();
    };
    if let Some(subset) = &proxy.subset {
        let (service, selectors) = (service.id.clone(), Arc::clone(selectors));
        let rule = read.ask(RuleFor { viewer: viewer.clone(), service, selectors });
        let has = rule.as_ref().as_ref().is_some_and(|rule| {
            read.ask(PolicyOf { rule: Arc::clone(rule), port: proxy.port, subset: Some(Arc::clone(subset)) })
                .is_some()
        });
        if !has {
            return BLACK_HOLE.into();
        }
    }
    outbound_cluster(proxy.port, proxy.subset.as_deref(), &proxy.host)
}

impl Question for ListenersKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: listeners";

    fn answer(&self, read: &Read<'_>) -> Members {
        let bound = self.interception == Interception::None;
        let plan = read.ask(OutboundPlan {
            viewer: match &self.scope {
                Some(_) => Some(self.namespace.clone()),
                None => (*read.ask(ViewerOf(self.namespace.clone()))).clone(),
            },
            scope: self.scope.clone(),
            bound,
            family: self.family,
            http10: self.http10,
            allocated: self.allocated,
        });
        let mut listeners: Vec<OutboundListener> = plan.listeners.clone();
        let mut taken: BTreeSet<(Bind, Port)> =
            listeners.iter().map(|listener| (listener.bind.clone(), listener.port)).collect();
        for headless in &plan.headless {
            for address in headless.addresses(read, self.family).iter() {
                let listener = headless.at(*address);
                // A pod may be behind several services: as everywhere the oldest is served.
                if taken.insert((listener.bind.clone(), listener.port)) {
                    listeners.push(listener);
                }
            }
        }
        let telemetry = self.telemetry.seen_by(read, &self.namespace);
        let fallback = self.fallback(read);
        let rules = RulesOfConnections::of(read, self);
        let outbound = listeners
            .into_iter()
            .map(|listener| OutboundListener {
                access_log: self.access_log,
                metrics: self.metrics,
                telemetry: telemetry.clone(),
                ..listener
            })
            .map(|listener| match &rules {
                Some(rules) => rules.applied(listener),
                None => listener,
            })
            .map(|listener| OutboundListener {
                // Where a service takes all there is nothing that goes elsewhere.
                fallback: fallback.clone().filter(|_| listener.tcp.is_none() && !listener.bind.is_bound()),
                ..listener
            })
            .map(|listener| policy::applied(read, self, listener));
        let redirected = ListenerKey::VirtualOutbound {
            family: self.family,
            interception: self.interception,
            access_log: self.access_log,
            metrics: self.metrics,
            telemetry: telemetry.clone(),
            fallback: fallback.clone(),
        };
        let all = outbound.map(ListenerKey::Outbound).chain((!bound).then_some(redirected));
        all.map(ResourceKey::from).collect()
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerKey {
    /// For services, at an address and port.
    Outbound(OutboundListener),
    /// Takes what iptables redirects, `virtualOutbound`.
    VirtualOutbound {
        /// Which addresses the proxy has.
        family: IpFamily,
        /// How traffic reaches it.
        interception: Interception,
        /// As in [`crate::key::OutboundKey`].
        access_log: bool,
        /// As in [`crate::key::OutboundKey`].
        metrics: bool,
        /// What it tells of its traffic.
        telemetry: TelemetryKey,
        /// As in [`OutboundListener`].
        fallback: Option<ResourceName>,
    },
    /// Takes what iptables redirects to the workload, `virtualInbound`.
    VirtualInbound(InboundListener),
    /// Of a gateway.
    Gateway(GatewayListener),
    /// A socket for what is sent to the workload at a port.
    BoundInbound(InboundListener, Bind),
}

impl Question for ListenerKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "listener";

    fn answer(&self, read: &Read<'_>) -> Made {
        Some(match self {
            Self::Gateway(listener) => return listener.make(read),
            Self::Outbound(listener) => listener.make(read),
            Self::VirtualOutbound { family, interception, access_log, metrics, fallback, telemetry } => {
                let settings = SettingsOfListeners {
                    access_log: *access_log,
                    metrics: *metrics,
                    telemetry: telemetry.clone(),
                };
                outbound::virtual_outbound(read, *family, *interception, settings, fallback.as_ref())
            }
            Self::VirtualInbound(key) => inbound::virtual_inbound(read, key),
            Self::BoundInbound(key, bind) => inbound::bound(read, key, bind)?,
        })
    }
}

/// All that inbound translation may know of a proxy: a class of workloads, not a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundKey {
    /// The workload's namespace.
    pub namespace: Namespace,
    /// The ports that services lead to, with the service that owns each; by target port.
    pub ports: Arc<[InboundPort]>,
    /// How traffic reaches the proxy.
    pub interception: Interception,
    /// Which addresses the workload has.
    pub family: IpFamily,
    /// As in [`crate::key::OutboundKey`].
    pub access_log: bool,
    /// As in [`crate::key::OutboundKey`].
    pub metrics: bool,
    /// As in [`crate::key::OutboundKey`].
    pub telemetry: TelemetryKey,
    /// The workload as metrics know it, packed; empty where nothing is counted.
    pub workload: Arc<str>,
    /// The PeerAuthentication that selects the workload.
    pub policy: Option<ObjectKey>,
    /// As in [`crate::key::OutboundKey`].
    pub has_certificates: bool,
    /// The Sidecar that says what comes in; none where none does.
    pub scope: Option<ObjectKey>,
    /// The workload's addresses, where the Sidecar sends to one of them: else none.
    pub addresses: Arc<[IpAddr]>,
    /// The patches of what is made for callees, in force for it; none for most.
    pub patches: Patches,
}

/// The inbound listener and clusters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundPartKey(pub InboundKey);

impl Question for InboundPartKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: inbound";

    fn answer(&self, read: &Read<'_>) -> Members {
        inbound::members(read, &self.0)
    }
}

#[cfg(test)]
mod tests;
