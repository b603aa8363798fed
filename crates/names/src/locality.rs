//! Where a workload runs.

use std::sync::Arc;

use crate::Labels;

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

    /// What a workload's own labels say: `topology.istio.io/locality`, else the older `istio-locality`. It counts before what is known of
    /// its node.
    pub fn of_labels(labels: &Labels) -> Option<Self> {
        ["topology.istio.io/locality", "istio-locality"]
            .into_iter()
            .filter_map(|label| labels.value(label))
            .find(|text| !text.is_empty())
            .map(Self::parse)
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

#[cfg(test)]
mod tests {
    use super::Locality;

    #[test]
    fn dots_separate_only_where_no_slash_does() {
        assert_eq!(Locality::parse("eu.eu-1.rack").to_string(), "eu/eu-1/rack");
        assert_eq!(Locality::parse("eu.west/eu-1.a").to_string(), "eu.west/eu-1.a");
        assert_eq!(Locality::parse("eu").to_string(), "eu");
    }

    #[test]
    fn the_newer_label_counts_first_and_an_empty_one_not_at_all() {
        let of = |pairs: &[(&str, &str)]| {
            Locality::of_labels(&pairs.iter().copied().collect()).map(|locality| locality.to_string())
        };
        let (newer, older) = ("topology.istio.io/locality", "istio-locality");
        assert_eq!(of(&[(newer, "eu/eu-1"), (older, "us.us-1")]).as_deref(), Some("eu/eu-1"));
        assert_eq!(of(&[(newer, ""), (older, "us.us-1")]).as_deref(), Some("us/us-1"));
        assert_eq!(of(&[("app", "cart")]), None);
    }
}
