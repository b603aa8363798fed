//! What is traced of a side, and who takes the spans.

use std::collections::BTreeMap;

use meltemi_api::Telemetry;
use meltemi_api::telemetry::CustomTag;
use meltemi_api::value::Decimal;

use super::Side;

/// Tags of spans, by name.
pub type Tags = BTreeMap<String, CustomTag>;

/// What is traced of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Who takes the spans; none: nobody, and nothing is traced.
    pub provider: Option<String>,
    /// Nothing is traced.
    pub disabled: bool,
    /// How many of 100 requests that nobody has decided about; none: as `defaultConfig` says.
    pub sampling: Option<Decimal>,
    /// Tags of each span; none: as `defaultConfig` says.
    pub tags: Option<Tags>,
    /// A request's ID says whether it is traced.
    pub by_request_id: bool,
    /// Spans have Istio's own tags.
    pub istio_tags: bool,
    /// The trace is not handed on.
    pub ends_here: bool,
}

/// None where nobody says anything.
pub(super) fn merge(objects: &[&Telemetry], defaults: &[String], side: Side) -> Option<Tracing> {
    let rules: Vec<_> = objects.iter().flat_map(|object| &object.tracing).collect();
    if rules.is_empty() && defaults.is_empty() {
        return None;
    }
    let mut tracing = Tracing {
        provider: defaults.first().cloned(),
        disabled: false,
        sampling: None,
        tags: None,
        by_request_id: true,
        istio_tags: true,
        ends_here: false,
    };
    for rule in rules.into_iter().filter(|rule| side.is_of(rule.matches.mode)) {
        if let Some(provider) = rule.providers.first() {
            tracing.provider = Some(provider.name.clone());
        }
        tracing.disabled = rule.disable_span_reporting.unwrap_or(tracing.disabled);
        if rule.custom_tags.is_some() {
            tracing.tags.clone_from(&rule.custom_tags);
        }
        tracing.sampling = rule.random_sampling_percentage.or(tracing.sampling);
        tracing.by_request_id = rule.use_request_id_for_trace_sampling.unwrap_or(tracing.by_request_id);
        tracing.istio_tags = rule.enable_istio_tags.unwrap_or(tracing.istio_tags);
        tracing.ends_here = rule.disable_context_propagation.unwrap_or(tracing.ends_here);
    }
    Some(tracing)
}
