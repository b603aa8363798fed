//! Which endpoint is chosen (Istio: core/cluster_traffic_policy.go).

use meltemi_api::destination_rule::{HashAlgorithm, LoadBalancer, SimpleLb, Warmup};
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use meltemi_proto::envoy::config::core::v3::RuntimeDouble;
use meltemi_proto::envoy::r#type::v3::Percent;

use crate::wrap::{duration, u64_value};

/// The size of a hash ring when none is written.
const RING: u64 = 1024;
/// The share at which a warming endpoint starts, in percent, when none is written.
const WARM_FROM: f64 = 10.0;

/// Writes the balancer into a cluster that knows its endpoints.
pub(super) fn apply(cluster: &mut Cluster, balancer: Option<&LoadBalancer>) {
    let (policy, config) = match balancer {
        None => (LbPolicy::LeastRequest, None),
        Some(balancer) => match (&balancer.consistent_hash, balancer.simple.unwrap_or_default()) {
            (Some(hash), _) => match hash.algorithm {
                Some(HashAlgorithm::Maglev(size)) => (
                    LbPolicy::Maglev,
                    size.map(|size| LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: u64_value(size) })),
                ),
                Some(HashAlgorithm::RingHash(size)) => (LbPolicy::RingHash, Some(ring(size.unwrap_or(RING)))),
                None => (LbPolicy::RingHash, Some(ring(RING))),
            },
            (None, SimpleLb::Random) => (LbPolicy::Random, None),
            (None, SimpleLb::RoundRobin) => {
                let config = balancer.warmup().map(|warmup| {
                    LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                        slow_start_config: Some(slow_start(warmup)),
                    })
                });
                (LbPolicy::RoundRobin, config)
            }
            // PASSTHROUGH is a cluster that does not know its endpoints, and does not come here.
            (None, SimpleLb::Unspecified | SimpleLb::LeastRequest | SimpleLb::Passthrough) => {
                let config = balancer.warmup().map(|warmup| {
                    LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                        slow_start_config: Some(slow_start(warmup)),
                        ..LeastRequestLbConfig::default()
                    })
                });
                (LbPolicy::LeastRequest, config)
            }
        },
    };
    cluster.lb_policy = policy.into();
    cluster.lb_config = config;
}

fn ring(size: u64) -> LbConfig {
    LbConfig::RingHashLbConfig(RingHashLbConfig {
        minimum_ring_size: u64_value(size),
        ..RingHashLbConfig::default()
    })
}

fn slow_start(warmup: Warmup) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: warmup.duration.map(duration),
        aggression: warmup.aggression.map(|aggression| RuntimeDouble {
            default_value: aggression.as_f64(),
            ..RuntimeDouble::default()
        }),
        min_weight_percent: Some(Percent {
            value: warmup.minimum_percent.map_or(WARM_FROM, meltemi_api::value::Decimal::as_f64),
        }),
    }
}
