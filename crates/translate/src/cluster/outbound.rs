//! The cluster of a service's port, whole or a subset of it.

use std::sync::Arc;

use meltemi_api::service::TrafficDistribution;
use meltemi_catalog::Need;
use meltemi_model::place::Order;
use meltemi_model::read::Read;
use meltemi_model::rule::RuleRef;
use meltemi_model::service::{DistributionOf, ServiceId, ServiceOf, objects_of};
use meltemi_names::{Port, TypeUrl};
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy, OriginalDstLbConfig,
};
use meltemi_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use meltemi_proto::envoy::config::core::v3::{AggregatedConfigSource, ApiVersion, ConfigSource};

use super::{
    ClusterSettingsAnswer, Resolved, balance, failures, is_original_dst, locality, outlier, policy, pool,
    protocol, proxy_protocol, resolved, stat_name, tls, with_defaults,
};
use crate::key::Made;
use crate::resource_names::outbound_cluster;
use crate::wrap::{seconds, u32_value};
use crate::{encode, metadata};

/// As in [`super::ClusterKey::Outbound`].
pub(super) struct Callee<'a> {
    pub(super) service: &'a ServiceId,
    pub(super) port: Port,
    pub(super) subset: Option<&'a Arc<str>>,
    pub(super) rule: Option<&'a RuleRef>,
    pub(super) by_endpoints: bool,
    pub(super) resolved: Option<&'a Resolved>,
    pub(super) has_certificates: bool,
    pub(super) secrets: bool,
}

/// None if the service, its port, or the subset is gone.
pub(super) fn cluster(read: &Read<'_>, settings: &ClusterSettingsAnswer, callee: &Callee<'_>) -> Made {
    let Callee { service, port, subset, rule, by_endpoints, resolved, has_certificates, secrets } = *callee;
    let shape = (*read.ask(ServiceOf(service.clone()))).clone()?;
    let protocol = shape.port(port)?.protocol;
    let policy = with_defaults(policy(read, rule, port, subset)?, &settings.balance.policy);
    let name = outbound_cluster(port, subset.map(|subset| &**subset), &shape.id.host);

    let mut cluster = Cluster {
        name: name.as_str().to_owned(),
        alt_stat_name: stat_name::of(
            &settings.outbound_stat_name,
            name.as_str(),
            &stat_name::Parts { shape: &shape, port, subset: subset.map(|subset| &**subset), target: 0 },
        ),
        ..Cluster::default()
    };
    let mut needs = Vec::new();
    if is_original_dst(shape.resolution, &policy) && !by_endpoints {
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into()));
        cluster.lb_policy = LbPolicy::ClusterProvided.into();
        cluster.lb_config = shape.port_overrides.get(&port).map(|port| {
            LbConfig::OriginalDstLbConfig(OriginalDstLbConfig {
                upstream_port_override: u32_value(port.number().into()),
                ..OriginalDstLbConfig::default()
            })
        });
    } else if let Some(resolved) = resolved {
        resolved::apply(read, settings, shape.resolution, resolved, &mut cluster)?;
        balance::apply(&mut cluster, policy.load_balancer.as_ref());
    } else {
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        cluster.eds_cluster_config =
            Some(EdsClusterConfig { eds_config: Some(over_ads()), service_name: name.as_str().to_owned() });
        balance::apply(&mut cluster, policy.load_balancer.as_ref());
        needs.push(Need { type_url: TypeUrl::Endpoint, name: name.clone() });
    }
    outlier::apply(&mut cluster, policy.outlier_detection.as_ref());
    if cluster.eds_cluster_config.is_some() || cluster.load_assignment.is_some() {
        let preferred = || match settings.any_distribution {
            true => *read.ask(DistributionOf(service.clone())),
            false => TrafficDistribution::Any,
        };
        let order = Order::in_force(policy.load_balancer.as_ref(), preferred, &settings.balance);
        locality::apply(&mut cluster, order, policy.outlier_detection.is_some());
    }
    pool::apply(&mut cluster, policy.connection_pool.as_ref(), policy.retry_budget.as_ref(), settings);
    let spoken = protocol::spoken(protocol, policy.connection_pool.as_ref(), settings.h2_upgrade_policy);
    cluster.typed_extension_protocol_options = protocol::options(
        spoken,
        policy.connection_pool.as_ref(),
        protocol::server_name(&policy, secrets, spoken),
        failures::of(policy.outlier_detection.as_ref()),
    );
    let connections = tls::Connections {
        shape: &shape,
        port,
        subset,
        policy: &policy,
        certificates: has_certificates,
        secrets,
        spoken,
    };
    tls::apply(read, settings, &connections, &mut cluster);
    proxy_protocol::apply(&mut cluster, policy.proxy_protocol);
    let metadata = metadata::istio(
        rule.and_then(|rule| rule.first())
            .map(metadata::config)
            .into_iter()
            .chain(subset.map(|subset| ("subset", metadata::text(&**subset))))
            .chain([metadata::services(service)])
            .chain(shape.external.then(metadata::external)),
    );
    cluster.metadata = metadata::with_service(metadata, metadata::packed_service(service));
    let declared_by = objects_of(read, service);
    let origin = rule.into_iter().flat_map(|rule| rule.iter()).cloned().chain(declared_by).collect();
    Some(encode::whole(TypeUrl::Cluster, name, &cluster, needs, origin))
}

/// Over the stream on which the cluster itself came; Envoy waits for the answer as long as it takes.
fn over_ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(seconds(0)),
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}
