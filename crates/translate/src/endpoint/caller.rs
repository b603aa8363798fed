//! Who calls, as far as it orders a service's endpoints.
//!
//! Knows: what of a caller each setting means. Must not know: endpoints; `near` measures.
//! Invariant: callers for whom endpoints are ordered alike have equal keys, wherever they run.

use std::sync::Arc;

use meltemi_api::destination_rule::{FailoverLabel, LocalityLbSetting, LocalityPattern, ZoneAwareLbSetting};
use meltemi_model::endpoints::{NETWORK, place_label};
use meltemi_model::place::{CallerReads, Order};
use meltemi_names::Locality;

use super::near::{Common, Near, Places};

/// A caller, as far as a service asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    locality: Locality,
    node: Option<Arc<str>>,
    labels: Arc<[(Arc<str>, Arc<str>)]>,
}

impl Caller {
    /// What `reads` asks of a caller there, on that node, with these labels; none if nothing is ordered.
    pub(crate) fn read(
        reads: &CallerReads,
        locality: &Locality,
        node: Option<&Arc<str>>,
        labels: &[(Arc<str>, Arc<str>)],
    ) -> Option<Self> {
        reads.any.then(|| Self {
            locality: reads.of(locality),
            node: node.filter(|_| reads.node).cloned(),
            labels: labels.iter().filter(|(key, _)| reads.labels.contains(key)).cloned().collect(),
        })
    }

    /// Which endpoints come first for it. `outliers`: those that fail are set aside; else nobody could take over (Istio:
    /// core/loadbalancer/loadbalancer.go).
    pub(crate) fn near(&self, order: Order<'_>, outliers: bool) -> Option<Near> {
        match order {
            Order::None => None,
            Order::Distribution(preferred) => Near::to(&self.locality, self.node.as_ref(), preferred),
            Order::Locality(setting) if !setting.distribute.is_empty() => self.shares(setting),
            Order::Locality(setting) => outliers.then(|| self.failover(setting)),
            Order::ZoneAware(setting) => setting.is_enabled().then(|| self.in_regions(setting)),
        }
    }

    fn shares(&self, setting: &LocalityLbSetting) -> Option<Near> {
        let own = setting.distribute.iter().find(|distribute| distribute.from.covers(&self.locality))?;
        let shares: Vec<(LocalityPattern, u32)> =
            own.to.iter().map(|(pattern, share)| (pattern.clone(), *share)).collect();
        Some(Near::Shares(shares.into()))
    }

    fn failover(&self, setting: &LocalityLbSetting) -> Near {
        let next = setting.failover.iter().find(|failover| failover.from == self.locality.region);
        let next = next.map(|failover| Arc::clone(&failover.to));
        let places = if setting.failover_priority.is_empty() || !setting.failover.is_empty() {
            Places::Down { here: self.locality.clone(), next }
        } else {
            Places::Alike
        };
        Near::Common { common: self.common(&setting.failover_priority), places }
    }

    fn in_regions(&self, setting: &ZoneAwareLbSetting) -> Near {
        let here = Arc::clone(&self.locality.region);
        let next = setting.failover.iter().find(|failover| failover.from == here);
        let next = next.map(|failover| Arc::clone(&failover.to));
        Near::Common {
            common: self.common(&setting.failover_priority),
            places: Places::Regions { here, next },
        }
    }

    fn common(&self, labels: &[FailoverLabel]) -> Common {
        // The last value that is written for a label counts for all of its mentions, as in Istio.
        let written = |key: &str| {
            let mentions = labels.iter().rev().filter(|label| &*label.key == key);
            mentions.filter_map(|label| label.value.clone()).next()
        };
        let value = |label: &FailoverLabel| written(&label.key).unwrap_or_else(|| self.label(&label.key));
        Common {
            labels: labels.iter().map(|label| (Arc::clone(&label.key), value(label))).collect(),
            network_first: labels
                .first()
                .is_some_and(|label| label.value.is_none() && &*label.key == NETWORK),
        }
    }

    /// Empty where it has no such label: so are endpoints alike that lack it, too.
    fn label(&self, key: &str) -> Arc<str> {
        let of_place = place_label(key, &self.locality, self.node.as_deref());
        let own = || self.labels.iter().find(|(found, _)| &**found == key).map(|(_, value)| &**value);
        of_place.or_else(own).unwrap_or_default().into()
    }
}
