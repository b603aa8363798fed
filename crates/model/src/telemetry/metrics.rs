//! What is counted of a side, and by which labels.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::telemetry::{IstioMetric, ProviderRef, TagOperation, TagOverride};
use meltemi_api::value::{Cel, is_metric_label};
use meltemi_api::{MeshConfig, Telemetry};

use super::Side;

/// What is counted of a side.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metrics {
    /// Nothing at all.
    pub disabled: bool,
    /// The metrics that are not counted.
    pub dropped: BTreeSet<IstioMetric>,
    /// Labels that are otherwise than usual, by metric.
    pub tags: BTreeMap<IstioMetric, Tags>,
}

/// Labels by name: the operator that holds the value, or none for one that is not there.
pub type Tags = BTreeMap<String, Option<String>>;

/// Only the provider that proxies count for matters: `prometheus`, by whatever name.
pub(super) fn merge(objects: &[&Telemetry], mesh: &MeshConfig, side: Side) -> Metrics {
    let rules: Vec<_> = objects.iter().flat_map(|object| &object.metrics).collect();
    let counts = |names: &[ProviderRef]| {
        names
            .iter()
            .any(|name| mesh.provider(&name.name).is_some_and(|provider| provider.prometheus.is_some()))
    };
    // The last that names providers says who counts; rules for others are passed over.
    let named = rules.iter().rfind(|rule| !rule.providers.is_empty());
    let is_counted = named.map_or_else(|| mesh.counts_traffic(), |rule| counts(&rule.providers));
    if !is_counted {
        return Metrics { disabled: true, ..Metrics::default() };
    }
    let mut metrics = Metrics::default();
    let mut for_us = mesh.counts_traffic();
    for rule in rules {
        if !rule.providers.is_empty() {
            for_us = counts(&rule.providers);
        }
        if !for_us {
            continue;
        }
        for change in rule.overrides.iter().filter(|change| side.is_of(change.matches.mode)) {
            if change.matches.custom_metric.is_given() {
                continue;
            }
            let named = change.matches.metric.filter(|metric| *metric != IstioMetric::AllMetrics);
            if named.is_none() && change.disabled == Some(true) {
                metrics.disabled = true;
                continue;
            }
            // Whatever else a later rule says, it counts again (Istio's merge does the same).
            metrics.disabled = false;
            let of = named.map_or_else(|| IstioMetric::COUNTED.to_vec(), |metric| vec![metric]);
            for metric in of {
                match change.disabled {
                    Some(true) => {
                        metrics.dropped.insert(metric);
                    }
                    Some(false) => {
                        metrics.dropped.remove(&metric);
                    }
                    None => {}
                }
                let usable = change.tag_overrides.iter().filter_map(|(name, change)| {
                    is_metric_label(name).then_some((name.clone(), value(change)?))
                });
                metrics.tags.entry(metric).or_default().extend(usable);
            }
        }
    }
    metrics.tags.retain(|_, tags| !tags.is_empty());
    metrics
}

/// None for a change that cannot be used, which is a finding.
fn value(change: &TagOverride) -> Option<Option<String>> {
    match change.operation {
        TagOperation::Remove => Some(None),
        TagOperation::Upsert => change.value.as_ref().and_then(Cel::operator).map(Some),
    }
}
