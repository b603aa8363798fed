//! A real Prometheus, and a door through which it scrapes sidecars whose pages only their own pods reach.
//!
//! Knows: Prometheus' flags and its API. Must not know: which metrics there are.   Start at [`Prometheus::start`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use meltemi_testkit::envoy::{Admin, tied_command};
use meltemi_testkit::http::Request;
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{LIMIT, free_port, ticks};

/// The program: `PROMETHEUS_BIN`, else `prometheus` of the search path. None: there is none, and what needs it does not run.
pub fn program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PROMETHEUS_BIN").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("prometheus")).find(|program| program.is_file())
}

/// A running Prometheus. Dropping it kills it.
pub struct Prometheus {
    _child: Child,
    _folder: TempDir,
    address: SocketAddr,
    log: NamedTempFile,
}

/// One series of an answer: its labels and its value.
pub type Sample = (BTreeMap<String, String>, f64);

impl Prometheus {
    /// Starts it with that configuration, and waits until it is ready.
    ///
    /// # Errors
    /// When there is no such program, or it is not ready in time; with its log.
    pub async fn start(config: &str) -> Result<Self> {
        let program = program().context("no Prometheus: install it, or set PROMETHEUS_BIN")?;
        let folder = tempfile::Builder::new().prefix("meltemi-prometheus-").tempdir()?;
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, config)?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let log = NamedTempFile::with_prefix("prometheus-log-")?;
        let mut command = tied_command(&program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}")).arg("--log.level=warn");
        command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let started = Self { _child: child, _folder: folder, address, log };
        let ready = async {
            let mut ticks = ticks();
            loop {
                ticks.tick().await;
                let answer = Request::get("/-/ready").send(address).await;
                if answer.is_ok_and(|answer| answer.status == 200) {
                    return;
                }
            }
        };
        if timeout(LIMIT, ready).await.is_err() {
            bail!("Prometheus is not ready: {}", std::fs::read_to_string(started.log.path())?);
        }
        Ok(started)
    }

    /// The answer to a query, now.
    ///
    /// # Errors
    /// When Prometheus refuses the query, or answers no series.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>> {
        self.ask(query, None).await
    }

    /// What a query answered at a time: in seconds since 1970.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn query_at(&self, query: &str, time: f64) -> Result<Vec<Sample>> {
        self.ask(query, Some(time)).await
    }

    async fn ask(&self, query: &str, time: Option<f64>) -> Result<Vec<Sample>> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("query", query);
        if let Some(time) = time {
            body.append_pair("time", &format!("{time:.3}"));
        }
        let body: String = body.finish();
        let request = Request::new("POST", "/api/v1/query")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send(self.address).await?;
        ensure!(answer.status == 200, "{query}: {} {}", answer.status, answer.text());
        let answer = answer.json();
        let series = answer["data"]["result"].as_array().with_context(|| format!("{query}: {answer}"))?;
        let sample = |one: &serde_json::Value| -> Option<Sample> {
            let labels = one["metric"].as_object()?.iter();
            let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            Some((labels.collect(), one["value"][1].as_str()?.parse().ok()?))
        };
        series.iter().map(|one| sample(one).with_context(|| format!("{query}: {one}"))).collect()
    }

    /// The one number that a query answers; none if there is no series.
    ///
    /// # Errors
    /// As [`Prometheus::query`], or when there are several series.
    pub async fn number(&self, query: &str) -> Result<Option<f64>> {
        let samples = self.query(query).await?;
        ensure!(samples.len() <= 1, "{query}: {samples:?}");
        Ok(samples.first().map(|(_, value)| *value))
    }

    /// Waits until a query answers a number that is as it should be.
    ///
    /// # Errors
    /// When it does not in time; with what it answered last.
    pub async fn until(&self, query: &str, is_right: impl Fn(f64) -> bool) -> Result<f64> {
        let mut last = None;
        let wait = async {
            let mut ticks = ticks();
            loop {
                ticks.tick().await;
                last = self.number(query).await?;
                if let Some(value) = last.filter(|value| is_right(*value)) {
                    return Ok(value);
                }
            }
        };
        match timeout(LIMIT, wait).await {
            Ok(value) => value,
            Err(_) => bail!("{query} stays at {last:?}"),
        }
    }
}

/// Where Prometheus finds the sidecars: at `/raw/NAME` as Envoy has it, at `/merged/NAME` with Istio's names and labels.
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Door {
    /// Opens it for these sidecars.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn open(sidecars: BTreeMap<String, Admin>) -> Result<Self> {
        let app = axum::Router::new().route("/{form}/{name}", get(page)).with_state(Arc::new(sidecars));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { address, serving })
    }
}

async fn page(
    State(sidecars): State<Arc<BTreeMap<String, Admin>>>,
    Path((form, name)): Path<(String, String)>,
) -> Result<String, StatusCode> {
    let admin = sidecars.get(&name).ok_or(StatusCode::NOT_FOUND)?;
    let text = admin.text("/stats/prometheus?usedonly").await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(if form == "merged" { meltemi_telemetry::spread(&text) } else { text })
}
