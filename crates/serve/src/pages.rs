//! The pages: readiness, metrics, version, the state of the proxies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use meltemi_catalog::Generation;
use meltemi_sources::kube::Waiting;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::debug::access::Caller;
use crate::debug::{Debug, Refused};
use crate::identity;
use crate::objects;
use crate::propagation::{self, Propagation};
use crate::proxies::{Proxies, proxies};
use crate::streams::Streams;

/// What the pages show.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) ready: watch::Receiver<bool>,
    /// What is waited for before the first snapshot, in a cluster.
    pub(crate) waiting: Option<watch::Receiver<Waiting>>,
    pub(crate) generation: watch::Receiver<Generation>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) registry: Registry,
    pub(crate) propagation: Arc<Propagation>,
    pub(crate) debug: Arc<Debug>,
    /// What this replica's authority goes by, if it has one.
    pub(crate) identity: Option<identity::kube::Shown>,
    /// The file with the settings beneath the mesh's own.
    pub(crate) mesh_config: Option<PathBuf>,
}

/// The pages of the HTTP address.
pub(crate) fn http(shown: Arc<Shown>) -> Router {
    Router::new().route("/ready", get(ready)).with_state(shown)
}

/// The pages of the monitoring address.
pub(crate) fn monitoring(shown: Arc<Shown>) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .route("/debug/proxies", get(debug_proxies))
        .route("/debug/{page}", get(debug))
        // Webhooks of delivery tools are posted; what is in the body does not matter.
        .route(propagation::PATH, get(propagation::in_force).post(propagation::in_force))
        .route(identity::kube::PATH, get(ca))
        .route(objects::PATH, get(objects::page))
        .with_state(shown)
}

/// What signs here, and where a change of it stands: no secrets.
async fn ca(State(shown): State<Arc<Shown>>) -> Response {
    let status = shown.identity.as_ref().and_then(identity::kube::Shown::status);
    match status {
        Some(status) => Json(status).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "no certificate authority is ready here\n").into_response(),
    }
}

async fn ready(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    if *shown.ready.borrow() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, not_ready(shown.waiting.as_ref().map(|waiting| waiting.borrow())))
    }
}

/// What is missing, in words for who looks at the probe.
fn not_ready(waiting: Option<watch::Ref<'_, Waiting>>) -> String {
    let mut text = "the first snapshot is not there yet\n".to_owned();
    if let Some(waiting) = waiting.filter(|waiting| !waiting.kinds.is_empty()) {
        text += &format!("waiting for the first lists of: {}\n", waiting.kinds.join(", "));
        for trouble in &waiting.troubles {
            text += &format!("{}: {}\n", trouble.code, trouble.message);
        }
    }
    text
}

/// Three parts by `-`, as `istioctl version` reads them: version, revision, status.
async fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), "-meltemi-Clean")
}

async fn metrics(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &shown.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("metrics cannot be written: {error}\n"),
        ),
    }
}

async fn debug_proxies(State(shown): State<Arc<Shown>>) -> Json<Proxies> {
    let generation = *shown.generation.borrow();
    Json(proxies(&shown.streams, generation, Instant::now()))
}

/// One of Istiod's pages.
async fn debug(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Path(page): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    // A page of a large mesh takes a while to write, and streams wait for nobody.
    let written = tokio::task::spawn_blocking(move || {
        let caller = Caller::of_address(address)?;
        shown.debug.page(&page, query.as_deref().unwrap_or_default(), &caller)
    });
    let found = written.await.unwrap_or_else(|error| Err(Refused::Broken(error.to_string())));
    match found {
        Ok(page) => Json(page).into_response(),
        Err(refused) => {
            let code = match &refused {
                Refused::NoProxy | Refused::NoType(_) => StatusCode::BAD_REQUEST,
                Refused::NotHere | Refused::OfFile | Refused::NoPage(_) => StatusCode::NOT_FOUND,
                Refused::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Refused::Forbidden(_) => StatusCode::UNAUTHORIZED,
            };
            (code, format!("{refused}\n")).into_response()
        }
    }
}
