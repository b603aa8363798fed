//! `GET /api/v1/objects`: the objects in force as they were written, for `meltemi explain`, `diff` and `analyze` with `--server`.
//!
//! Whoever is on the machine is answered (`kubectl port-forward` comes from there, too), and nobody else: that is the right to look into
//! the pod, which the API server checks. A Secret has no text to hand on. Must not know: what the objects mean.

pub mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use hyper::body::Bytes;
use meltemi_api::Object;
use meltemi_model::Mesh;
use serde_json::json;

use crate::pages::Shown;

pub use client::{Told, get};

/// The page.
pub const PATH: &str = "/api/v1/objects";

/// How long the first snapshot is waited for.
const START: Duration = Duration::from_secs(20);

/// How many bytes are written at a time.
const PIECE: usize = 64 << 10;

/// Answers the page.
pub(crate) async fn page(
    State(shown): State<Arc<Shown>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        let words = "objects are shown to this machine only; reach it by kubectl port-forward\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    // Who asks while it starts wants the answer, and not to ask again.
    let mut ready = shown.ready.clone();
    let ready = tokio::time::timeout(START, ready.wait_for(|ready| *ready)).await;
    if !ready.is_ok_and(|ready| ready.is_ok()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the first snapshot is not there yet\n").into_response();
    }
    let mesh = Arc::clone(&shown.debug.mesh.borrow());
    let settings = match &shown.mesh_config {
        Some(file) => crate::file::text(file).await,
        None => None,
    };
    let head =
        json!({ "generation": mesh.generation(), "revision": shown.debug.revision, "meshConfig": settings });
    let pieces = Pieces::new(&mesh, head.to_string());
    let body = stream::iter(pieces.map(Ok::<Bytes, std::convert::Infallible>));
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response()
}

/// The answer, piece by piece: nothing is held for a reader but pointers to the objects of its snapshot.
struct Pieces {
    objects: std::vec::IntoIter<Arc<Object>>,
    /// What is to be written before the next object.
    before: String,
    is_done: bool,
}

impl Pieces {
    /// Of a JSON object, into which the items are put.
    fn new(mesh: &Mesh, head: String) -> Self {
        let objects: Vec<Arc<Object>> = mesh.objects().cloned().collect();
        let before = format!("{},\"items\":[\n", head.trim_end_matches('}'));
        Self { objects: objects.into_iter(), before, is_done: false }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = String::new();
        while !self.is_done && piece.len() < PIECE {
            let Some(object) = self.objects.next() else {
                // What separates objects is not wanted after the last.
                let before = std::mem::take(&mut self.before);
                piece.push_str(if before == SEPARATOR { "" } else { &before });
                piece.push_str("\n]}\n");
                self.is_done = true;
                break;
            };
            if let Some(json) = object.text.json() {
                piece.push_str(&std::mem::replace(&mut self.before, SEPARATOR.to_owned()));
                piece.push_str(json);
            }
        }
        (!piece.is_empty()).then(|| piece.into())
    }
}

/// Between two objects.
const SEPARATOR: &str = ",\n";

#[cfg(test)]
mod tests {
    use super::Pieces;
    use meltemi_model::{Event, Store};
    use std::sync::Arc;

    #[test]
    fn the_pieces_together_are_one_json_whatever_their_number() {
        for count in [0_usize, 1, 2_000] {
            let yaml: String = (0..count)
                .map(|index| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{index}}}\n"))
                .collect();
            let mut store = Store::new();
            store.apply(
                meltemi_api::parse_all(&yaml)
                    .unwrap()
                    .into_iter()
                    .map(|object| Event::Upsert(Arc::new(object))),
            );
            let pieces = Pieces::new(store.mesh(), "{\"revision\":\"\"}".to_owned());
            let all: Vec<u8> = pieces.flat_map(|piece| piece.to_vec()).collect();
            let json: serde_json::Value = serde_json::from_slice(&all).unwrap();
            assert_eq!(json["items"].as_array().unwrap().len(), count);
        }
    }
}
