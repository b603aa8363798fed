//! Folders of YAML read once: objects, findings, places.

use std::path::{Path, PathBuf};

use meltemi_api::Finding;
use meltemi_model::Event;
use meltemi_sources::Batch;
use meltemi_sources::file::load;
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
        findings.sort();
        findings.dedup();
        Ok(Self { batch, findings })
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.batch.events.clone()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    pub(crate) fn objects(&self) -> usize {
        self.batch.events.iter().filter(|event| matches!(event, Event::Upsert(_))).count()
    }
}
