//! Which endpoints are set aside (Istio: core/cluster_traffic_policy.go).

use meltemi_api::destination_rule;
use meltemi_proto::envoy::config::cluster::v3::cluster::CommonLbConfig;
use meltemi_proto::envoy::config::cluster::v3::{Cluster, OutlierDetection};
use meltemi_proto::envoy::r#type::v3::Percent;
use meltemi_proto::google::protobuf::UInt32Value;

use crate::wrap::{duration, u32_value};

/// Writes the detection of outliers into a cluster. Panic mode, in which unhealthy endpoints are used when too few are healthy, is off
/// unless asked for: unhealthy endpoints are sent, and Envoy's default of 50 % is too much for services of few pods.
pub(super) fn apply(cluster: &mut Cluster, written: Option<&destination_rule::OutlierDetection>) {
    let panic_below = written.map_or(0, |written| written.min_health_percent);
    cluster.common_lb_config = Some(CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: f64::from(panic_below) }),
        ..CommonLbConfig::default()
    });
    cluster.outlier_detection = written.map(detection);
}

fn detection(written: &destination_rule::OutlierDetection) -> OutlierDetection {
    // A count of 0 switches its rule off; a rule that is given is always enforced.
    let enforced = |count: Option<u32>| -> Option<UInt32Value> {
        count.and_then(|count| u32_value(if count > 0 { 100 } else { 0 }))
    };
    let local = written.consecutive_local_origin_failures.filter(|&count| count > 0);
    let local = local.filter(|_| written.split_external_local_origin_errors);
    OutlierDetection {
        enforcing_success_rate: u32_value(0),
        consecutive_5xx: written.consecutive_5xx_errors.and_then(u32_value),
        enforcing_consecutive_5xx: enforced(written.consecutive_5xx_errors),
        consecutive_gateway_failure: written.consecutive_gateway_errors.and_then(u32_value),
        enforcing_consecutive_gateway_failure: enforced(written.consecutive_gateway_errors),
        interval: written.interval.map(duration),
        base_ejection_time: written.base_ejection_time.map(duration),
        max_ejection_percent: Some(written.max_ejection_percent)
            .filter(|&percent| percent > 0)
            .and_then(u32_value),
        split_external_local_origin_errors: written.split_external_local_origin_errors,
        consecutive_local_origin_failure: local.and_then(u32_value),
        enforcing_consecutive_local_origin_failure: enforced(local),
        enforcing_local_origin_success_rate: if written.split_external_local_origin_errors {
            u32_value(0)
        } else {
            None
        },
        ..OutlierDetection::default()
    }
}
