//! What an answer can depend on: objects, index entries, settings.

use std::sync::Arc;

use meltemi_api::service::TrafficDistribution;
use meltemi_names::{Host, Namespace, ObjectKey, ObjectName};

/// One entry of the mesh that can change and be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// The object in force under that key, or its absence.
    Object(ObjectKey),
    /// The set of objects filed under that index key.
    Index(IndexKey),
    /// The settings given at start (`--mesh-config`), beneath the ConfigMap `istio`.
    Defaults,
}

/// What objects are filed under, each one question that translation asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexKey {
    /// Services and ServiceEntries of that host.
    ServicesByHost(Host),
    /// All Services and ServiceEntries.
    Services,
    /// ServiceEntries.
    ServiceEntries,
    /// ServiceEntries whose hosts are given addresses.
    AllocatedEntries,
    /// Services that write to whom they are exported.
    RestrictedServices,
    /// ExternalName services that point to that host.
    AliasesOf(Host),
    /// Services and ServiceEntries whose selector's first pair (by key) is this one.
    ServicesSelecting(Namespace, Arc<str>, Arc<str>),
    /// EndpointSlices of the service of that name.
    SlicesOf(Namespace, ObjectName),
    /// EndpointSlices that name the address, and whose service may be one without a selector.
    SlicesAt(std::net::IpAddr),
    /// WorkloadEntries that carry the label.
    WorkloadsLabelled(Namespace, Arc<str>, Arc<str>),
    /// Pods that carry the label.
    PodsLabelled(Namespace, Arc<str>, Arc<str>),
    /// Pods and WorkloadEntries at the address.
    WorkloadsAt(std::net::IpAddr),
    /// Services whose traffic stays on the caller's node.
    NodeLocalServices,
    /// Services and Namespaces that say themselves that traffic prefers endpoints near the caller, by how near.
    Preferring(TrafficDistribution),
    /// VirtualServices with that host, exact or wildcard, among their hosts.
    VirtualServicesByHost(Host),
    /// All VirtualServices that apply to sidecars.
    MeshVirtualServices,
    /// VirtualServices that are bound to that Gateway.
    VirtualServicesOfGateway(ObjectKey),
    /// VirtualServices that apply to sidecars and have rules for connections, `tcp` or `tls`.
    ConnectionVirtualServices,
    /// VirtualServices that delegate to that one.
    DelegatingTo(ObjectKey),
    /// VirtualServices that send to, or mirror to, that host.
    VirtualServicesByDestination(Host),
    /// VirtualServices that ask for the caller's labels, or delegate to one that may.
    VirtualServicesWithSourceLabels,
    /// Namespaces.
    Namespaces,
    /// Pods.
    Pods,
    /// DestinationRules of that namespace.
    RulesIn(Namespace),
    /// DestinationRules of that namespace for that host, exact or wildcard.
    RulesByHost(Namespace, Host),
    /// DestinationRules of that namespace with a workloadSelector.
    RulesWithSelector(Namespace),
    /// DestinationRules that hash requests, anywhere in them.
    RulesThatHash,
    /// DestinationRules that say which endpoints come first, or under which the mesh's settings say so.
    RulesThatOrder,
    /// DestinationRules that name a Secret.
    RulesWithCredentials,
    /// DestinationRules for that host in any namespace.
    RulesForHost(Host),
    /// PeerAuthentications of that namespace for all of it.
    GeneralPeerAuthentications(Namespace),
    /// PeerAuthentications of that namespace whose selector's first pair (by key) is this one.
    PeerAuthenticationsSelecting(Namespace, Arc<str>, Arc<str>),
    /// All Telemetries for sidecars.
    Telemetries,
    /// Telemetries of that namespace for all of it.
    GeneralTelemetries(Namespace),
    /// Telemetries of that namespace whose selector's first pair (by key) is this one.
    TelemetriesSelecting(Namespace, Arc<str>, Arc<str>),
    /// Gateways.
    Gateways,
    /// Sidecars of that namespace.
    Sidecars(Namespace),
    /// EnvoyFilters of that namespace that patch something.
    EnvoyFiltersIn(Namespace),
    /// ConfigMaps that hold mesh settings.
    Settings,
}
