//! Listeners.
//!
//! Knows which listeners a kind of caller, or a class of workloads, has. Must not know routes and clusters but by name.   Start at
//! [`ListenersKey`] (which there are) and [`ListenerKey`] (each of them). Invariant: what tells two callers' listeners apart is in the
//! key of the listener, and nothing else of the caller is, so that callers of many namespaces share one.

mod access_log;
mod bind;
mod block;
mod chain;
pub mod gateway;
mod http_manager;
pub mod inbound;
mod listener_filter;
mod metrics;
mod outbound;
mod plan;
mod policy;
mod ruled;
mod settings;
mod tcp;

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
use meltemi_model::workload::InboundPort;
use meltemi_names::{Namespace, ObjectKey, Port, Selector};

pub use self::bind::{Bind, Treatment, has_own_route};
pub use self::block::Block;
pub use self::plan::{Backend, HttpChain, OutboundListener, ShadowedBy};
pub use self::policy::ConnectionPolicy;
pub use self::ruled::RuledChain;

pub use self::gateway::GatewayListener;
pub use self::inbound::InboundListener;
use self::plan::{OutboundPlan, ViewerOf};
use self::ruled::RulesOfConnections;
use self::settings::SettingsOfListeners;
use crate::cluster::ClusterKey;
use crate::key::{Made, Members, ResourceKey};
use crate::patch::Patches;

/// The outbound listeners of one kind of caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenersKey {
    /// Whose services are listened for.
    pub namespace: Namespace,
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
    pub has_certificates: bool,
}

impl Question for ListenersKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: listeners";

    fn answer(&self, read: &Read<'_>) -> Members {
        let bound = self.interception == Interception::None;
        let plan = read.ask(OutboundPlan {
            viewer: (*read.ask(ViewerOf(self.namespace.clone()))).clone(),
            bound,
            family: self.family,
            http10: self.http10,
            allocated: self.allocated,
        });
        let mut listeners: Vec<OutboundListener> = plan.listeners.clone();
        let mut taken: BTreeSet<(Bind, Port)> =
            listeners.iter().map(|listener| (listener.bind, listener.port)).collect();
        for headless in &plan.headless {
            for address in headless.addresses(read, self.family).iter() {
                let listener = headless.at(*address);
                // A pod may be behind several services: as everywhere the oldest is served.
                if taken.insert((listener.bind, listener.port)) {
                    listeners.push(listener);
                }
            }
        }
        let rules = RulesOfConnections::of(read, self);
        let outbound = listeners
            .into_iter()
            .map(|listener| OutboundListener {
                access_log: self.access_log,
                metrics: self.metrics,
                ..listener
            })
            .map(|listener| match &rules {
                Some(rules) => rules.applied(listener),
                None => listener,
            })
            .map(|listener| policy::applied(read, self, listener));
        let redirected = ListenerKey::VirtualOutbound {
            family: self.family,
            interception: self.interception,
            access_log: self.access_log,
            metrics: self.metrics,
        };
        let all = outbound.map(ListenerKey::Outbound).chain((!bound).then_some(redirected));
        all.map(ResourceKey::Listener).collect()
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
    },
    /// Takes what iptables redirects to the workload, `virtualInbound`.
    VirtualInbound(InboundListener),
    /// Of a gateway.
    Gateway(GatewayListener),
}

impl Question for ListenerKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "listener";

    fn answer(&self, read: &Read<'_>) -> Made {
        Some(match self {
            Self::Gateway(listener) => return listener.make(read),
            Self::Outbound(listener) => listener.make(read),
            Self::VirtualOutbound { family, interception, access_log, metrics } => {
                let settings = SettingsOfListeners { access_log: *access_log, metrics: *metrics };
                outbound::virtual_outbound(read, *family, *interception, settings)
            }
            Self::VirtualInbound(key) => inbound::virtual_inbound(read, key),
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
    /// The workload as metrics know it, packed; empty where nothing is counted.
    pub workload: Arc<str>,
    /// The PeerAuthentication that selects the workload.
    pub policy: Option<ObjectKey>,
    /// As in [`crate::key::OutboundKey`].
    pub has_certificates: bool,
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
        let clusters = self.0.ports.iter().map(|port| ClusterKey::Inbound {
            service: port.service.clone(),
            port: port.port,
            target: port.target,
            protocol: port.protocol,
            family: self.0.family,
        });
        let passthrough = ClusterKey::InboundPassthrough { family: self.0.family };
        let clusters = clusters.chain([passthrough]).map(ResourceKey::Cluster);
        let listener = ResourceKey::Listener(ListenerKey::VirtualInbound(InboundListener::of(read, &self.0)));
        clusters.chain([listener]).collect()
    }
}

#[cfg(test)]
mod tests;
