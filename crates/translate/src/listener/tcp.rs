//! The network filter that sends a connection to a cluster.

use meltemi_catalog::ResourceName;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::substitution_format_string::Format;
use meltemi_proto::envoy::config::core::v3::{DataSource, SubstitutionFormatString, data_source::Specifier};
use meltemi_proto::envoy::config::listener::v3::{Filter, filter::ConfigType};
use meltemi_proto::envoy::extensions::filters::common::set_filter_state::v3::{
    FilterStateValue,
    filter_state_value::{Key, Value},
};
use meltemi_proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{
        ClusterSpecifier, TcpAccessLogOptions, TunnelingConfig, WeightedCluster,
        weighted_cluster::ClusterWeight,
    },
};
use meltemi_proto::envoy::r#type::v3::{
    HashPolicy,
    hash_policy::{PolicySpecifier, SourceIp},
};

use super::policy::ConnectionPolicy;
use super::settings::Logs;
use crate::tls::upstream::AS_BYTES;
use crate::wrap::duration;

/// Sends every connection to `cluster`; the cluster's name is the prefix of its statistics (Istio: pilot/pkg/networking/core/networkfilter.go).
pub(crate) fn to_cluster(cluster: &str, logs: &Logs) -> Filter {
    to_backend(cluster, &ConnectionPolicy::default(), logs)
}

/// The same, as `policy` says.
pub(crate) fn to_backend(cluster: &str, policy: &ConnectionPolicy, logs: &Logs) -> Filter {
    to(cluster, ClusterSpecifier::Cluster(cluster.to_owned()), policy, logs)
}

/// Sends connections to these clusters by weight; `name` is the prefix of their statistics. Envoy adds the weights up.
pub(crate) fn by_weight(
    name: &str,
    clusters: &[(&ResourceName, u32)],
    policy: &ConnectionPolicy,
    logs: &Logs,
) -> Filter {
    let weighted = clusters.iter().map(|(cluster, weight)| ClusterWeight {
        name: cluster.to_string(),
        weight: *weight,
        ..ClusterWeight::default()
    });
    let specifier = ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: weighted.collect() });
    to(name, specifier, policy, logs)
}

fn to(name: &str, clusters: ClusterSpecifier, policy: &ConnectionPolicy, logs: &Logs) -> Filter {
    let by_source = HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})) };
    let proxy = TcpProxy {
        stat_prefix: name.to_owned(),
        cluster_specifier: Some(clusters),
        access_log: logs.tcp.clone(),
        access_log_options: logs.connected.then(|| TcpAccessLogOptions {
            flush_access_log_on_connected: true,
            ..TcpAccessLogOptions::default()
        }),
        idle_timeout: policy.idle_timeout.map(duration).or(logs.idle_timeout),
        max_downstream_connection_duration: policy.max_duration.map(duration),
        // The cluster is asked to open it; what it leads to is no business of the cluster's.
        tunneling_config: policy.tunnel.as_ref().map(|tunnel| TunnelingConfig {
            hostname: tunnel.target(),
            use_post: tunnel.by_post(),
            ..TunnelingConfig::default()
        }),
        hash_policy: policy.by_source.then_some(by_source).into_iter().collect(),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&proxy))),
    }
}

/// Says of a connection, in the mesh's TLS to the server, that it is no HTTP: it offers that alone, whatever its cluster offers (ALPN).
pub(crate) fn as_bytes() -> Filter {
    let offer =
        DataSource { specifier: Some(Specifier::InlineString(AS_BYTES.to_owned())), ..DataSource::default() };
    let config = SetFilterState {
        on_new_connection: vec![FilterStateValue {
            key: Some(Key::ObjectKey("envoy.network.application_protocols".to_owned())),
            value: Some(Value::FormatString(SubstitutionFormatString {
                format: Some(Format::TextFormatSource(offer)),
                ..SubstitutionFormatString::default()
            })),
            ..FilterStateValue::default()
        }],
        ..SetFilterState::default()
    };
    Filter {
        name: "envoy.filters.network.set_filter_state".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&config))),
    }
}
