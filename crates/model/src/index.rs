//! Under which index keys an object is filed: the one list from which all indexes are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::endpoint_slice::{MANAGED_BY_LABEL, OF_SELECTORS};
use meltemi_api::pod::Phase;
use meltemi_api::service::TrafficDistribution;
use meltemi_api::value::GatewayName;
use meltemi_api::virtual_service::{Destination, HttpRoute};
use meltemi_api::{Meta, Object, Spec, VirtualService};
use meltemi_names::{Host, Kind, Labels, Namespace, ObjectKey};

use crate::discovery::is_settings;
use crate::entry::IndexKey;
use crate::place::orders;
use crate::service::{CLUSTER_DOMAIN, written_exposure};
use crate::virtual_service::delegate::delegate_key;

/// The index keys of an object; a function of the object alone.
pub fn keys_of(object: &Object) -> BTreeSet<IndexKey> {
    let Object { meta, spec, .. } = object;
    let namespace = &meta.key.namespace;
    let mut keys = BTreeSet::new();
    match spec {
        Spec::Service(service) => {
            let host = Host::of_service(meta.key.name.as_str(), namespace.as_str(), CLUSTER_DOMAIN);
            if let Some(target) = &service.external_name {
                keys.insert(IndexKey::AliasesOf(target.clone()));
                return keys;
            }
            keys.insert(IndexKey::Services);
            keys.insert(IndexKey::ServicesByHost(host));
            if !written_exposure(meta).is_empty() {
                keys.insert(IndexKey::RestrictedServices);
            }
            if let Some((key, value)) = service.selector.labels().iter().next() {
                keys.insert(IndexKey::ServicesSelecting(namespace.clone(), key.into(), value.into()));
            }
            if service.internal_traffic_local {
                keys.insert(IndexKey::NodeLocalServices);
            }
            keys.extend(preferring(service.traffic_distribution(meta)));
        }
        Spec::EndpointSlice(slice) => {
            if let Some(service) = &slice.service {
                keys.insert(IndexKey::SlicesOf(namespace.clone(), service.clone()));
                // Those that Kubernetes makes of a selector are found by it; to file each of their addresses would cost as much as all
                // else that is kept of them.
                if meta.labels.value(MANAGED_BY_LABEL) != Some(OF_SELECTORS) {
                    let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                    keys.extend(addresses.copied().map(IndexKey::SlicesAt));
                }
            }
        }
        Spec::Pod(pod) => {
            keys.insert(IndexKey::Pods);
            // What is over serves nobody, and its address may be another pod's by now.
            if matches!(pod.phase, Phase::Succeeded | Phase::Failed) {
                return keys;
            }
            keys.extend(labelled(&meta.labels, |key, value| {
                IndexKey::PodsLabelled(namespace.clone(), key, value)
            }));
            keys.extend(pod.ips.iter().copied().map(IndexKey::WorkloadsAt));
        }
        Spec::WorkloadEntry(entry) => {
            keys.extend(labelled(&workload_labels(meta, &entry.labels), |key, value| {
                IndexKey::WorkloadsLabelled(namespace.clone(), key, value)
            }));
            if let Some(meltemi_api::value::Address::Ip(ip)) = &entry.address {
                keys.insert(IndexKey::WorkloadsAt(*ip));
            }
        }
        Spec::ServiceEntry(entry) => {
            keys.insert(IndexKey::Services);
            keys.insert(IndexKey::ServiceEntries);
            keys.extend(entry.hosts.iter().cloned().map(IndexKey::ServicesByHost));
            if !entry.export_to.is_empty() {
                keys.insert(IndexKey::RestrictedServices);
            }
            let selector = entry.workload_selector.as_ref();
            if let Some((key, value)) = selector.and_then(|found| found.labels.labels().iter().next()) {
                keys.insert(IndexKey::ServicesSelecting(namespace.clone(), key.into(), value.into()));
            }
            if entry.is_allocated(meta) && entry.hosts.iter().any(|host| entry.can_have_address(host)) {
                keys.insert(IndexKey::AllocatedEntries);
            }
            keys.extend(preferring(TrafficDistribution::annotated(meta)));
        }
        Spec::VirtualService(service) => {
            let gateways = service.gateways.iter().filter_map(|gateway| gateway_key(gateway, namespace));
            keys.extend(gateways.map(IndexKey::VirtualServicesOfGateway));
            let resolve = |host: &Host| qualified(host, namespace);
            keys.extend(
                destinations(service)
                    .map(|destination| resolve(&destination.host))
                    .map(IndexKey::VirtualServicesByDestination),
            );
            // Its rules count where another one delegates to it, and nowhere else.
            if service.is_delegate() {
                return keys;
            }
            let delegates = service.http.iter().filter_map(|rule| rule.delegate.as_ref());
            keys.extend(
                delegates.map(|delegate| delegate_key(delegate, namespace)).map(IndexKey::DelegatingTo),
            );
            if !service.is_in_mesh() {
                return keys;
            }
            keys.insert(IndexKey::MeshVirtualServices);
            keys.extend(service.hosts.iter().map(resolve).map(IndexKey::VirtualServicesByHost));
            if !service.tcp.is_empty() || !service.tls.is_empty() {
                keys.insert(IndexKey::ConnectionVirtualServices);
            }
            if asks_for_labels(service) {
                keys.insert(IndexKey::VirtualServicesWithSourceLabels);
            }
        }
        Spec::DestinationRule(rule) => {
            let host = qualified(&rule.host, namespace);
            keys.insert(IndexKey::RulesIn(namespace.clone()));
            keys.insert(IndexKey::RulesByHost(namespace.clone(), host.clone()));
            keys.insert(IndexKey::RulesForHost(host));
            if rule.workload_selector.is_some() {
                keys.insert(IndexKey::RulesWithSelector(namespace.clone()));
            }
            if rule.policies().any(|policy| policy.hashes()) {
                keys.insert(IndexKey::RulesThatHash);
            }
            if rule.policies().flat_map(|policy| policy.each_tls()).any(|tls| tls.credential().is_some()) {
                keys.insert(IndexKey::RulesWithCredentials);
            }
            if rule.policies().any(|policy| orders(policy)) {
                keys.insert(IndexKey::RulesThatOrder);
            }
        }
        Spec::Gateway(_) => {
            keys.insert(IndexKey::Gateways);
        }
        Spec::EnvoyFilter(filter) => {
            if !filter.config_patches.is_empty() && !filter.target_refs.is_given() {
                keys.insert(IndexKey::EnvoyFiltersIn(namespace.clone()));
            }
        }
        Spec::PeerAuthentication(policy) => {
            let first = policy.labels().and_then(|selector| selector.labels().iter().next());
            keys.insert(match first {
                Some((key, value)) => {
                    IndexKey::PeerAuthenticationsSelecting(namespace.clone(), key.into(), value.into())
                }
                None => IndexKey::GeneralPeerAuthentications(namespace.clone()),
            });
        }
        Spec::Telemetry(telemetry) => {
            // Those of gateways and waypoints are for no sidecar.
            if telemetry.has_target() {
                return keys;
            }
            keys.insert(IndexKey::Telemetries);
            let first = telemetry.labels().and_then(|selector| selector.labels().iter().next());
            keys.insert(match first {
                Some((key, value)) => {
                    IndexKey::TelemetriesSelecting(namespace.clone(), key.into(), value.into())
                }
                None => IndexKey::GeneralTelemetries(namespace.clone()),
            });
        }
        Spec::Sidecar(_) => {
            keys.insert(IndexKey::Sidecars(namespace.clone()));
        }
        Spec::ConfigMap(_) => {
            // Clusters are full of ConfigMaps; only this one holds the mesh's settings.
            if is_settings(&meta.key) {
                keys.insert(IndexKey::Settings);
            }
        }
        Spec::Namespace => {
            keys.insert(IndexKey::Namespaces);
            keys.extend(preferring(TrafficDistribution::annotated(meta)));
        }
        // A Secret is asked for by its name.
        Spec::Node | Spec::Secret(_) | Spec::WorkloadGroup(_) | Spec::ProxyConfig(_) => {}
    }
    keys
}

fn preferring(said: Option<TrafficDistribution>) -> Option<IndexKey> {
    said.filter(|said| *said != TrafficDistribution::Any).map(IndexKey::Preferring)
}

/// A host as written in an object of `namespace`, short names resolved (Istio: pilot/pkg/model/config.go).
pub fn qualified(host: &Host, namespace: &Namespace) -> Host {
    if host.is_short() {
        Host::of_service(host.as_str(), namespace.as_str(), CLUSTER_DOMAIN)
    } else {
        host.clone()
    }
}

/// The Gateway that a name in a VirtualService of `namespace` stands for; none for `mesh`.
pub fn gateway_key(name: &GatewayName, namespace: &Namespace) -> Option<ObjectKey> {
    match name {
        GatewayName::Mesh => None,
        GatewayName::Named { namespace: written, name } => {
            let namespace = written.clone().unwrap_or_else(|| namespace.clone());
            Some(ObjectKey::new(Kind::Gateway, namespace, name.as_str()))
        }
    }
}

/// Every destination that requests and connections are sent to or mirrored to, as written.
pub fn destinations(service: &VirtualService) -> impl Iterator<Item = &Destination> {
    service.http.iter().flat_map(of_requests).chain(of_connections(service))
}

/// Those that requests by a route are sent to or mirrored to.
pub(crate) fn of_requests(route: &HttpRoute) -> impl Iterator<Item = &Destination> {
    let routed = route.route.iter().map(|weighted| &weighted.destination);
    routed.chain(route.mirrors().map(|(destination, _)| destination))
}

/// Those that connections are sent to.
pub(crate) fn of_connections(service: &VirtualService) -> impl Iterator<Item = &Destination> {
    let tcp = service.tcp.iter().flat_map(|rule| &rule.route);
    let tls = service.tls.iter().flat_map(|rule| &rule.route);
    tcp.chain(tls).map(|weighted| &weighted.destination)
}

/// Whether a rule asks for labels of the caller, or stands for rules that may.
fn asks_for_labels(service: &VirtualService) -> bool {
    let of_requests = |route: &HttpRoute| {
        route.delegate.is_some() || route.matches.iter().any(|found| !found.source_labels.is_empty())
    };
    let tcp = service.tcp.iter().flat_map(|rule| &rule.matches);
    let tls = service.tls.iter().flat_map(|rule| &rule.matches).map(|found| &found.connection);
    service.http.iter().any(of_requests) || tcp.chain(tls).any(|found| !found.source_labels.is_empty())
}

/// The labels of a WorkloadEntry: those of the object over those of its spec, both of which Istio's selectors read (Istio:
/// serviceregistry/serviceentry/conversion.go).
pub fn workload_labels(meta: &Meta, spec: &Labels) -> Labels {
    spec.iter().chain(meta.labels.iter()).collect()
}

fn labelled(
    labels: &Labels,
    key_of: impl Fn(Arc<str>, Arc<str>) -> IndexKey,
) -> impl Iterator<Item = IndexKey> {
    labels.iter().map(move |(key, value)| key_of(key.into(), value.into()))
}
