//! Limits of connections and requests (Istio: core/cluster_traffic_policy.go).

use meltemi_api::destination_rule::{ConnectionPool, TcpPool};
use meltemi_proto::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use meltemi_proto::envoy::config::cluster::v3::{CircuitBreakers, Cluster, UpstreamConnectionOptions};
use meltemi_proto::envoy::config::core::v3::TcpKeepalive;
use meltemi_proto::google::protobuf::UInt32Value;

use super::ClusterSettingsAnswer;
use crate::wrap::{duration, u32_value};

/// Envoy's own limits (1,024 connections and requests, 3 retries) are lifted: a mesh must not be slower than none. A limit of 0 in
/// the resource is one that is not set.
pub(super) fn circuit_breakers(pool: Option<&ConnectionPool>) -> CircuitBreakers {
    let limit = |written: Option<u32>| u32_value(written.filter(|&limit| limit > 0).unwrap_or(u32::MAX));
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let http = pool.and_then(|pool| pool.http.as_ref());
    let thresholds = Thresholds {
        max_connections: limit(tcp.map(|tcp| tcp.max_connections)),
        max_pending_requests: limit(http.map(|http| http.http1_max_pending_requests)),
        max_requests: limit(http.map(|http| http.http2_max_requests)),
        max_retries: limit(http.map(|http| http.max_retries)),
        ..Thresholds::default()
    };
    CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() }
}

/// Writes all limits but those of the protocol into a cluster.
pub(super) fn apply(cluster: &mut Cluster, pool: Option<&ConnectionPool>, settings: &ClusterSettingsAnswer) {
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let connect_timeout = tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(settings.connect_timeout);
    cluster.connect_timeout = Some(duration(connect_timeout));
    cluster.circuit_breakers = Some(circuit_breakers(pool));
    cluster.upstream_connection_options = tcp.and_then(keepalive);
}

fn keepalive(tcp: &TcpPool) -> Option<UpstreamConnectionOptions> {
    let written = tcp.tcp_keepalive.as_ref()?;
    let seconds = |duration: Option<meltemi_api::value::Duration>| -> Option<UInt32Value> {
        duration.and_then(|duration| u32_value(u32::try_from(duration.0.as_secs()).unwrap_or(u32::MAX)))
    };
    let tcp_keepalive = TcpKeepalive {
        keepalive_probes: Some(written.probes).filter(|&probes| probes > 0).and_then(u32_value),
        keepalive_time: seconds(written.time),
        keepalive_interval: seconds(written.interval),
    };
    Some(UpstreamConnectionOptions {
        tcp_keepalive: Some(tcp_keepalive),
        ..UpstreamConnectionOptions::default()
    })
}
