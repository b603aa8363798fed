//! A mesh's objects, read once: from folders, from a cluster, or from a control plane that runs.
//!
//! Knows: where objects come from. Must not know: what is asked about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use meltemi_agent::HostPort;
use meltemi_api::Finding;
use meltemi_model::{Event, Store};
use meltemi_names::ObjectKey;
use meltemi_serve::objects;
use meltemi_sources::file::load;
use meltemi_sources::kube::{Access, Cluster, KubeSource, Metrics, Secrets};
use meltemi_sources::{Batch, PlaceIndex, Status};
use meltemi_views::{Engine, Options};

use crate::process;

/// Where the objects come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SourceArgs {
    /// A folder of YAML; repeat it for more.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["server", "kubeconfig", "context"])]
    pub(crate) config: Vec<PathBuf>,
    /// Instead of a folder: what the control plane with this monitoring address has in force. It answers its own machine alone:
    /// `kubectl port-forward` to 15014 is a way to it.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "kubeconfig", "context", "mesh_config"], value_parser = HostPort::parse)]
    pub(crate) server: Option<HostPort>,
    /// Instead of a folder: what the cluster of this kubeconfig has, read with your own rights.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub(crate) context: Option<String>,
    /// A file with mesh settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
}

/// Objects as they were when they were read.
pub(crate) struct State {
    batch: Batch,
    /// Of which revision the control plane is that has them; empty: none in particular.
    revision: String,
    origin: Origin,
}

/// Whence they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Folders,
    Cluster,
    Server,
}

impl State {
    /// Reads what the arguments name.
    ///
    /// # Errors
    /// When there is nothing to read from.
    pub(crate) fn read(source: &SourceArgs) -> anyhow::Result<Self> {
        if let Some(server) = &source.server {
            return of_server(server);
        }
        if source.kubeconfig.is_some() || source.context.is_some() {
            return of_cluster(source);
        }
        Self::folders(&source.config, source)
    }

    /// Reads folders (or files) apart from the source's own.
    pub(crate) fn folders(folders: &[PathBuf], source: &SourceArgs) -> anyhow::Result<Self> {
        let batch = load(folders, &source.namespace, source.mesh_config.as_deref())?;
        Ok(Self { batch, revision: String::new(), origin: Origin::Folders })
    }

    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self::of(Vec::new())
    }

    /// Of these objects, which stand nowhere.
    pub(crate) fn of(events: Vec<Event>) -> Self {
        let batch = Batch {
            events,
            findings: [].into(),
            places: PlaceIndex::default(),
            written: Vec::new(),
            status: Status::default(),
        };
        Self { batch, revision: String::new(), origin: Origin::Folders }
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.batch.events
    }

    /// Where each object stands.
    pub(crate) fn places(&self) -> &PlaceIndex {
        &self.batch.places
    }

    /// What was found while the objects were read, one by one.
    pub(crate) fn own_findings(&self) -> &[Finding] {
        &self.batch.findings
    }

    /// The keys of all objects, those that cannot be used among them.
    pub(crate) fn keys(&self) -> BTreeSet<&ObjectKey> {
        let keys = self.batch.events.iter().filter_map(|event| match event {
            Event::Upsert(object) => Some(&object.meta.key),
            Event::Reject { key, .. } => Some(key),
            Event::Delete(_) | Event::Defaults(_) => None,
        });
        keys.collect()
    }

    pub(crate) fn objects(&self) -> usize {
        self.batch.events.iter().filter(|event| matches!(event, Event::Upsert(_))).count()
    }

    /// Whether a Secret that is not among them is not there. A control plane hands none on, and a cluster only to who may list them.
    fn knows_secrets(&self) -> bool {
        let mut hidden = self.batch.findings.iter().filter(|finding| finding.code == "api-forbidden");
        match self.origin {
            Origin::Folders => true,
            Origin::Cluster => hidden.all(|finding| !finding.message.contains("secrets")),
            Origin::Server => false,
        }
    }

    /// They come from folders, which hold all that there is to be.
    pub(crate) fn is_folder(&self) -> bool {
        self.origin == Origin::Folders
    }

    /// The mesh that they are.
    pub(crate) fn store(&self) -> Store {
        let mut store = Store::of_revision(&self.revision);
        store.apply(self.batch.events.iter().cloned());
        store
    }

    /// An engine that has them in force.
    pub(crate) fn engine(&self, options: Options) -> Engine {
        let mut engine = Engine::of_revision(options, &self.revision);
        engine.apply(self.batch.events.iter().cloned());
        engine
    }

    /// All that is to be said of the objects, by themselves and beside each other. The engine keeps its findings up.
    pub(crate) fn findings(&self, engine: &Engine) -> Vec<Finding> {
        let mut findings = self.batch.findings.to_vec();
        findings.extend(engine.findings().into_iter().map(|finding| self.batch.places.locate(finding)));
        findings.extend(of_set_aside(engine.store()));
        if !self.knows_secrets() {
            findings.retain(|finding| !OF_SECRETS.contains(&finding.code));
        }
        findings.sort();
        findings.dedup();
        findings
    }
}

/// The findings about Secrets that are not there, or not whole.
const OF_SECRETS: [&str; 2] = ["secret-not-found", "secret-incomplete"];

/// What a running control plane has in force.
fn of_server(server: &HostPort) -> anyhow::Result<State> {
    let runtime = process::one_thread()?;
    let told = runtime.block_on(objects::get(&server.to_string())).with_context(|| {
        format!("cannot read the objects in force from {server}; is `meltemi serve` running with that --monitoring-address?")
    })?;
    Ok(State { batch: told.batch, revision: told.revision, origin: Origin::Server })
}

/// What a cluster has. The first batch of the source is all of it.
fn of_cluster(source: &SourceArgs) -> anyhow::Result<State> {
    let access = Access::Kubeconfig { file: source.kubeconfig.clone(), context: source.context.clone() };
    let runtime = process::one_thread()?;
    let batch = runtime.block_on(async {
        let cluster = Cluster::connect(&access).await?;
        let mut all =
            KubeSource::start(&cluster, SETTINGS.0, SETTINGS.1, &Secrets::Everywhere, &Metrics::default());
        let waiting = all.waiting();
        if let Ok(batch) = tokio::time::timeout(PATIENCE, all.next()).await {
            return batch.context("the cluster's objects cannot be followed");
        }
        let waiting = waiting.borrow();
        let troubles: Vec<&str> = waiting.troubles.iter().map(|found| found.message.as_str()).collect();
        let (kinds, troubles) = (waiting.kinds.join(", "), troubles.join("; "));
        anyhow::bail!("no lists of {kinds} within {} s: {troubles}", PATIENCE.as_secs())
    })?;
    Ok(State { batch, revision: String::new(), origin: Origin::Cluster })
}

/// The ConfigMap with the mesh's settings.
const SETTINGS: (&str, &str) = ("istio-system", "istio");

/// How long an API server may take to list everything.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

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
