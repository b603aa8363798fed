//! What orders a service's endpoints by where they run, and what of a caller that reads.
//!
//! Knows: which setting counts, a rule's, the service's or the mesh's; what each reads of who calls. Must not know: where anybody runs,
//! priorities, Envoy.   Start at [`Order::in_force`] (what counts) and [`AnyCallerReads`] (what makes layers).
//! Invariant: what a service reads of its callers is among what anything at all reads of them, so that a caller's key has it.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::destination_rule::{
    FailoverLabel, LoadBalancer, LocalityLbSetting, TrafficPolicy, ZoneAwareLbSetting,
};
use meltemi_api::mesh_config::DefaultTrafficPolicy;
use meltemi_api::service::TrafficDistribution;
use meltemi_memo::Question;
use meltemi_names::{Locality, ObjectKey, Port};

use crate::endpoints::{CLUSTER, HOSTNAME, REGION, SUB_ZONE, ZONE};
use crate::entry::IndexKey;
use crate::index::qualified;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};
use crate::rule::{Policy, Rule, RuleRef};
use crate::service::{AnyDistribution, DistributionOf, ServiceId};
use crate::settings::settings;

/// The mesh's settings that count where neither a rule nor the service says: a change of another setting ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeshBalance;

/// The answer of [`MeshBalance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshBalanceAnswer {
    /// `localityLbSetting`.
    pub locality: Arc<LocalityLbSetting>,
    /// `zoneAwareLbSetting`.
    pub zone_aware: Option<Arc<ZoneAwareLbSetting>>,
    /// `defaultTrafficPolicy`.
    pub policy: Arc<DefaultTrafficPolicy>,
}

impl Question for MeshBalance {
    type World = Mesh;
    type Answer = MeshBalanceAnswer;
    const NAME: &'static str = "balancing of the mesh";

    fn answer(&self, read: &Read<'_>) -> MeshBalanceAnswer {
        let mesh = settings(read);
        MeshBalanceAnswer {
            locality: Arc::clone(&mesh.locality_lb_setting),
            zone_aware: mesh.zone_aware_lb_setting.clone(),
            policy: Arc::new(mesh.default_traffic_policy.clone()),
        }
    }
}

/// What orders the endpoints of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// Nothing: all are alike.
    None,
    /// Envoy's zone-aware routing; perhaps switched off.
    ZoneAware(&'a ZoneAwareLbSetting),
    /// Shares, or who takes over.
    Locality(&'a LocalityLbSetting),
    /// The service's own word.
    Distribution(TrafficDistribution),
}

impl<'a> Order<'a> {
    /// The rule's word counts before the service's, and that before the mesh's; in each, zone-aware routing before the other (Istio:
    /// pilot/pkg/networking/core/loadbalancer).
    pub fn in_force(
        balancer: Option<&'a LoadBalancer>,
        distribution: impl FnOnce() -> TrafficDistribution,
        mesh: &'a MeshBalanceAnswer,
    ) -> Self {
        let enabled = |setting: &'a LocalityLbSetting| {
            if setting.is_enabled() { Self::Locality(setting) } else { Self::None }
        };
        if let Some(balancer) = balancer {
            if let Some(setting) = &balancer.zone_aware_lb_setting {
                return Self::ZoneAware(setting);
            }
            if let Some(setting) = &balancer.locality_lb_setting {
                return enabled(setting);
            }
        }
        match (distribution(), &mesh.zone_aware) {
            (TrafficDistribution::Any, Some(setting)) => Self::ZoneAware(setting),
            (TrafficDistribution::Any, None) => enabled(&mesh.locality),
            (preferred, _) => Self::Distribution(preferred),
        }
    }
}

/// What is read of a caller to order endpoints for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerReads {
    /// Endpoints are ordered at all, perhaps the same for all callers.
    pub any: bool,
    /// So many parts of its locality: 1 is its region, 3 all.
    pub depth: usize,
    /// The Kubernetes node that it runs on.
    pub node: bool,
    /// The values of its labels of these keys.
    pub labels: BTreeSet<Arc<str>>,
}

impl CallerReads {
    /// That part of a locality.
    pub fn of(&self, locality: &Locality) -> Locality {
        let part = |depth: usize, part: &Arc<str>| {
            if self.depth >= depth { Arc::clone(part) } else { Arc::default() }
        };
        Locality {
            region: part(1, &locality.region),
            zone: part(2, &locality.zone),
            sub_zone: part(3, &locality.sub_zone),
        }
    }

    fn add(&mut self, other: &Self) {
        self.any |= other.any;
        self.depth = self.depth.max(other.depth);
        self.node |= other.node;
        self.labels.extend(other.labels.iter().cloned());
    }

    fn deep(depth: usize) -> Self {
        Self { any: true, depth, ..Self::default() }
    }

    fn of_locality(setting: &LocalityLbSetting) -> Self {
        if !setting.is_enabled() {
            return Self::default();
        }
        if !setting.distribute.is_empty() {
            let deepest = setting.distribute.iter().map(|distribute| distribute.from.depth()).max();
            return Self::deep(deepest.unwrap_or_default());
        }
        if setting.failover_priority.is_empty() {
            return Self::deep(3);
        }
        let mut reads = Self::of_labels(&setting.failover_priority);
        if !setting.failover.is_empty() {
            reads.depth = 3;
        }
        reads
    }

    fn of_zone_aware(setting: &ZoneAwareLbSetting) -> Self {
        if !setting.is_enabled() {
            return Self::default();
        }
        let mut reads = Self::of_labels(&setting.failover_priority);
        reads.depth = reads.depth.max(1);
        reads
    }

    fn of_labels(labels: &[FailoverLabel]) -> Self {
        let mut reads = Self::deep(0);
        for label in labels.iter().filter(|label| label.value.is_none()) {
            match &*label.key {
                REGION => reads.depth = reads.depth.max(1),
                ZONE => reads.depth = reads.depth.max(2),
                SUB_ZONE => reads.depth = 3,
                HOSTNAME => reads.node = true,
                // There is one.
                CLUSTER => {}
                _ => _ = reads.labels.insert(Arc::clone(&label.key)),
            }
        }
        reads
    }

    fn of_order(order: Order<'_>) -> Self {
        match order {
            Order::None => Self::default(),
            Order::ZoneAware(setting) => Self::of_zone_aware(setting),
            Order::Locality(setting) => Self::of_locality(setting),
            Order::Distribution(preferred) => Self::of_distribution(preferred),
        }
    }

    /// By the rules' and the mesh's word, as if the service said nothing.
    fn of_policy(policy: &Policy, mesh: &MeshBalanceAnswer) -> Self {
        let order = Order::in_force(policy.load_balancer.as_ref(), || TrafficDistribution::Any, mesh);
        let outliers = policy.outlier_detection.is_some() || mesh.policy.outlier_detection.is_some();
        match order {
            // Nobody takes over from those of whom nothing is known.
            Order::Locality(setting) if setting.distribute.is_empty() && !outliers => Self::default(),
            order => Self::of_order(order),
        }
    }

    fn of_distribution(preferred: TrafficDistribution) -> Self {
        match preferred {
            TrafficDistribution::Any => Self::default(),
            TrafficDistribution::SameZone => Self::deep(2),
            TrafficDistribution::SameNode => Self { node: true, ..Self::deep(3) },
        }
    }
}

/// What the mesh's own settings read of callers of a service without rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct MeshReads;

impl Question for MeshReads {
    type World = Mesh;
    type Answer = CallerReads;
    const NAME: &'static str = "what the mesh reads of callers";

    fn answer(&self, read: &Read<'_>) -> CallerReads {
        let mesh = read.ask(MeshBalance);
        let mut reads = CallerReads::of_policy(&Policy::default(), &mesh);
        // Whoever is asked about endpoints must ask what the default says of them.
        reads.any |= mesh.policy.outlier_detection.is_some();
        reads
    }
}

/// Whether a policy says, or lets the mesh say, which endpoints come first.
pub(crate) fn orders(policy: &TrafficPolicy) -> bool {
    let says = |balancer: &LoadBalancer| {
        balancer.locality_lb_setting.is_some() || balancer.zone_aware_lb_setting.is_some()
    };
    policy.detects_outliers() || policy.balancers().any(says)
}

/// What a DestinationRule reads of callers. Where it may count as one with others of its host more than it does: their parts may meet in
/// ways that neither has alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RuleReads(ObjectKey);

impl Question for RuleReads {
    type World = Mesh;
    type Answer = CallerReads;
    const NAME: &'static str = "what a rule reads of callers";

    fn answer(&self, read: &Read<'_>) -> CallerReads {
        let mut reads = CallerReads::default();
        let Some((_, rule)) = read::destination_rule(read, &self.0) else { return reads };
        let host = qualified(&rule.host, &self.0.namespace);
        if filed(read, IndexKey::RulesForHost(host)).nth(1).is_none() {
            return (*read.ask(AloneReads(self.0.clone()))).clone();
        }
        let mesh = read.ask(MeshBalance);
        for policy in rule.policies() {
            if policy.detects_outliers() {
                reads.add(&CallerReads::of_order(Order::in_force(None, || TrafficDistribution::Any, &mesh)));
            }
            for balancer in policy.balancers() {
                let order = Order::in_force(Some(balancer), || TrafficDistribution::Any, &mesh);
                reads.add(&CallerReads::of_order(order));
            }
        }
        reads
    }
}

/// What a DestinationRule reads of callers that no other counts as one with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AloneReads(ObjectKey);

impl Question for AloneReads {
    type World = Mesh;
    type Answer = CallerReads;
    const NAME: &'static str = "what a rule by itself reads of callers";

    fn answer(&self, read: &Read<'_>) -> CallerReads {
        let mesh = read.ask(MeshBalance);
        let rule = read.ask(Rule(Arc::from([self.0.clone()])));
        let levels = rule.policies().flat_map(|policy| &policy.port_level_settings);
        let ports: BTreeSet<Port> = levels.filter_map(|level| level.port).collect();
        // And any port that has no settings of its own.
        let other =
            (1..=u16::MAX).filter_map(|port| Port::new(port.into())).find(|port| !ports.contains(port));
        let mut reads = CallerReads::default();
        let subsets = rule.subsets.iter().map(|subset| Some(subset.name.as_str()));
        for subset in std::iter::once(None).chain(subsets) {
            for port in ports.iter().chain(&other) {
                let Some(policy) = rule.policy(*port, subset) else { continue };
                reads.add(&CallerReads::of_policy(&policy, &mesh));
            }
        }
        reads
    }
}

/// What anything at all reads of a caller; while nothing does, it makes no difference where a caller runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyCallerReads;

impl Question for AnyCallerReads {
    type World = Mesh;
    type Answer = CallerReads;
    const NAME: &'static str = "what anything reads of callers";

    fn answer(&self, read: &Read<'_>) -> CallerReads {
        let mut reads = CallerReads::of_distribution(*read.ask(AnyDistribution));
        reads.add(&read.ask(MeshReads));
        for rule in filed(read, IndexKey::RulesThatOrder) {
            reads.add(&read.ask(RuleReads(rule.clone())));
        }
        reads
    }
}

/// What the endpoints of one service, by the rules in force for it, are ordered by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceReads {
    /// The service.
    pub service: ServiceId,
    /// The DestinationRules in force for it.
    pub rule: Option<RuleRef>,
}

impl Question for ServiceReads {
    type World = Mesh;
    type Answer = CallerReads;
    const NAME: &'static str = "what a service reads of callers";

    fn answer(&self, read: &Read<'_>) -> CallerReads {
        let mut reads = CallerReads::of_distribution(*read.ask(DistributionOf(self.service.clone())));
        reads.add(&read.ask(MeshReads));
        match self.rule.as_deref() {
            None => {}
            Some([rule]) => reads.add(&read.ask(AloneReads(rule.clone()))),
            Some(rules) => {
                for rule in rules {
                    reads.add(&read.ask(RuleReads(rule.clone())));
                }
            }
        }
        reads
    }
}

#[cfg(test)]
mod tests;
