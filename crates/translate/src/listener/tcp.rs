//! The network filter that sends a connection to a cluster.

use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::accesslog::v3::AccessLog;
use meltemi_proto::envoy::config::listener::v3::{Filter, filter::ConfigType};
use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};

/// Sends every connection to `cluster`, whose name is the prefix of its statistics (Istio: pilot/pkg/networking/core/networkfilter.go).
pub(crate) fn to_cluster(cluster: &str, access_log: &[AccessLog]) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        access_log: access_log.to_vec(),
        ..TcpProxy::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&proxy))),
    }
}
