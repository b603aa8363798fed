//! The status server's pages.
//!
//! Start at [`serve`].
//! Invariant: whoever reaches the port may look; only this machine may end or drain something.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use super::merge::merge;
use super::probe::{self, Probe};
use super::ready::{FILTER, ready};
use super::scrape::{MOST_BYTES, Target, limit};
use crate::HostPort;
use crate::client::ask;
use crate::envoy::client::Admin;
use crate::metrics::{Metrics, Part};

/// So many pages of metrics are made at a time: each holds all that Envoy and the workload answered.
const MERGES: usize = 2;

/// What the pages are made of.
pub(crate) struct Pages {
    pub(crate) admin: Admin,
    pub(crate) metrics: Metrics,
    pub(crate) targets: Vec<Target>,
    pub(crate) probes: BTreeMap<String, Probe>,
    pub(crate) app: IpAddr,
    /// How often Envoy was started; 0: not yet.
    pub(crate) starts: watch::Receiver<u64>,
    /// Which of these was seen ready: it stays so, as in Istio. One that is started again must become so again.
    pub(crate) seen_ready: AtomicU64,
    /// The agent drains, or has drained, before its end.
    pub(crate) drained: Arc<AtomicBool>,
    pub(crate) inbound_only: bool,
    pub(crate) stop: mpsc::Sender<()>,
    pub(crate) merges: Semaphore,
}

impl Pages {
    pub(crate) fn merges() -> Semaphore {
        Semaphore::new(MERGES)
    }
}

/// Opens the port on all interfaces: kubelets and scrapers come from outside.
pub(crate) async fn listen(ip: IpAddr, port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((ip, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Serves until this is dropped.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<Pages>) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz/ready", get(is_ready))
        .route("/metrics", get(metrics))
        .route("/stats/prometheus", get(metrics))
        .route("/app-health/{container}/{what}", get(app))
        .route("/app-lifecycle/{container}/{what}", get(app))
        .route("/quitquitquit", post(quit))
        .route("/drain", post(drain))
        .with_state(pages);
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
}

async fn is_ready(State(pages): State<Arc<Pages>>) -> Response {
    match pages.not_ready().await {
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

impl Pages {
    async fn not_ready(&self) -> Option<String> {
        let start = *self.starts.borrow();
        if start == 0 {
            return Some("Envoy is not started: the first certificate is not there yet".to_owned());
        }
        if self.drained.load(Ordering::Relaxed) {
            return Some("the workload drains".to_owned());
        }
        if self.seen_ready.load(Ordering::Relaxed) == start {
            return None;
        }
        let stats = match self.admin.stats(FILTER).await {
            Ok(stats) => stats,
            Err(error) => return Some(format!("Envoy does not answer: {error}")),
        };
        match ready(&stats) {
            // Unless it was started again meanwhile.
            Ok(()) if *self.starts.borrow() == start => {
                if self.seen_ready.swap(start, Ordering::Relaxed) != start {
                    tracing::info!("Envoy is ready");
                }
                None
            }
            Ok(()) => Some("Envoy was started again".to_owned()),
            Err(reason) => Some(reason.to_string()),
        }
    }

    async fn app(&self, target: &Target, limit: Duration) -> Option<String> {
        let address = HostPort { host: "127.0.0.1".to_owned(), port: target.port };
        // In this form its text can be put after the others'.
        let accept = [(header::ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"))];
        let answer =
            ask(Method::GET, &address, &target.path, accept.into_iter().collect(), limit, MOST_BYTES).await;
        let reason = match answer {
            Ok(answer) if answer.status.is_success() => {
                return Some(String::from_utf8_lossy(&answer.body).into_owned());
            }
            Ok(answer) => format!("it answered {}", answer.status),
            Err(error) => error.to_string(),
        };
        self.metrics.not_scraped(Part::App);
        tracing::debug!(
            port = target.port,
            path = target.path,
            "the workload's metrics cannot be had: {reason}"
        );
        None
    }
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let Ok(_permit) = pages.merges.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let header = headers.get("x-prometheus-scrape-timeout-seconds").and_then(|value| value.to_str().ok());
    let limit = limit(header);
    let envoy = async {
        match pages.admin.prometheus(limit).await {
            // Under Istio's names and with its labels, as whoever scrapes expects.
            Ok(answer) => meltemi_telemetry::spread(&String::from_utf8_lossy(&answer.body)),
            Err(error) => {
                pages.metrics.not_scraped(Part::Envoy);
                tracing::debug!("Envoy's metrics cannot be had: {error}");
                String::new()
            }
        }
    };
    let apps = join_all(pages.targets.iter().map(|target| pages.app(target, limit)));
    let (envoy, apps) = futures::join!(envoy, apps);
    // Ours after the others were asked, so that a failure is in it; the workload's last, as in Istio.
    let own = pages.metrics.text();
    let parts = [own.as_str(), envoy.as_str()].into_iter().chain(apps.iter().flatten().map(String::as_str));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], merge(parts)).into_response()
}

/// What injection sends here instead of to the workload.
async fn app(State(pages): State<Arc<Pages>>, uri: Uri) -> Response {
    let Some(probe) = pages.probes.get(uri.path()) else {
        return (StatusCode::NOT_FOUND, "no such probe of the workload\n").into_response();
    };
    match probe::client::ask(probe, pages.app).await {
        Ok(status) => status.into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn quit(State(pages): State<Arc<Pages>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !is_local(peer) {
        return forbidden();
    }
    tracing::info!("told to end by /quitquitquit");
    // Full: it ends already.
    let _full = pages.stop.try_send(());
    (StatusCode::OK, "OK\n").into_response()
}

async fn drain(State(pages): State<Arc<Pages>>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !is_local(peer) {
        return forbidden();
    }
    match pages.admin.drain(pages.inbound_only, true).await {
        Ok(()) => {
            pages.drained.store(true, Ordering::Relaxed);
            tracing::info!("drains, told by /drain; the end will not wait again");
            (StatusCode::OK, "OK\n").into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("Envoy does not drain: {error}\n")).into_response(),
    }
}

fn is_local(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "only from this machine\n").into_response()
}
