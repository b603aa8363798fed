//! Folders of YAML read once: objects, findings, places.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meltemi_api::Finding;
use meltemi_model::{Event, Store};
use meltemi_sources::file::load;
use meltemi_sources::{Batch, PlaceIndex};
use meltemi_views::{Engine, Options};

/// Folders as they were when they were read.
pub(crate) struct Folder {
    batch: Batch,
    findings: Vec<Finding>,
}

impl Folder {
    /// Reads folders, and finds what does not fit together in them.
    pub(crate) fn read(
        folders: &[PathBuf],
        namespace: &str,
        mesh_config: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let batch = load(folders, namespace, mesh_config)?;
        let mut engine = Engine::new(Options::default());
        engine.apply(batch.events.iter().cloned());
        let mut findings = batch.findings.to_vec();
        findings.extend(engine.findings().into_iter().map(|finding| batch.places.locate(finding)));
        findings.extend(of_set_aside(engine.store()));
        findings.sort();
        findings.dedup();
        Ok(Self { batch, findings })
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.batch.events.clone()
    }

    /// Where each object stands.
    pub(crate) fn places(&self) -> &PlaceIndex {
        &self.batch.places
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    pub(crate) fn objects(&self) -> usize {
        self.batch.events.iter().filter(|event| matches!(event, Event::Upsert(_))).count()
    }
}

/// The one finding about all that is there and does not count.
fn of_set_aside(store: &Store) -> Option<Finding> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for key in store.set_aside() {
        *counts.entry(key.namespace.as_str()).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let list: Vec<String> = counts.iter().map(|(namespace, count)| format!("{namespace} {count}")).collect();
    (total > 0).then(|| {
        let what = if total == 1 { "1 object does not" } else { &format!("{total} objects do not") };
        let message = format!("{what} count, by discoverySelectors or istio.io/rev: {}", list.join(", "));
        Finding::info("set-aside", message).in_force("they are passed over")
    })
}
