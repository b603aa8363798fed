//! The cluster of an application's own port (Istio: core/cluster_builder.go).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use meltemi_api::mesh_config::InboundMode;
use meltemi_catalog::Resource;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::rule::RuleFor;
use meltemi_model::service::{ServiceId, ServiceOf};
use meltemi_names::{Port, Protocol, TypeUrl};
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use meltemi_proto::envoy::config::core::v3::{BindConfig, ExtraSourceAddress};
use meltemi_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use meltemi_proto::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::{ClusterSettingsAnswer, fixed, policy, pool, protocol, stat_name, with_defaults};
use crate::address::{socket_address, tcp};
use crate::resource_names::inbound_cluster;
use crate::wrap::seconds;
use crate::{encode, metadata};

/// From where the proxy calls its own application, so that iptables do not redirect it again (Istio: pilot/pkg/networking/util).
const SOURCE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
/// The same for IPv6.
const SOURCE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// How often hosts that are not used any more are forgotten: never, as the only one is the application. As many seconds as Envoy takes
/// in a duration.
const NEVER: i64 = 9_223_372_035;

/// An application's port, and the service that leads to it.
pub(super) struct Application<'a> {
    pub(super) service: &'a ServiceId,
    pub(super) port: Port,
    pub(super) target: Port,
    pub(super) protocol: Protocol,
    pub(super) family: IpFamily,
}

pub(super) fn cluster(
    read: &Read<'_>,
    settings: &ClusterSettingsAnswer,
    application: &Application<'_>,
) -> Arc<Resource> {
    let Application { service, port, target, protocol, family } = *application;
    // Only the connection pool of the service's own rule counts, as its own namespace sees it.
    let rule = read.ask(RuleFor {
        viewer: service.namespace().clone(),
        service: service.clone(),
        selectors: Arc::default(),
    });
    let policy = policy(read, rule.as_ref().as_ref(), port, None).unwrap_or_default();
    let policy = with_defaults(policy, &settings.balance.policy);
    let name = inbound_cluster(target);
    let mut cluster = Cluster {
        name: name.as_str().to_owned(),
        alt_stat_name: counted_as(read, settings, application, name.as_str()),
        ..Cluster::default()
    };
    match settings.inbound {
        InboundMode::Passthrough => {
            cluster.cluster_discovery_type =
                Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into()));
            cluster.lb_policy = LbPolicy::ClusterProvided.into();
            cluster.upstream_bind_config = Some(source(family));
            cluster.cleanup_interval = Some(seconds(NEVER));
        }
        InboundMode::Localhost => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
            cluster.load_assignment = Some(on_loopback(name.as_str(), target, family));
        }
    }
    pool::apply(&mut cluster, policy.connection_pool.as_ref(), policy.retry_budget.as_ref(), settings);
    // Whether to upgrade is for those who call; the application is spoken to as the port says.
    let pool = policy.connection_pool.clone().map(|mut pool| {
        if let Some(http) = &mut pool.http {
            http.h2_upgrade_policy = meltemi_api::destination_rule::H2UpgradePolicy::DoNotUpgrade;
        }
        pool
    });
    let none = meltemi_api::destination_rule::H2UpgradePolicy::DoNotUpgrade;
    let spoken = protocol::spoken(protocol, pool.as_ref(), none);
    cluster.typed_extension_protocol_options = protocol::options(spoken, pool.as_ref(), None, None);
    let first = rule.as_ref().as_ref().and_then(|rule| rule.first());
    cluster.metadata =
        metadata::istio(first.map(metadata::config).into_iter().chain([metadata::services(service)]));
    let rules = rule.as_ref().as_ref().into_iter().flat_map(|rule| rule.iter()).cloned();
    let origin = rules.chain([service.object.clone()]).collect();
    encode::whole(TypeUrl::Cluster, name, &cluster, Vec::new(), origin)
}

/// What statistics call it. The service is read for that alone, and so only where its name is asked for.
fn counted_as(
    read: &Read<'_>,
    settings: &ClusterSettingsAnswer,
    application: &Application<'_>,
    own: &str,
) -> String {
    let Application { service, port, target, .. } = *application;
    let pattern = &settings.inbound_stat_name;
    let shape = (!pattern.is_empty()).then(|| (*read.ask(ServiceOf(service.clone()))).clone()).flatten();
    match shape {
        Some(shape) => {
            let parts = stat_name::Parts { shape: &shape, port, subset: None, target: target.number() };
            stat_name::of(pattern, own, &parts)
        }
        None => fixed::stat_name(own),
    }
}

/// The source address of connections to the application.
pub(super) fn source(family: IpFamily) -> BindConfig {
    let extra = match family {
        IpFamily::Dual => vec![ExtraSourceAddress {
            address: Some(socket_address(SOURCE_V6, 0)),
            ..ExtraSourceAddress::default()
        }],
        IpFamily::V4 | IpFamily::V6 => Vec::new(),
    };
    let main = if family == IpFamily::V6 { SOURCE_V6 } else { SOURCE_V4 };
    BindConfig {
        source_address: Some(socket_address(main, 0)),
        extra_source_addresses: extra,
        ..BindConfig::default()
    }
}

fn on_loopback(name: &str, target: Port, family: IpFamily) -> ClusterLoadAssignment {
    let loopback: IpAddr = match family {
        IpFamily::V4 | IpFamily::Dual => Ipv4Addr::LOCALHOST.into(),
        IpFamily::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let endpoint = Endpoint { address: Some(tcp(loopback, target)), ..Endpoint::default() };
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}
