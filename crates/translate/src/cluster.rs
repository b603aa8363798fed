//! Clusters: where requests can go, and how connections there behave.
//!
//! Knows: Istio's names, defaults and inheritance for clusters. Must not know: who the caller is beyond the keys, endpoints, routes.
//! Start at [`ServicePartKey`] (which clusters a service has) and [`ClusterKey`] (one of them).
//! Invariant: a cluster reads the policy of its own port and subset, so that a change of another one in the same rule ends before it.

mod balance;
mod failures;
mod fixed;
mod inbound;
mod locality;
mod outbound;
mod outlier;
mod pool;
pub(crate) mod protocol;
mod proxy_protocol;
mod resolved;
mod stat_name;
pub(crate) mod tls;

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::destination_rule::{H2UpgradePolicy, SimpleLb, TcpKeepalive};
use meltemi_api::mesh_config::{DefaultTrafficPolicy, InboundMode, TlsDefaults};
use meltemi_api::service::TrafficDistribution;
use meltemi_api::value::Duration;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::endpoints::{Families, FamiliesOf};
use meltemi_model::place::{MeshBalance, MeshBalanceAnswer, Order, ServiceReads};
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::rule::{Policy, PolicyOf, Rule, RuleFor, RuleRef};
use meltemi_model::service::{AnyDistribution, DistributionOf, Resolution, ServiceId, ServiceOf};
use meltemi_model::settings::settings;
use meltemi_names::{Kind, Locality, Namespace, ObjectKey, Port, Protocol, Selector};

use crate::endpoint::{AssignmentKey, Caller};
use crate::key::{Made, Members, ResourceKey};

/// Clusters that stand for no service: `PassthroughCluster` and `BlackHoleCluster`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixedKey;

impl Question for FixedKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: fixed clusters";

    fn answer(&self, _read: &Read<'_>) -> Members {
        vec![ClusterKey::BlackHole.into(), ClusterKey::Passthrough.into()]
    }
}

/// The clusters and load assignments of one service as one kind of caller has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePartKey {
    /// Whose rules apply.
    pub viewer: Namespace,
    /// The service.
    pub service: ServiceId,
    /// The ports that its callers call; none: all.
    pub ports: Option<Arc<[Port]>>,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// As in [`crate::key::OutboundKey`].
    pub locality: Option<Locality>,
    /// As in [`crate::key::OutboundKey`].
    pub failover_labels: Arc<[(Arc<str>, Arc<str>)]>,
    /// As in [`crate::key::OutboundKey`].
    pub node: Option<Arc<str>>,
    /// As in [`crate::key::OutboundKey`].
    pub family: IpFamily,
    /// Connections are redirected to the caller's proxy, so that it knows which address they were for.
    pub redirected: bool,
    /// As in [`crate::key::OutboundKey`].
    pub has_certificates: bool,
    /// The callers may ask for Secrets, and some rule names one.
    pub secrets: bool,
}

impl Question for ServicePartKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: service";

    fn answer(&self, read: &Read<'_>) -> Members {
        let rule = read.ask(RuleFor {
            viewer: self.viewer.clone(),
            service: self.service.clone(),
            selectors: Arc::clone(&self.selectors),
        });
        let node = if *read.ask(NodeLocal(self.service.clone())) { self.node.clone() } else { None };
        // A proxy of both families reaches every endpoint; of a pod with two addresses it takes one.
        let matters = match (*read.ask(FamiliesOf(self.service.clone())), self.family) {
            (Families::One, _) | (Families::Both, IpFamily::Dual) => false,
            (Families::Both | Families::Twins, _) => true,
        };
        let family = matters.then_some(self.family);
        let caller = self.locality.as_ref().and_then(|locality| {
            let reads = ServiceReads { service: self.service.clone(), rule: (*rule).clone() };
            Caller::read(&read.ask(reads), locality, self.node.as_ref(), &self.failover_labels)
        });
        // Names are resolved by the caller's proxy, to addresses that it reaches. Only entries have any.
        let lookup = (self.service.object.kind == Kind::ServiceEntry)
            .then(|| read.ask(ServiceOf(self.service.clone())))
            .filter(|shape| shape.as_ref().as_ref().is_some_and(|shape| shape.resolution.is_dns()))
            .map(|_| self.family);
        let members = ServiceMembers {
            service: self.service.clone(),
            rule: (*rule).clone(),
            caller,
            node,
            family,
            lookup,
            redirected: self.redirected,
            has_certificates: self.has_certificates,
            secrets: self.secrets,
        };
        let mut members = (*read.ask(members)).clone();
        if let Some(ports) = &self.ports {
            members.retain(|member| match member {
                ResourceKey::Cluster(key) => match &**key {
                    ClusterKey::Outbound { port, .. } => ports.contains(port),
                    _ => true,
                },
                ResourceKey::Assignment(assignment) => ports.contains(&assignment.port),
                _ => true,
            });
        }
        members
    }
}

/// The same for everyone who has the same rules: in a large mesh a few answers serve all namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServiceMembers {
    service: ServiceId,
    rule: Option<RuleRef>,
    /// None: nothing orders its endpoints.
    caller: Option<Caller>,
    node: Option<Arc<str>>,
    family: Option<IpFamily>,
    /// Which addresses names are resolved to; none: there are no names.
    lookup: Option<IpFamily>,
    redirected: bool,
    has_certificates: bool,
    secrets: bool,
}

impl Question for ServiceMembers {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "members of a service";

    fn answer(&self, read: &Read<'_>) -> Members {
        let Some(shape) = (*read.ask(ServiceOf(self.service.clone()))).clone() else { return Members::new() };
        let merged = self.rule.as_ref().map(|rule| read.ask(Rule(Arc::clone(rule))));
        let subsets: Vec<(Option<Arc<str>>, Selector)> = std::iter::once((None, Selector::default()))
            .chain(
                merged
                    .iter()
                    .flat_map(|rule| &rule.subsets)
                    .map(|subset| (Some(Arc::from(subset.name.as_str())), subset.labels.clone())),
            )
            .collect();
        // Where nothing orders endpoints the mesh has no default for outliers either, and else it says nothing that is read here.
        let ordered = self
            .caller
            .as_ref()
            .map(|caller| (caller, read.ask(MeshBalance), *read.ask(DistributionOf(self.service.clone()))));
        let mut members = Members::new();
        for port in &shape.ports {
            for (subset, labels) in &subsets {
                let policy = policy(read, self.rule.as_ref(), port.port, subset.as_ref()).unwrap_or_default();
                let policy = match &ordered {
                    Some((_, mesh, _)) => with_defaults(policy, &mesh.policy),
                    None => policy,
                };
                let original_dst = is_original_dst(shape.resolution, &policy);
                let has_endpoints = !original_dst || !self.redirected;
                let outlier = policy.outlier_detection.as_ref();
                let assignment = AssignmentKey {
                    service: self.service.clone(),
                    port: port.port,
                    subset: subset.clone(),
                    labels: labels.clone(),
                    near: ordered.as_ref().and_then(|(caller, mesh, preferred)| {
                        let order = Order::in_force(policy.load_balancer.as_ref(), || *preferred, mesh);
                        caller.near(order, outlier.is_some())
                    }),
                    node: self.node.clone(),
                    family: self.family,
                    healthy_only: outlier.is_some_and(|outlier| outlier.min_health_percent > 0),
                };
                // Names are resolved where the cluster itself says them.
                let resolved = self
                    .lookup
                    .filter(|_| has_endpoints)
                    .map(|family| Arc::new(Resolved { family, assignment: assignment.clone() }));
                let by_itself = has_endpoints && resolved.is_none();
                members.push(ResourceKey::from(ClusterKey::Outbound {
                    service: self.service.clone(),
                    port: port.port,
                    subset: subset.clone(),
                    rule: self.rule.clone(),
                    by_endpoints: original_dst && !self.redirected,
                    resolved,
                    has_certificates: self.has_certificates && tls::is_of_mesh(&policy),
                    secrets: self.secrets && tls::is_of_secret(&policy),
                }));
                if by_itself {
                    members.push(assignment.into());
                }
            }
        }
        members
    }
}

/// How a cluster comes by its endpoints where they are names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolved {
    /// Which addresses the caller reaches.
    pub family: IpFamily,
    /// The endpoints, some of them names; the cluster holds them itself.
    pub assignment: AssignmentKey,
}

/// Whether a service keeps its traffic on the caller's node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeLocal(pub(crate) ServiceId);

impl Question for NodeLocal {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "node-local service";

    fn answer(&self, read: &Read<'_>) -> bool {
        read.ask(ServiceOf(self.0.clone())).as_ref().as_ref().is_some_and(|shape| shape.node_local)
    }
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterKey {
    /// Drops all.
    BlackHole,
    /// Sends to where the client wanted to go.
    Passthrough,
    /// The same for what comes in.
    InboundPassthrough {
        /// Which addresses the workload has: connections to it come from a source address of that family.
        family: IpFamily,
    },
    /// A service's port, whole or a subset of it.
    Outbound {
        /// The service.
        service: ServiceId,
        /// The service's port.
        port: Port,
        /// The subset's name.
        subset: Option<Arc<str>>,
        /// The DestinationRules in force for it.
        rule: Option<RuleRef>,
        /// It would send to the address that the client called, but the caller's proxy does not know it, since nothing is redirected
        /// there (interception NONE): its endpoints are balanced instead. Istio's cluster has nowhere to send to in that mode.
        by_endpoints: bool,
        /// Its endpoints are names that Envoy resolves; none: they are addresses, which come by themselves.
        resolved: Option<Arc<Resolved>>,
        /// The caller has the mesh's certificates, and no rule says that connections are encrypted otherwise, or not.
        has_certificates: bool,
        /// A rule names a Secret, and the caller may ask for it.
        secrets: bool,
    },
    /// The application's own port.
    Inbound {
        /// The service whose rule's connection pool applies.
        service: ServiceId,
        /// The service's port.
        port: Port,
        /// The port that the application listens on.
        target: Port,
        /// What it speaks.
        protocol: Protocol,
        /// As in [`ClusterKey::InboundPassthrough`].
        family: IpFamily,
        /// The Sidecar that says something of it.
        sidecar: Option<ObjectKey>,
        /// Where the application listens, if a Sidecar says so.
        endpoint: Option<ApplicationEndpoint>,
    },
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplicationEndpoint {
    /// At the port that is called, whatever the mesh's settings say.
    Called,
    /// At an address and port.
    Ip(IpAddr, Port),
    /// At a Unix socket.
    Unix(String),
}

impl Question for ClusterKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "cluster";

    fn answer(&self, read: &Read<'_>) -> Made {
        let settings = read.ask(ClusterSettings);
        match self {
            Self::BlackHole => Some(fixed::black_hole(&settings)),
            Self::Passthrough => Some(fixed::passthrough(&settings)),
            Self::InboundPassthrough { family } => Some(fixed::inbound_passthrough(&settings, *family)),
            Self::Outbound {
                service,
                port,
                subset,
                rule,
                by_endpoints,
                resolved,
                has_certificates,
                secrets,
            } => outbound::cluster(
                read,
                &settings,
                &outbound::Callee {
                    service,
                    port: *port,
                    subset: subset.as_ref(),
                    rule: rule.as_ref(),
                    by_endpoints: *by_endpoints,
                    resolved: resolved.as_deref(),
                    has_certificates: *has_certificates,
                    secrets: *secrets,
                },
            ),
            Self::Inbound { service, port, target, protocol, family, sidecar, endpoint } => {
                Some(inbound::cluster(
                    read,
                    &settings,
                    &inbound::Application {
                        service,
                        port: *port,
                        target: *target,
                        protocol: *protocol,
                        family: *family,
                        sidecar: sidecar.as_ref(),
                        endpoint: endpoint.as_ref(),
                    },
                ))
            }
        }
    }
}

/// The mesh's settings that clusters read: a change of another setting ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClusterSettings;

#[derive(Clone, Debug, PartialEq, Eq)]
struct ClusterSettingsAnswer {
    connect_timeout: Duration,
    h2_upgrade_policy: H2UpgradePolicy,
    inbound: InboundMode,
    auto_mtls: bool,
    tcp_keepalive: Option<TcpKeepalive>,
    inbound_stat_name: Arc<str>,
    outbound_stat_name: Arc<str>,
    /// What counts where neither a rule nor the service says.
    balance: Arc<MeshBalanceAnswer>,
    /// Some service prefers endpoints near the caller.
    any_distribution: bool,
    /// The TLS by files.
    tls_defaults: TlsDefaults,
    dns_refresh_rate: Duration,
}

impl Question for ClusterSettings {
    type World = Mesh;
    type Answer = ClusterSettingsAnswer;
    const NAME: &'static str = "settings of clusters";

    fn answer(&self, read: &Read<'_>) -> ClusterSettingsAnswer {
        let mesh = settings(read);
        ClusterSettingsAnswer {
            connect_timeout: mesh.connect_timeout,
            h2_upgrade_policy: mesh.h2_upgrade_policy,
            inbound: mesh.inbound_traffic_policy.mode,
            auto_mtls: mesh.enable_auto_mtls,
            tcp_keepalive: mesh.tcp_keepalive.clone(),
            inbound_stat_name: Arc::clone(&mesh.inbound_cluster_stat_name),
            outbound_stat_name: Arc::clone(&mesh.outbound_cluster_stat_name),
            balance: read.ask(MeshBalance),
            any_distribution: *read.ask(AnyDistribution) != TrafficDistribution::Any,
            tls_defaults: mesh.tls_defaults.clone(),
            dns_refresh_rate: mesh.dns_refresh_rate,
        }
    }
}

/// The policy in force; the default one without a rule, none if the rule has no such subset.
fn policy(
    read: &Read<'_>,
    rule: Option<&RuleRef>,
    port: Port,
    subset: Option<&Arc<str>>,
) -> Option<Arc<Policy>> {
    match rule {
        Some(rule) => {
            let question = PolicyOf { rule: Arc::clone(rule), port, subset: subset.cloned() };
            (*read.ask(question)).clone()
        }
        None if subset.is_some() => None,
        None => Some(Arc::default()),
    }
}

/// The same policy, with what the mesh says where no rule does.
fn with_defaults(mut policy: Arc<Policy>, mesh: &DefaultTrafficPolicy) -> Arc<Policy> {
    if *mesh != DefaultTrafficPolicy::default() {
        Arc::make_mut(&mut policy).or_default(mesh);
    }
    policy
}

/// Whether Envoy sends to the address that the client called: headless services, and `simple: PASSTHROUGH`. Such a cluster has no
/// endpoints to be told.
fn is_original_dst(resolution: Resolution, policy: &Policy) -> bool {
    let simple = policy.load_balancer.as_ref().and_then(|balancer| balancer.simple);
    resolution == Resolution::Passthrough || simple == Some(SimpleLb::Passthrough)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
