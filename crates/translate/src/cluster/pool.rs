//! Limits of connections and requests (Istio: core/cluster_traffic_policy.go).

use meltemi_api::destination_rule::{self, ConnectionPool, TcpKeepalive as Written};
use meltemi_api::value::{Decimal, Duration};
use meltemi_proto::envoy::config::cluster::v3::circuit_breakers::{Thresholds, thresholds::RetryBudget};
use meltemi_proto::envoy::config::cluster::v3::{CircuitBreakers, Cluster, UpstreamConnectionOptions};
use meltemi_proto::envoy::config::core::v3::TcpKeepalive;
use meltemi_proto::envoy::r#type::v3::Percent;
use meltemi_proto::google::protobuf::UInt32Value;

use super::ClusterSettingsAnswer;
use crate::wrap::{duration, u32_value};

/// Of requests, may be retries, where a budget does not say.
const BUDGET_PERCENT: f64 = 20.0;
/// So many retries at once are allowed, where a budget does not say.
const BUDGET_CONCURRENCY: u32 = 3;

/// Envoy's own limits (1,024 connections and requests, 3 retries) are lifted: a mesh must not be slower than none. A limit of 0 in
/// the resource is one that is not set.
fn circuit_breakers(
    pool: Option<&ConnectionPool>,
    budget: Option<&destination_rule::RetryBudget>,
) -> CircuitBreakers {
    let limit = |written: Option<u32>| u32_value(written.filter(|&limit| limit > 0).unwrap_or(u32::MAX));
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let http = pool.and_then(|pool| pool.http.as_ref());
    let thresholds = Thresholds {
        max_connections: limit(tcp.map(|tcp| tcp.max_connections)),
        max_pending_requests: limit(http.map(|http| http.http1_max_pending_requests)),
        max_requests: limit(http.map(|http| http.http2_max_requests)),
        max_retries: limit(http.map(|http| http.max_retries)),
        retry_budget: budget.map(retry_budget),
        ..Thresholds::default()
    };
    CircuitBreakers { thresholds: vec![thresholds], ..CircuitBreakers::default() }
}

/// It counts instead of the limit of retries.
fn retry_budget(written: &destination_rule::RetryBudget) -> RetryBudget {
    let concurrency = Some(written.min_retry_concurrency).filter(|&retries| retries > 0);
    RetryBudget {
        budget_percent: Some(Percent { value: written.percent.map_or(BUDGET_PERCENT, Decimal::as_f64) }),
        budget_interval: written.budget_interval.map(duration),
        min_retry_concurrency: u32_value(concurrency.unwrap_or(BUDGET_CONCURRENCY)),
    }
}

/// Writes all limits but those of the protocol into a cluster.
pub(super) fn apply(
    cluster: &mut Cluster,
    pool: Option<&ConnectionPool>,
    budget: Option<&destination_rule::RetryBudget>,
    settings: &ClusterSettingsAnswer,
) {
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let connect_timeout = tcp.and_then(|tcp| tcp.connect_timeout).unwrap_or(settings.connect_timeout);
    cluster.connect_timeout = Some(duration(connect_timeout));
    cluster.circuit_breakers = Some(circuit_breakers(pool, budget));
    let own = tcp.and_then(|tcp| tcp.tcp_keepalive.as_ref());
    cluster.upstream_connection_options = keepalive(own, settings.tcp_keepalive.as_ref());
}

/// What the rule leaves out the mesh says (Istio: core/cluster.go, `applyTCPKeepalive`); without either there are no probes.
fn keepalive(own: Option<&Written>, mesh: Option<&Written>) -> Option<UpstreamConnectionOptions> {
    if own.is_none() && mesh.is_none() {
        return None;
    }
    let first =
        |value: fn(&Written) -> Option<Duration>| own.and_then(value).or_else(|| mesh.and_then(value));
    let probes = [own, mesh].into_iter().flatten().map(|written| written.probes).find(|&probes| probes > 0);
    let seconds = |duration: Option<Duration>| -> Option<UInt32Value> {
        duration.and_then(|duration| u32_value(u32::try_from(duration.0.as_secs()).unwrap_or(u32::MAX)))
    };
    let tcp_keepalive = TcpKeepalive {
        keepalive_probes: probes.and_then(u32_value),
        keepalive_time: seconds(first(|written| written.time)),
        keepalive_interval: seconds(first(|written| written.interval)),
    };
    Some(UpstreamConnectionOptions {
        tcp_keepalive: Some(tcp_keepalive),
        ..UpstreamConnectionOptions::default()
    })
}
