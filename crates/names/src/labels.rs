//! Label sets, and selectors over them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The labels of an object, sorted, shared.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Labels(Arc<BTreeMap<String, String>>);

impl Labels {
    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// No label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect()))
    }
}

/// Labels that must all be there (`matchLabels`).
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Selector(Labels);

impl Selector {
    /// A selector of these labels.
    pub fn new(labels: Labels) -> Self {
        Self(labels)
    }

    /// Whether every pair of this selector is among `labels`. An empty selector selects all; who reads a Kubernetes
    /// Service's empty selector as "none" asks [`Selector::is_empty`] first.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.value(key) == Some(value))
    }

    /// The same of labels that are not all in one place; `value` answers the value of a label.
    pub fn selects_where<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|(key, wanted)| value(key) == Some(wanted))
    }

    /// No condition at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels asked for.
    pub fn labels(&self) -> &Labels {
        &self.0
    }
}
