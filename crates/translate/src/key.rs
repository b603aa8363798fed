//! What translation may know of a proxy, in small keys; and the names of all that it makes.

use std::sync::Arc;

use meltemi_catalog::{Resource, ResourceName};
use meltemi_memo::{Memo, NodeId};
use meltemi_model::Mesh;
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
pub use meltemi_model::rule::RuleRef;
use meltemi_names::{Locality, Namespace, ObjectKey, Selector};

use crate::cluster::ClusterKey;
use crate::endpoint::AssignmentKey;
use crate::gateway::GatewayKey;
use crate::gateway::secret::{SecretKey, SecretsKey};
use crate::listener::gateway::GatewayListenersKey;
use crate::listener::{InboundKey, InboundPartKey, ListenerKey, ListenersKey, TelemetryKey};
use crate::names::{NamesKey, PartOfNames};
use crate::patch::{AddedKey, AddedPartKey, PatchedKey, PatchedPartKey, Patches};
use crate::route::gateway::GatewayRoutesKey;
use crate::route::{RouteKey, RoutesKey, VirtualHostKey};

/// A set of resources that proxies share: those of equal keys hold the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerKey {
    /// What a proxy needs to call others.
    Outbound(OutboundKey),
    /// What a proxy needs to be called.
    Inbound(InboundKey),
    /// What a gateway needs.
    Gateway(GatewayKey),
}

/// All that outbound translation may know of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundKey {
    /// Whose services, rules and short names it sees.
    pub namespace: Namespace,
    /// The Sidecar that says what is called; none where none does. It names services and VirtualServices, and is in no key of one of
    /// them, so that callers of other scopes share them.
    pub scope: Option<ObjectKey>,
    /// The domain in which short names of services resolve (`cluster.local`); none if the proxy does not resolve Kubernetes names.
    pub domain: Option<Arc<str>>,
    /// How traffic reaches it.
    pub interception: Interception,
    /// Which addresses are of use to it.
    pub family: IpFamily,
    /// Of the selectors that something outbound asks for (a VirtualService's `sourceLabels`, a DestinationRule's `workloadSelector`),
    /// those that match its labels; sorted. Labels that no rule reads are not here, and make no layer.
    pub selectors: Arc<[Selector]>,
    /// Where it runs, as far as some setting that orders endpoints reads it; none where nothing orders any.
    pub locality: Option<Locality>,
    /// Its labels that some rule's `failoverPriority` reads, sorted by key; those that it lacks are not here.
    pub failover_labels: Arc<[(Arc<str>, Arc<str>)]>,
    /// The Kubernetes node that it runs on; none where no service keeps its traffic on the node, or prefers it.
    pub node: Option<Arc<str>>,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// Its agent answers its workload's DNS: there is a table of names for it, and services may be called at addresses that they were
    /// given.
    pub dns_capture: bool,
    /// It logs even where the mesh's settings do not ask for it.
    pub access_log: bool,
    /// It has what counts traffic. Whether it is to count is the mesh's to say.
    pub metrics: bool,
    /// What it tells of its traffic.
    pub telemetry: TelemetryKey,
    /// Routes go out as virtual hosts.
    pub virtual_hosts: bool,
    /// It has the mesh's certificates: see [`meltemi_model::proxy::Proxy::has_certificates`].
    pub has_certificates: bool,
    /// The patches of what is made for callers, in force for it; none for most.
    pub patches: Patches,
}

/// A group of resources of a layer that change together; its question answers their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartKey {
    /// Clusters that stand for no service.
    Fixed(crate::cluster::FixedKey),
    /// The clusters and load assignments of one service.
    Service(crate::cluster::ServicePartKey),
    /// All outbound listeners.
    Listeners(ListenersKey),
    /// All outbound route configurations and virtual hosts.
    Routes(RoutesKey),
    /// The listener and clusters of inbound traffic.
    Inbound(InboundPartKey),
    /// The listeners of gateways.
    GatewayListeners(GatewayListenersKey),
    /// The route configurations and virtual hosts of gateways.
    GatewayRoutes(GatewayRoutesKey),
    /// The certificates of gateways.
    Secrets(SecretsKey),
    /// The table of names, for agents that answer DNS.
    Names(NamesKey),
    /// Another part, patched.
    Patched(Box<PatchedPartKey>),
    /// What patches add.
    Added(AddedPartKey),
}

/// Names one resource together with all that it depends on beside the mesh. Thousands of these are in each layer: the keys are shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKey {
    /// A cluster (CDS).
    Cluster(Arc<ClusterKey>),
    /// A load assignment (EDS).
    Assignment(Arc<AssignmentKey>),
    /// A listener (LDS).
    Listener(Arc<ListenerKey>),
    /// A route configuration (RDS).
    Route(Arc<RouteKey>),
    /// A virtual host as a resource (VHDS).
    VirtualHost(Arc<VirtualHostKey>),
    /// A secret (SDS).
    Secret(Arc<SecretKey>),
    /// A table of names (NDS).
    NameTable(Arc<NamesKey>),
    /// Another resource, patched.
    Patched(Arc<PatchedKey>),
    /// What a patch adds.
    Added(Arc<AddedKey>),
}

impl From<ClusterKey> for ResourceKey {
    fn from(key: ClusterKey) -> Self {
        Self::Cluster(Arc::new(key))
    }
}

impl From<AssignmentKey> for ResourceKey {
    fn from(key: AssignmentKey) -> Self {
        Self::Assignment(Arc::new(key))
    }
}

impl From<ListenerKey> for ResourceKey {
    fn from(key: ListenerKey) -> Self {
        Self::Listener(Arc::new(key))
    }
}

impl From<RouteKey> for ResourceKey {
    fn from(key: RouteKey) -> Self {
        Self::Route(Arc::new(key))
    }
}

impl From<VirtualHostKey> for ResourceKey {
    fn from(key: VirtualHostKey) -> Self {
        Self::VirtualHost(Arc::new(key))
    }
}

impl From<SecretKey> for ResourceKey {
    fn from(key: SecretKey) -> Self {
        Self::Secret(Arc::new(key))
    }
}

impl From<NamesKey> for ResourceKey {
    fn from(key: NamesKey) -> Self {
        Self::NameTable(Arc::new(key))
    }
}

impl From<PatchedKey> for ResourceKey {
    fn from(key: PatchedKey) -> Self {
        Self::Patched(Arc::new(key))
    }
}

impl From<AddedKey> for ResourceKey {
    fn from(key: AddedKey) -> Self {
        Self::Added(Arc::new(key))
    }
}

/// A made resource; none if, after all, there is none of that key (a DNS cluster without endpoints).
pub type Made = Option<Arc<Resource>>;

/// The members of a part.
pub type Members = Vec<ResourceKey>;

impl PartKey {
    /// Observes the part's members.
    pub fn observe(&self, memo: &Memo<Mesh>, mesh: &Mesh) -> (NodeId, Arc<Members>) {
        match self.clone() {
            Self::Fixed(key) => memo.observe(key, mesh),
            Self::Service(key) => memo.observe(key, mesh),
            Self::Listeners(key) => memo.observe(key, mesh),
            Self::Routes(key) => memo.observe(key, mesh),
            Self::Inbound(key) => memo.observe(key, mesh),
            Self::GatewayListeners(key) => memo.observe(key, mesh),
            Self::GatewayRoutes(key) => memo.observe(key, mesh),
            Self::Secrets(key) => memo.observe(key, mesh),
            Self::Names(key) => memo.observe(PartOfNames(key), mesh),
            Self::Patched(key) => memo.observe(*key, mesh),
            Self::Added(key) => memo.observe(key, mesh),
        }
    }

    /// The part's members, for another answer.
    pub(crate) fn ask(&self, read: &Read<'_>) -> Arc<Members> {
        match self.clone() {
            Self::Fixed(key) => read.ask(key),
            Self::Service(key) => read.ask(key),
            Self::Listeners(key) => read.ask(key),
            Self::Routes(key) => read.ask(key),
            Self::Inbound(key) => read.ask(key),
            Self::GatewayListeners(key) => read.ask(key),
            Self::GatewayRoutes(key) => read.ask(key),
            Self::Secrets(key) => read.ask(key),
            Self::Names(key) => read.ask(PartOfNames(key)),
            Self::Patched(key) => read.ask(*key),
            Self::Added(key) => read.ask(key),
        }
    }

    /// The present members of an observed part.
    pub fn members(&self, memo: &Memo<Mesh>, node: NodeId) -> Option<Arc<Members>> {
        match self {
            Self::Fixed(_) => memo.answer::<crate::cluster::FixedKey>(node),
            Self::Service(_) => memo.answer::<crate::cluster::ServicePartKey>(node),
            Self::Listeners(_) => memo.answer::<ListenersKey>(node),
            Self::Routes(_) => memo.answer::<RoutesKey>(node),
            Self::Inbound(_) => memo.answer::<InboundPartKey>(node),
            Self::GatewayListeners(_) => memo.answer::<GatewayListenersKey>(node),
            Self::GatewayRoutes(_) => memo.answer::<GatewayRoutesKey>(node),
            Self::Secrets(_) => memo.answer::<SecretsKey>(node),
            Self::Names(_) => memo.answer::<PartOfNames>(node),
            Self::Patched(_) => memo.answer::<PatchedPartKey>(node),
            Self::Added(_) => memo.answer::<AddedPartKey>(node),
        }
    }
}

impl PartKey {
    /// The part as it is without patches.
    pub fn unpatched(&self) -> &Self {
        match self {
            Self::Patched(key) => key.part().unpatched(),
            _ => self,
        }
    }
}

impl ResourceKey {
    /// The name of the route configuration that it is, or that it is a virtual host of; none for other resources.
    pub fn route_configuration(&self) -> Option<ResourceName> {
        match self {
            Self::Route(key) => Some(key.config.resource_name()),
            Self::VirtualHost(key) => Some(key.config.resource_name()),
            Self::Patched(key) => key.inner().route_configuration(),
            Self::Added(key) => key.route_configuration(),
            Self::Cluster(_)
            | Self::Assignment(_)
            | Self::Listener(_)
            | Self::Secret(_)
            | Self::NameTable(_) => None,
        }
    }

    /// Observes the resource.
    pub fn observe(&self, memo: &Memo<Mesh>, mesh: &Mesh) -> (NodeId, Made) {
        let (node, made) = match self {
            Self::Cluster(key) => memo.observe_shared(key, mesh),
            Self::Assignment(key) => memo.observe_shared(key, mesh),
            Self::Listener(key) => memo.observe_shared(key, mesh),
            Self::Route(key) => memo.observe_shared(key, mesh),
            Self::VirtualHost(key) => memo.observe_shared(key, mesh),
            Self::Secret(key) => memo.observe_shared(key, mesh),
            Self::NameTable(key) => memo.observe_shared(key, mesh),
            Self::Patched(key) => memo.observe_shared(key, mesh),
            Self::Added(key) => memo.observe_shared(key, mesh),
        };
        (node, (*made).clone())
    }

    /// The resource, for another answer.
    pub(crate) fn ask(&self, read: &Read<'_>) -> Arc<Made> {
        match self {
            Self::Cluster(key) => read.ask_shared(key),
            Self::Assignment(key) => read.ask_shared(key),
            Self::Listener(key) => read.ask_shared(key),
            Self::Route(key) => read.ask_shared(key),
            Self::VirtualHost(key) => read.ask_shared(key),
            Self::Secret(key) => read.ask_shared(key),
            Self::NameTable(key) => read.ask_shared(key),
            Self::Patched(key) => read.ask_shared(key),
            Self::Added(key) => read.ask_shared(key),
        }
    }

    /// The present state of an observed resource.
    pub fn made(&self, memo: &Memo<Mesh>, node: NodeId) -> Made {
        let made = match self {
            Self::Cluster(_) => memo.answer::<ClusterKey>(node),
            Self::Assignment(_) => memo.answer::<AssignmentKey>(node),
            Self::Listener(_) => memo.answer::<ListenerKey>(node),
            Self::Route(_) => memo.answer::<RouteKey>(node),
            Self::VirtualHost(_) => memo.answer::<VirtualHostKey>(node),
            Self::Secret(_) => memo.answer::<SecretKey>(node),
            Self::NameTable(_) => memo.answer::<NamesKey>(node),
            Self::Patched(_) => memo.answer::<PatchedKey>(node),
            Self::Added(_) => memo.answer::<AddedKey>(node),
        };
        made.and_then(|made| (*made).clone())
    }
}
