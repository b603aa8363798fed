//! Which Telemetries say what a proxy tells of the request. What it tells then is in its configuration, and the walk reads it.

use std::sync::Arc;

use meltemi_api::telemetry::Metrics;
use meltemi_api::{FieldPath, Spec, Telemetry};
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::proxy::Proxy;
use meltemi_model::telemetry::Side;
use meltemi_model::workload::Workload;
use meltemi_names::ObjectKey;
use meltemi_sources::PlaceIndex;
use serde::Serialize;

use super::rule::Written;

/// The Telemetries that have a word in it, the most general first.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SaidBy {
    pub(crate) logs: Vec<Written>,
    pub(crate) metrics: Vec<Written>,
    pub(crate) traces: Vec<Written>,
}

impl SaidBy {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Written> {
        self.logs.iter().chain(&self.metrics).chain(&self.traces)
    }
}

/// Those for a proxy that is on that side of the request.
pub(super) fn said_by(
    (memo, mesh): (&Memo<Mesh>, &Mesh),
    proxy: Arc<Proxy>,
    side: Side,
    places: &PlaceIndex,
) -> SaidBy {
    let (_, workload) = memo.observe(Workload(proxy), mesh);
    let mut said = SaidBy::default();
    for key in workload.telemetry.iter() {
        let Some(Spec::Telemetry(telemetry)) = mesh.object(key).map(|object| &object.spec) else { continue };
        let Telemetry { access_logging, metrics, tracing, .. } = telemetry;
        let written =
            |field: &str| Written::new(ObjectKey::clone(key), &FieldPath::of(&["spec", field]), places);
        if access_logging.iter().any(|rule| side.is_of(rule.matches.mode)) {
            said.logs.push(written("accessLogging"));
        }
        if metrics.iter().any(|rule| speaks(rule, side)) {
            said.metrics.push(written("metrics"));
        }
        if tracing.iter().any(|rule| side.is_of(rule.matches.mode)) {
            said.traces.push(written("tracing"));
        }
    }
    said
}

/// Whether a rule of metrics is about that side: who counts is said for both.
fn speaks(rule: &Metrics, side: Side) -> bool {
    !rule.providers.is_empty() || rule.overrides.iter().any(|change| side.is_of(change.matches.mode))
}
