//! What a resource names: the further resources that Envoy asks for because of it.

use std::collections::BTreeSet;

use meltemi_proto::any;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use meltemi_proto::envoy::config::listener::v3::{Filter, Listener, filter};
use meltemi_proto::envoy::config::route::v3::{
    RouteConfiguration, VirtualHost, route, route_action::ClusterSpecifier,
};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};

/// The name of the assignment that a cluster waits for, if it gets its endpoints by EDS.
pub(super) fn assignment(cluster: &Cluster) -> Option<&str> {
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
    if cluster.cluster_discovery_type.as_ref() != Some(&eds) {
        return None;
    }
    let service = cluster.eds_cluster_config.as_ref().map(|config| config.service_name.as_str());
    Some(service.filter(|name| !name.is_empty()).unwrap_or(&cluster.name))
}

/// The route configurations that a listener waits for.
pub(super) fn route_configurations(listener: &Listener) -> BTreeSet<String> {
    let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
    chains.flat_map(|chain| &chain.filters).filter_map(route_configuration).collect()
}

fn route_configuration(filter: &Filter) -> Option<String> {
    let filter::ConfigType::TypedConfig(config) = filter.config_type.as_ref()? else { return None };
    let manager: HttpConnectionManager = any::unpack(config).ok()?;
    match manager.route_specifier? {
        RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
        _ => None,
    }
}

/// Whether the virtual hosts of this configuration come by VHDS.
pub(super) fn wants_virtual_hosts(configuration: &RouteConfiguration) -> bool {
    configuration.vhds.is_some()
}

/// The clusters that the routes of a virtual host may choose or mirror to.
pub(super) fn clusters(host: &VirtualHost) -> BTreeSet<String> {
    let mut clusters = BTreeSet::new();
    for route in &host.routes {
        let Some(route::Action::Route(action)) = &route.action else { continue };
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => {
                clusters.insert(name.clone());
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                clusters.extend(weighted.clusters.iter().map(|cluster| cluster.name.clone()));
            }
            _ => {}
        }
        clusters.extend(action.request_mirror_policies.iter().map(|mirror| mirror.cluster.clone()));
    }
    clusters.remove("");
    clusters
}
