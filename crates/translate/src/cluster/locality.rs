//! How localities of one priority share requests (Istio: core/loadbalancer/loadbalancer.go, `ApplyToCluster`).

use meltemi_model::place::Order;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig, ZoneAwareLbConfig,
};
use meltemi_proto::envoy::r#type::v3::Percent;

use crate::wrap::u64_value;

/// By their weights, where a setting orders them; else Envoy looks at endpoints alone. `outliers`: those that fail are set aside.
pub(super) fn apply(cluster: &mut Cluster, order: Order<'_>, outliers: bool) {
    let specifier = match order {
        Order::None => return,
        Order::Distribution(_) => weighted(),
        Order::Locality(setting) => {
            let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
            if setting.distribute.is_empty() && !(outliers && fails_over) {
                return;
            }
            weighted()
        }
        Order::ZoneAware(setting) => LocalityConfigSpecifier::ZoneAwareLbConfig(ZoneAwareLbConfig {
            // Switched off, it must say so: what Envoy does without a word is its own to choose.
            routing_enabled: (!setting.is_enabled()).then(Percent::default),
            min_cluster_size: setting.min_cluster_size.and_then(|size| u64_value(size.into())),
            ..ZoneAwareLbConfig::default()
        }),
    };
    cluster.common_lb_config.get_or_insert_default().locality_config_specifier = Some(specifier);
}

fn weighted() -> LocalityConfigSpecifier {
    LocalityConfigSpecifier::LocalityWeightedLbConfig(LocalityWeightedLbConfig {})
}
