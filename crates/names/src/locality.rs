//! Where a workload runs.

use std::sync::Arc;

/// Region, zone and sub-zone; a part that is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Locality {
    /// `topology.kubernetes.io/region`.
    pub region: Arc<str>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Arc<str>,
    /// `topology.istio.io/subzone`.
    pub sub_zone: Arc<str>,
}

impl Locality {
    /// From `region/zone/subzone` or, as in the label `istio-locality`, with dots (when there is no slash).
    pub fn parse(text: &str) -> Self {
        let separator = if text.contains('/') { '/' } else { '.' };
        let mut parts = text.splitn(3, separator).map(Arc::from);
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), sub_zone: part() }
    }

    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.sub_zone.is_empty()
    }
}

impl std::fmt::Display for Locality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}/{}/{}", self.region, self.zone, self.sub_zone);
        f.write_str(text.trim_end_matches('/'))
    }
}
