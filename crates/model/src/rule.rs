//! Which DestinationRules are in force for a service as a namespace sees it, and what they say together.
//!
//! Knows: Istio's order of lookup and its merging. Must not know: Envoy.   Start at [`RuleFor`] (which), [`Rule`] (what they say) and
//! [`PolicyOf`] (what that is for one port).
//! Invariant: a namespace without rules of its own costs one read for each service; the answers below are shared by all namespaces.

use std::sync::Arc;

use meltemi_api::destination_rule::{
    ClientTls, ConnectionPool, LoadBalancer, OutlierDetection, PortPolicy, ProxyProtocol, RetryBudget,
    Subset, TrafficPolicy, Tunnel, policies,
};
use meltemi_api::mesh_config::DefaultTrafficPolicy;
use meltemi_api::value::ExportTo;
use meltemi_memo::Question;
use meltemi_names::{Host, Namespace, ObjectKey, Port, Selector};

use crate::entry::IndexKey;
use crate::exposure::Exposure;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed, none_filed};
use crate::service::{Age, ServiceId};
use crate::settings::settings;

/// DestinationRules that count as one, oldest first.
pub type RuleRef = Arc<[ObjectKey]>;

/// The rules in force for a service as one namespace sees it; none if there are none.
///
/// Istio's order (pilot/pkg/model/push_context.go): the caller's namespace, then what the service's namespace exports, then what the
/// root namespace exports. In each, only the rules of the most specific host are looked at, and in the caller's own namespace they
/// end the search.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleFor {
    /// The caller's namespace.
    pub viewer: Namespace,
    /// The service.
    pub service: ServiceId,
    /// The selectors that match the caller's labels; see [`crate::virtual_service::OutboundSelectors`].
    pub selectors: Arc<[Selector]>,
}

impl Question for RuleFor {
    type World = Mesh;
    type Answer = Option<RuleRef>;
    const NAME: &'static str = "rule for a service";

    fn answer(&self, read: &Read<'_>) -> Option<RuleRef> {
        let host = self.service.host.clone();
        let root = read.ask(RuleSettings).root.clone();
        // Rules of the root namespace are meant for the whole mesh: to its own proxies they count last, as to everybody, unless they
        // are for it alone.
        let own = if self.viewer == root { Pool::Private } else { Pool::Local };
        for (namespace, pool) in
            [(&self.viewer, own), (self.service.namespace(), Pool::Exported), (&root, Pool::Exported)]
        {
            if !*read.ask(AnyRuleIn(namespace.clone())) {
                continue;
            }
            let found = read.ask(Found { namespace: namespace.clone(), host: host.clone(), pool });
            let mut visible = found
                .iter()
                .filter(|group| pool != Pool::Exported || group.exposure.reaches(&self.viewer))
                .peekable();
            if visible.peek().is_some() {
                return self.choose(visible);
            }
        }
        None
    }
}

impl RuleFor {
    /// The first whose selector matches, else the last without one (Istio: pilot/pkg/model/sidecar.go).
    fn choose<'a>(&self, groups: impl Iterator<Item = &'a Group>) -> Option<RuleRef> {
        let mut general = None;
        for group in groups {
            match &group.selector {
                Some(selector) if selector.is_empty() || self.selectors.contains(selector) => {
                    return Some(Arc::clone(&group.rules));
                }
                Some(_) => {}
                None => general = Some(&group.rules),
            }
        }
        general.map(Arc::clone)
    }
}

/// Which of a namespace's rules are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pool {
    /// All that the namespace itself sees.
    Local,
    /// Those that only the namespace itself sees.
    Private,
    /// Those that others see too.
    Exported,
}

impl Pool {
    fn has(self, exposure: &Exposure, own: &Namespace) -> bool {
        let others = match exposure {
            Exposure::Public => true,
            Exposure::To(named) => named.iter().any(|namespace| namespace != own),
        };
        match self {
            Self::Local => exposure.reaches(own),
            Self::Private => exposure.reaches(own) && !others,
            Self::Exported => others,
        }
    }
}

/// Rules of one host and namespace that count as one: those with the same exposure and the same selector.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    exposure: Exposure,
    selector: Option<Selector>,
    rules: RuleRef,
}

/// The rules of a namespace that are the most specific for a host; those with a selector first, then the oldest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Found {
    namespace: Namespace,
    host: Host,
    pool: Pool,
}

impl Question for Found {
    type World = Mesh;
    type Answer = Vec<Group>;
    const NAME: &'static str = "rules of a namespace for a host";

    fn answer(&self, read: &Read<'_>) -> Vec<Group> {
        let settings = read.ask(RuleSettings);
        for host in std::iter::once(self.host.clone()).chain(self.host.covering()) {
            let mut rules: Vec<_> = filed(read, IndexKey::RulesByHost(self.namespace.clone(), host))
                .filter_map(|key| {
                    let (meta, rule) = read::destination_rule(read, key)?;
                    let selector = rule.workload_selector.as_ref().map(|found| found.match_labels.clone());
                    // A rule for some workloads is never exported (Istio: pilot/pkg/model/push_context.go).
                    let written: &[ExportTo] =
                        if selector.is_some() { &[ExportTo::Own] } else { &rule.export_to };
                    let exposure = Exposure::resolve(written, &settings.export_to, &self.namespace);
                    let in_pool = self.pool.has(&exposure, &self.namespace);
                    in_pool.then(|| (selector.is_none(), Age::of(meta), exposure, selector, key.clone()))
                })
                .collect();
            if rules.is_empty() {
                continue;
            }
            rules.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
            let mut groups: Vec<(Exposure, Option<Selector>, Vec<ObjectKey>)> = Vec::new();
            for (_, _, exposure, selector, key) in rules {
                match groups.iter_mut().find(|group| group.0 == exposure && group.1 == selector) {
                    Some(group) => group.2.push(key),
                    None => groups.push((exposure, selector, vec![key])),
                }
            }
            return groups
                .into_iter()
                .map(|(exposure, selector, rules)| Group { exposure, selector, rules: rules.into() })
                .collect();
        }
        Vec::new()
    }
}

/// Whether a namespace has rules at all; that it has one more ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AnyRuleIn(Namespace);

impl Question for AnyRuleIn {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any rule in a namespace";

    fn answer(&self, read: &Read<'_>) -> bool {
        !none_filed(read, IndexKey::RulesIn(self.0.clone()))
    }
}

/// The settings that decide which rules are in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RuleSettings;

#[derive(Debug, PartialEq, Eq)]
struct RuleSettingsAnswer {
    root: Namespace,
    export_to: Vec<ExportTo>,
}

impl Question for RuleSettings {
    type World = Mesh;
    type Answer = RuleSettingsAnswer;
    const NAME: &'static str = "settings of rules";

    fn answer(&self, read: &Read<'_>) -> RuleSettingsAnswer {
        let mesh = settings(read);
        RuleSettingsAnswer {
            root: mesh.root_namespace.as_str().into(),
            export_to: mesh.default_destination_rule_export_to.clone(),
        }
    }
}

/// What rules say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedRule {
    /// The rules, oldest first.
    pub origin: RuleRef,
    /// The first that is written.
    pub traffic_policy: Option<Arc<TrafficPolicy>>,
    /// All of them, the first of a name.
    pub subsets: Vec<Subset>,
}

impl MergedRule {
    /// All policies: that of the host, and those of its subsets.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<TrafficPolicy>> {
        policies(self.traffic_policy.as_ref(), &self.subsets)
    }

    /// The subset of that name.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }

    /// The policy for a port, whole or of a subset; none if there is no such subset.
    ///
    /// A port's own settings replace the rest as a whole; a subset's settings override what is above them one by one, and its own
    /// settings for the port replace all that can be said of a port (Istio: pilot/pkg/networking/util/util.go). A tunnel is the rule's,
    /// or the subset's own (core/tunnelingconfig).
    pub fn policy(&self, port: Port, subset: Option<&str>) -> Option<Policy> {
        let mut policy = Policy::default();
        if let Some(written) = &self.traffic_policy {
            match port_level(written, port) {
                Some(level) => policy.replace(level),
                None => policy.overlay(written),
            }
        }
        // It is the listener's to open, which reads the rule's own word whatever is said of its port.
        let tunnel = |policy: &Arc<TrafficPolicy>| policy.tunnel.clone();
        policy.tunnel = self.traffic_policy.as_ref().and_then(tunnel);
        if let Some(name) = subset {
            let written = &self.subset(name)?.traffic_policy;
            if let Some(written) = written {
                match port_level(written, port) {
                    Some(level) => policy.replace(level),
                    None => policy.overlay(written),
                }
            }
            policy.tunnel = written.as_ref().and_then(tunnel);
        }
        Some(policy)
    }
}

fn port_level(policy: &TrafficPolicy, port: Port) -> Option<&PortPolicy> {
    policy.port_level_settings.iter().find(|level| level.port == Some(port))
}

/// How connections to one port of a service, or of a subset of it, behave; what is none is the mesh's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
    /// Which endpoints are set aside.
    pub outlier_detection: Option<OutlierDetection>,
    /// How the client speaks TLS.
    pub tls: Option<ClientTls>,
    /// Connections go through a tunnel.
    pub tunnel: Option<Tunnel>,
    /// Connections begin with a header that says who calls.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Retries in proportion to requests.
    pub retry_budget: Option<RetryBudget>,
}

impl Policy {
    fn replace(&mut self, level: &PortPolicy) {
        self.load_balancer.clone_from(&level.load_balancer);
        self.connection_pool.clone_from(&level.connection_pool);
        self.outlier_detection.clone_from(&level.outlier_detection);
        self.tls.clone_from(&level.tls);
    }

    /// What the mesh says where no rule does.
    pub fn or_default(&mut self, mesh: &DefaultTrafficPolicy) {
        if self.connection_pool.is_none() {
            self.connection_pool.clone_from(&mesh.connection_pool);
        }
        if self.outlier_detection.is_none() {
            self.outlier_detection.clone_from(&mesh.outlier_detection);
        }
    }

    fn overlay(&mut self, written: &TrafficPolicy) {
        fn take<T: Clone>(to: &mut Option<T>, from: Option<&T>) {
            if let Some(from) = from {
                *to = Some(from.clone());
            }
        }
        take(&mut self.load_balancer, written.load_balancer.as_ref());
        take(&mut self.connection_pool, written.connection_pool.as_ref());
        take(&mut self.outlier_detection, written.outlier_detection.as_ref());
        take(&mut self.tls, written.tls.as_ref());
        take(&mut self.proxy_protocol, written.proxy_protocol.as_ref());
        take(&mut self.retry_budget, written.retry_budget.as_ref());
    }
}

/// What the rules of a [`RuleRef`] say together (Istio: pilot/pkg/model/destination_rule.go).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule(pub RuleRef);

impl Question for Rule {
    type World = Mesh;
    type Answer = Arc<MergedRule>;
    const NAME: &'static str = "rule";

    fn answer(&self, read: &Read<'_>) -> Arc<MergedRule> {
        let mut merged =
            MergedRule { origin: Arc::clone(&self.0), traffic_policy: None, subsets: Vec::new() };
        for key in self.0.iter() {
            let Some((_, rule)) = read::destination_rule(read, key) else { continue };
            if merged.traffic_policy.is_none() {
                merged.traffic_policy.clone_from(&rule.traffic_policy);
            }
            for subset in &rule.subsets {
                if merged.subset(&subset.name).is_none() {
                    merged.subsets.push(subset.clone());
                }
            }
        }
        Arc::new(merged)
    }
}

/// The policy for one port of a service, whole or of a subset; none if there is no such subset. A change of a rule that is about
/// another port or subset ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyOf {
    /// The rules in force.
    pub rule: RuleRef,
    /// The service's port.
    pub port: Port,
    /// The subset.
    pub subset: Option<Arc<str>>,
}

impl Question for PolicyOf {
    type World = Mesh;
    type Answer = Option<Arc<Policy>>;
    const NAME: &'static str = "policy";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        read.ask(Rule(Arc::clone(&self.rule))).policy(self.port, self.subset.as_deref()).map(Arc::new)
    }
}

#[cfg(test)]
mod tests;
