//! What a resource names: the further resources that Envoy asks for because of it.
//!
//! Knows: clusters, listeners, route configurations. Must not know: who holds them.

use meltemi_names::TypeUrl;
use meltemi_proto::any;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use meltemi_proto::envoy::config::listener::v3::{Filter, Listener, filter};
use meltemi_proto::envoy::config::route::v3::RouteConfiguration;
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use meltemi_proto::google::protobuf::Any;
use prost::{DecodeError, Message};

/// What one resource makes a client ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Learnt {
    /// The type of [`Learnt::names`]: endpoints of a cluster, routes of a listener.
    pub(crate) names: Vec<String>,
    /// Whether it is a route configuration whose virtual hosts come as resources of their own.
    pub(crate) virtual_hosts: bool,
}

/// Reads a resource (an encoded `Any`) of that type; the types that name nothing are not decoded.
pub(crate) fn learn(kind: TypeUrl, resource: &[u8]) -> Result<Learnt, DecodeError> {
    let body = || Any::decode(resource).map(|any| any.value);
    let mut learnt = Learnt::default();
    match kind {
        TypeUrl::Cluster => learnt.names.extend(assignment(Cluster::decode(body()?)?)),
        TypeUrl::Listener => {
            let listener = Listener::decode(body()?)?;
            let chains = listener.filter_chains.iter().chain(&listener.default_filter_chain);
            learnt.names.extend(chains.flat_map(|chain| &chain.filters).filter_map(route_configuration));
            learnt.names.sort_unstable();
            learnt.names.dedup();
        }
        TypeUrl::Route => learnt.virtual_hosts = RouteConfiguration::decode(body()?)?.vhds.is_some(),
        _ => {}
    }
    Ok(learnt)
}

/// The name of the assignment that a cluster waits for, if it gets its endpoints by EDS.
fn assignment(cluster: Cluster) -> Option<String> {
    let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds.into());
    if cluster.cluster_discovery_type != Some(eds) {
        return None;
    }
    let service = cluster.eds_cluster_config.map(|config| config.service_name);
    Some(service.filter(|name| !name.is_empty()).unwrap_or(cluster.name))
}

fn route_configuration(filter: &Filter) -> Option<String> {
    let filter::ConfigType::TypedConfig(config) = filter.config_type.as_ref()? else { return None };
    // Another filter's configuration is none of a connection manager, and names no routes.
    let manager: HttpConnectionManager = any::unpack(config).ok()?;
    match manager.route_specifier? {
        RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
        _ => None,
    }
}
