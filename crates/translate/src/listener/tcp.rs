//! The network filter that sends a connection to a cluster.

use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::listener::v3::{Filter, filter::ConfigType};
use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, TcpAccessLogOptions},
};
use meltemi_proto::envoy::r#type::v3::{
    HashPolicy,
    hash_policy::{PolicySpecifier, SourceIp},
};

use super::policy::ConnectionPolicy;
use super::settings::Logs;
use crate::wrap::duration;

/// Sends every connection to `cluster`; the cluster's name is the prefix of its statistics (Istio: pilot/pkg/networking/core/networkfilter.go).
pub(crate) fn to_cluster(cluster: &str, logs: &Logs) -> Filter {
    to_backend(cluster, &ConnectionPolicy::default(), logs)
}

/// The same, as `policy` says.
pub(crate) fn to_backend(cluster: &str, policy: &ConnectionPolicy, logs: &Logs) -> Filter {
    let by_source = HashPolicy { policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})) };
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        access_log: logs.tcp.clone(),
        access_log_options: logs.connected.then(|| TcpAccessLogOptions {
            flush_access_log_on_connected: true,
            ..TcpAccessLogOptions::default()
        }),
        idle_timeout: policy.idle_timeout.map(duration),
        max_downstream_connection_duration: policy.max_duration.map(duration),
        hash_policy: policy.by_source.then_some(by_source).into_iter().collect(),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&proxy))),
    }
}
