//! A control plane over a folder that the test edits, and clients of it over real gRPC.
//!
//! Waits for what is published or sent, never for time: [`LIMIT`] only ends a test that has failed.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use meltemi_serve::propagation::Propagation;
use meltemi_serve::{Config, Running};
use meltemi_testkit::http::Request;
use meltemi_testkit::xds::{Form, Held, Node, Sidecar, Step};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

/// After so long a test has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// `meltemi serve` in this process, on free ports, over a folder of its own.
#[derive(Debug)]
pub struct ControlPlane {
    folder: Arc<TempDir>,
    running: Running,
}

impl ControlPlane {
    /// Serves these files, by their names in the folder.
    ///
    /// # Errors
    /// When the files cannot be written or nothing can be served.
    pub async fn start(files: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(files, |_| {}).await
    }

    /// As [`ControlPlane::start`], with other settings.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(files: &[(&str, &str)], set: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-feature-").tempdir()?;
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text)?;
        }
        Self::serve(Arc::new(folder), set).await
    }

    /// Another replica over the same folder.
    ///
    /// # Errors
    /// When nothing can be served.
    pub async fn beside(&self, set: impl FnOnce(&mut Config)) -> Result<Self> {
        Self::serve(Arc::clone(&self.folder), set).await
    }

    async fn serve(folder: Arc<TempDir>, set: impl FnOnce(&mut Config)) -> Result<Self> {
        let free = "127.0.0.1:0".parse()?;
        let mut config = Config {
            folders: vec![folder.path().to_path_buf()],
            xds: free,
            http: free,
            monitoring: free,
            ..Config::default()
        };
        set(&mut config);
        let mut running = meltemi_serve::start(config).await?;
        wait(&mut running.generation, |generation| generation.0 > 0).await?;
        Ok(Self { folder, running })
    }

    /// The folder that is served.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the folder, as an editor that saves in place does.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.file(name), text)?)
    }

    /// Deletes a file of the folder.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.file(name))?)
    }

    /// The state of the mesh that is served now.
    pub fn generation(&self) -> u64 {
        self.running.generation.borrow().0
    }

    /// Writes a file and waits until a later state of the mesh is served; that state.
    ///
    /// # Errors
    /// When the file cannot be written, or nothing is published.
    pub async fn save(&mut self, name: &str, text: &str) -> Result<u64> {
        let before = self.generation();
        self.write(name, text)?;
        self.after(before).await
    }

    /// Waits until a later state than `before` is served; that state.
    ///
    /// # Errors
    /// When none is within [`LIMIT`].
    pub async fn after(&mut self, before: u64) -> Result<u64> {
        Ok(wait(&mut self.running.generation, |generation| generation.0 > before).await?.0)
    }

    /// Waits until a change was read that waits for what it refers to.
    ///
    /// # Errors
    /// When none does within [`LIMIT`].
    pub async fn until_a_change_waits(&mut self) -> Result<()> {
        wait(&mut self.running.waiting, |waiting| *waiting > 0).await.map(drop)
    }

    /// A client of the pod `client` in namespace `default`.
    ///
    /// # Errors
    /// When it is not served.
    pub async fn client(&self, form: Form) -> Result<Sidecar> {
        self.join(Node::sidecar("client", "default"), form).await
    }

    /// A client.
    ///
    /// # Errors
    /// When it is not served.
    pub async fn join(&self, node: Node, form: Form) -> Result<Sidecar> {
        Sidecar::connect(self.running.xds, node, form).await
    }

    /// Where proxies connect.
    pub fn xds(&self) -> std::net::SocketAddr {
        self.running.xds
    }

    /// Where proxies and workloads connect with TLS, if there is an authority.
    pub fn secure_xds(&self) -> Option<std::net::SocketAddr> {
        self.running.secure_xds
    }

    /// Where pages are.
    pub fn monitoring(&self) -> std::net::SocketAddr {
        self.running.monitoring
    }

    /// Who has what in force.
    pub fn propagation(&self) -> &Arc<Propagation> {
        &self.running.propagation
    }

    /// What `/api/v1/in-force` answers to a query.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub async fn in_force(&self, query: &str) -> Result<Value> {
        let answer = Request::get(&format!("/api/v1/in-force?{query}")).send(self.running.monitoring).await?;
        if answer.status != 200 {
            bail!("/api/v1/in-force?{query} answered {}: {}", answer.status, answer.text());
        }
        Ok(answer.json())
    }

    /// The page `/debug/proxies`.
    ///
    /// # Errors
    /// When it is not answered with 200.
    pub async fn proxies(&self) -> Result<Value> {
        let answer = Request::get("/debug/proxies").send(self.running.monitoring).await?;
        if answer.status != 200 {
            bail!("/debug/proxies answered {}: {}", answer.status, answer.text());
        }
        Ok(answer.json())
    }
}

/// Waits until the value is such.
async fn wait<T: Copy + Debug>(value: &mut watch::Receiver<T>, is_such: impl Fn(&T) -> bool) -> Result<T> {
    let found =
        timeout(LIMIT, value.wait_for(|now| is_such(now))).await.map(|found| found.map(|found| *found));
    match found {
        Ok(found) => found.context("the control plane has ended"),
        Err(_) => bail!("nothing came of it within {LIMIT:?}; it is still {:?}", *value.borrow()),
    }
}

/// The next answer.
///
/// # Errors
/// When none comes within [`LIMIT`].
pub async fn step(client: &mut Sidecar) -> Result<Step> {
    let held = |held: &Held| format!("{:?}", TypeUrl::ALL.map(|kind| held.names(kind)));
    match timeout(LIMIT, client.step()).await {
        Ok(step) => step,
        Err(_) => bail!("no answer within {LIMIT:?}; held: {}", held(client.held())),
    }
}

/// Takes answers until the client holds such; what they were.
///
/// # Errors
/// When it does not within [`LIMIT`].
pub async fn until(client: &mut Sidecar, is_such: impl Fn(&Held) -> bool) -> Result<Vec<Step>> {
    client.until(LIMIT, is_such).await
}

/// The virtual host of a domain in a route configuration, whichever way the client got it.
pub fn virtual_host(held: &Held, configuration: &str, domain: &str) -> Option<Value> {
    virtual_hosts(held, configuration)
        .into_iter()
        .find(|host| host["domains"].as_array().is_some_and(|domains| domains.iter().any(|d| d == domain)))
}

/// All virtual hosts of a route configuration, whichever way the client got them; sorted by their domains.
pub fn virtual_hosts(held: &Held, configuration: &str) -> Vec<Value> {
    let prefix = format!("{configuration}/");
    let apart = held.all_json(TypeUrl::VirtualHost).unwrap_or_default();
    let apart = apart.into_iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(_, host)| host);
    let whole = held.json(TypeUrl::Route, configuration).unwrap_or_default();
    let whole = whole["virtual_hosts"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<Value> = apart.chain(whole).collect();
    all.sort_by_key(|host| host["domains"].to_string());
    all
}

/// The subsets, with their weights, that the first route without a match of its own leads to; `-` is the service itself.
pub fn split(host: &Value) -> Vec<(String, u64)> {
    let action = &host["routes"].as_array().and_then(|routes| routes.last()).unwrap_or(&Value::Null)["route"];
    destinations(action)
}

/// The subsets, with their weights, that a route action leads to; `-` is the service itself.
pub fn destinations(action: &Value) -> Vec<(String, u64)> {
    let subset = |cluster: &Value| match cluster.as_str().unwrap_or_default().split('|').nth(2) {
        Some("") => "-".to_owned(),
        Some(subset) => subset.to_owned(),
        None => cluster.to_string(),
    };
    match action["weighted_clusters"]["clusters"].as_array() {
        Some(all) => {
            all.iter().map(|one| (subset(&one["name"]), one["weight"].as_u64().unwrap_or(0))).collect()
        }
        None => vec![(subset(&action["cluster"]), 100)],
    }
}
