//! What DestinationRules say of connections that are sent on as they are. Must not know how a rule is found, nor clusters.

use std::sync::Arc;

use meltemi_api::destination_rule::{H2UpgradePolicy, HashKey, Tunnel};
use meltemi_api::value::Duration;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_model::rule::{PolicyOf, RuleFor, RuleRef};
use meltemi_model::service::ServiceId;
use meltemi_names::{Namespace, Port, Protocol, Selector};

use super::ListenersKey;
use super::block::Block;
use super::plan::{Backend, OutboundListener};
use crate::cluster::protocol::spoken;
use crate::cluster::tls;
use crate::tls::upstream::Spoken;

/// How long connections live, and whether an endpoint is chosen by who calls (Istio: pilot/pkg/networking/core/networkfilter.go).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionPolicy {
    /// How long a connection may be silent; zero is for ever, none Envoy's hour.
    pub idle_timeout: Option<Duration>,
    /// How long a connection lives at most; none is for ever.
    pub max_duration: Option<Duration>,
    /// The endpoint is chosen by the caller's address.
    pub by_source: bool,
    /// They go through a tunnel.
    pub tunnel: Option<Tunnel>,
    /// In the mesh's TLS they say that they are no HTTP, where the cluster's other connections may be.
    pub as_bytes: bool,
}

/// What the rules in force say of connections to a port; a change of anything else in them ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ConnectionPolicyOf {
    rule: Option<RuleRef>,
    port: Port,
    protocol: Protocol,
    /// Whose own word about the choice of an endpoint counts.
    subset: Option<Arc<str>>,
    has_certificates: bool,
}

impl Question for ConnectionPolicyOf {
    type World = Mesh;
    type Answer = ConnectionPolicy;
    const NAME: &'static str = "policy of connections";

    fn answer(&self, read: &Read<'_>) -> ConnectionPolicy {
        let of = |subset: Option<Arc<str>>| {
            let rule = self.rule.as_ref()?;
            (*read.ask(PolicyOf { rule: Arc::clone(rule), port: self.port, subset })).clone()
        };
        let policy = of(None).unwrap_or_default();
        let balanced = self.subset.clone().and_then(|subset| of(Some(subset)));
        let balanced = balanced.as_ref().unwrap_or(&policy);
        let tcp = policy.connection_pool.as_ref().and_then(|pool| pool.tcp.as_ref());
        let hash = balanced.load_balancer.as_ref().and_then(|balancer| balancer.consistent_hash.as_ref());
        ConnectionPolicy {
            idle_timeout: tcp.and_then(|tcp| tcp.idle_timeout),
            max_duration: tcp.and_then(|tcp| tcp.max_connection_duration),
            by_source: hash.is_some_and(|hash| hash.key == Some(HashKey::SourceIp)),
            tunnel: balanced.tunnel.clone(),
            as_bytes: self.has_certificates && tls::is_of_mesh(&policy) && {
                let pool = policy.connection_pool.as_ref();
                spoken(self.protocol, pool, H2UpgradePolicy::DoNotUpgrade) != Spoken::Bytes
            },
        }
    }
}

/// The listener with what the caller's rules say of each service behind it.
pub(crate) fn applied(
    read: &Read<'_>,
    caller: &ListenersKey,
    mut listener: OutboundListener,
) -> OutboundListener {
    if !listener.tls.is_empty() {
        let ruled = listener.tls.iter().cloned().map(|backend| ruled(read, caller, backend));
        listener.tls = ruled.collect();
    }
    if !listener.blocks.is_empty() {
        let blocks = listener.blocks.iter().cloned();
        let blocks = blocks.map(|block| Block { backend: ruled(read, caller, block.backend), ..block });
        listener.blocks = blocks.collect();
    }
    listener.tcp = listener.tcp.map(|backend| ruled(read, caller, backend));
    listener
}

/// Who calls, as far as rules for connections ask.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) selectors: &'a Arc<[Selector]>,
    pub(crate) has_certificates: bool,
}

impl<'a> From<&'a ListenersKey> for Caller<'a> {
    fn from(key: &'a ListenersKey) -> Self {
        Self { namespace: &key.namespace, selectors: &key.selectors, has_certificates: key.has_certificates }
    }
}

/// Where connections go.
pub(crate) struct Target {
    pub(crate) service: ServiceId,
    pub(crate) port: Port,
    pub(crate) protocol: Protocol,
    pub(crate) subset: Option<Arc<str>>,
}

/// What the caller's rules say of connections there.
pub(crate) fn of<'a>(read: &Read<'_>, caller: impl Into<Caller<'a>>, target: &Target) -> ConnectionPolicy {
    let Caller { namespace, selectors, has_certificates } = caller.into();
    let rule = read.ask(RuleFor {
        viewer: namespace.clone(),
        service: target.service.clone(),
        selectors: Arc::clone(selectors),
    });
    // Without a rule only connections that may be HTTP have anything to say.
    if rule.is_none() && !(has_certificates && target.protocol == Protocol::Auto) {
        return ConnectionPolicy::default();
    }
    (*read.ask(ConnectionPolicyOf {
        rule: (*rule).clone(),
        port: target.port,
        protocol: target.protocol,
        subset: target.subset.clone(),
        has_certificates,
    }))
    .clone()
}

fn ruled(read: &Read<'_>, caller: &ListenersKey, mut backend: Backend) -> Backend {
    let (service, port, protocol) = (backend.service.clone(), backend.port, backend.protocol);
    backend.policy = of(read, caller, &Target { service, port, protocol, subset: None });
    backend
}
