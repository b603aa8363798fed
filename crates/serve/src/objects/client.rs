//! Asks a control plane for its objects, and reads them as if they came from a folder.

use std::sync::Arc;
use std::time::Duration;

use meltemi_api::{Finding, decode, parse_mesh_config};
use meltemi_model::Event;
use meltemi_sources::{Batch, PlaceIndex, Status};
use serde::Deserialize;
use serde_json::Value;

use super::PATH;
use crate::client;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a control plane has in force.
#[derive(Debug)]
pub struct Told {
    /// The objects; places are not known.
    pub batch: Batch,
    /// The revision that it is of; empty: none.
    pub revision: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Nobody answers.
    #[error(transparent)]
    Unreachable(#[from] client::Unreachable),
    /// It answers something else.
    #[error("{PATH} answered {0}: {1}")]
    Refused(u16, String),
    /// The answer is none.
    #[error("the answer is not understood: {0}; is it a control plane of another version?")]
    Answer(#[from] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    revision: String,
    #[serde(default)]
    mesh_config: Option<String>,
    items: Vec<Value>,
}

/// The objects that the control plane at `HOST:PORT` has in force.
///
/// # Errors
/// When it cannot be asked, or does not answer with objects.
pub async fn get(server: &str) -> Result<Told, Failed> {
    let (status, body) = client::get(server, PATH, LIMIT).await?;
    if !status.is_success() {
        return Err(Failed::Refused(status.as_u16(), String::from_utf8_lossy(&body).trim().to_owned()));
    }
    let answer: Answer = serde_json::from_slice(&body)?;
    let settings = answer.mesh_config.and_then(|text| parse_mesh_config(&text, "--mesh-config").0);
    let mut events: Vec<Event> = settings.map(|mesh| Event::Defaults(Arc::new(mesh))).into_iter().collect();
    let mut findings: Vec<Finding> = Vec::new();
    for item in &answer.items {
        let decoded = decode(item, "default");
        findings.extend(decoded.findings);
        events.extend(decoded.object.map(|object| Event::Upsert(Arc::new(object))));
    }
    let status = Status { objects: events.len(), ..Status::default() };
    let (places, findings) = (PlaceIndex::default(), findings.into());
    Ok(Told {
        batch: Batch { events, findings, places, written: Vec::new(), status },
        revision: answer.revision,
    })
}
