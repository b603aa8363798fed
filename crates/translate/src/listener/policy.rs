//! What DestinationRules say of connections that are sent on as they are. Must not know how a rule is found, nor clusters.

use std::sync::Arc;

use meltemi_api::destination_rule::HashKey;
use meltemi_api::value::Duration;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_model::rule::{PolicyOf, RuleFor, RuleRef};
use meltemi_names::Port;

use super::ListenersKey;
use super::plan::{Backend, OutboundListener};

/// How long connections live, and whether an endpoint is chosen by who calls (Istio: pilot/pkg/networking/core/networkfilter.go).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionPolicy {
    /// How long a connection may be silent; zero is for ever, none Envoy's hour.
    pub idle_timeout: Option<Duration>,
    /// How long a connection lives at most; none is for ever.
    pub max_duration: Option<Duration>,
    /// The endpoint is chosen by the caller's address.
    pub by_source: bool,
}

/// What the rules in force say of connections to a port; a change of anything else in them ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ConnectionPolicyOf {
    rule: RuleRef,
    port: Port,
}

impl Question for ConnectionPolicyOf {
    type World = Mesh;
    type Answer = ConnectionPolicy;
    const NAME: &'static str = "policy of connections";

    fn answer(&self, read: &Read<'_>) -> ConnectionPolicy {
        let policy = read.ask(PolicyOf { rule: Arc::clone(&self.rule), port: self.port, subset: None });
        let Some(policy) = &*policy else { return ConnectionPolicy::default() };
        let tcp = policy.connection_pool.as_ref().and_then(|pool| pool.tcp.as_ref());
        let hash = policy.load_balancer.as_ref().and_then(|balancer| balancer.consistent_hash.as_ref());
        ConnectionPolicy {
            idle_timeout: tcp.and_then(|tcp| tcp.idle_timeout),
            max_duration: tcp.and_then(|tcp| tcp.max_connection_duration),
            by_source: hash.is_some_and(|hash| hash.key == Some(HashKey::SourceIp)),
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
    listener.tcp = listener.tcp.map(|backend| ruled(read, caller, backend));
    listener
}

fn ruled(read: &Read<'_>, caller: &ListenersKey, mut backend: Backend) -> Backend {
    let rule = read.ask(RuleFor {
        viewer: caller.namespace.clone(),
        service: backend.service.clone(),
        selectors: Arc::clone(&caller.selectors),
    });
    if let Some(rule) = &*rule {
        let policy = ConnectionPolicyOf { rule: Arc::clone(rule), port: backend.port };
        backend.policy = (*read.ask(policy)).clone();
    }
    backend
}
