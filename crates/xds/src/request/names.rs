//! A client's lists, each in one piece of text: a sidecar that comes back tells 7,000 names with their versions.
//!
//! Knows: names, versions. Must not know: the wire, what is subscribed.

use std::collections::HashMap;

use meltemi_catalog::{Parts, Summary};
use meltemi_names::Version;

/// Names in the order in which they were said.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NameList {
    text: String,
    ends: Vec<usize>,
}

impl NameList {
    /// Appends a name.
    pub fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    /// The names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let start = |index: usize| if index == 0 { 0 } else { self.ends[index - 1] };
        self.ends.iter().enumerate().map(move |(index, end)| &self.text[start(index)..*end])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether these are the names that `summary` is of, each once.
    pub(crate) fn are_all_of(&self, summary: &Summary) -> bool {
        let mut mine = Summary::default();
        self.iter().for_each(|name| mine.add_name(name));
        mine.has_names_of(summary)
    }
}

impl std::fmt::Debug for NameList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: AsRef<str>> FromIterator<T> for NameList {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut list = Self::default();
        names.into_iter().for_each(|name| list.push(name.as_ref()));
        list
    }
}

/// What a returning client says it holds: names, and of each the version if it is one of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    names: NameList,
    versions: Vec<Option<Version>>,
}

impl Held {
    /// Appends a name with its version as the client wrote it.
    pub fn push(&mut self, name: &str, version: &str) {
        self.names.push(name);
        self.versions.push(Version::parse(version));
    }

    /// The names.
    pub fn names(&self) -> &NameList {
        &self.names
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, Option<Version>)> {
        self.names.iter().zip(self.versions.iter().copied())
    }

    /// Where this differs from the list that `summary` is of.
    pub(crate) fn differing(&self, summary: &Summary) -> Parts {
        let mut mine = Summary::default();
        for (name, version) in self.iter() {
            if let Some(version) = version {
                mine.add_mark(version.mark(name));
            }
        }
        summary.differing(&mine)
    }

    /// What it holds in these parts. A version that is none of ours is in every part.
    pub(crate) fn within(&self, parts: Parts) -> HashMap<&str, Option<Version>> {
        if parts.is_empty() && self.versions.iter().all(Option::is_some) {
            return HashMap::new();
        }
        self.iter()
            .filter(|(name, version)| version.is_none_or(|version| parts.contain(version.mark(name))))
            .collect()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Held {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut held = Self::default();
        pairs.into_iter().for_each(|(name, version)| held.push(name.as_ref(), version.as_ref()));
        held
    }
}
