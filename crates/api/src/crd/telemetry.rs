//! Telemetry.

use super::schema::{Schema, array, boolean, duration, map, object, one_of, percent, string};
use super::selector::{selector, target_ref, target_refs};

pub(super) fn spec() -> Schema {
    object([
        ("selector", selector()),
        ("targetRef", target_ref()),
        ("targetRefs", target_refs()),
        ("tracing", array(tracing()).about("Which requests are traced.")),
        ("metrics", array(metrics()).about("What is counted.")),
        ("accessLogging", array(access_logging()).about("What is logged.")),
    ])
    .only_one(&["selector", "targetRef", "targetRefs"])
    .about("What proxies tell of the traffic.")
}

fn providers() -> Schema {
    array(object([("name", string().not_empty())]).required(&["name"]))
}

fn mode() -> (&'static str, Schema) {
    ("mode", one_of(&["CLIENT_AND_SERVER", "CLIENT", "SERVER"]))
}

fn tracing() -> Schema {
    let valued = || object([("value", string().not_empty())]).required(&["value"]);
    let named = || object([("name", string().not_empty()), ("defaultValue", string())]).required(&["name"]);
    let custom_tag = object([
        ("literal", valued()),
        ("environment", named()),
        ("header", named()),
        ("formatter", valued()),
    ])
    .at_most_one(&["literal", "environment", "header", "formatter"]);
    object([
        ("match", object([mode()])),
        ("providers", providers()),
        ("randomSamplingPercentage", percent().nullable()),
        ("disableSpanReporting", boolean().nullable()),
        ("disableContextPropagation", boolean().nullable()),
        ("customTags", map(custom_tag)),
        ("enableIstioTags", boolean().nullable()),
        ("useRequestIdForTraceSampling", boolean().nullable()),
    ])
}

fn metrics() -> Schema {
    let metric = one_of(&[
        "ALL_METRICS",
        "REQUEST_COUNT",
        "REQUEST_DURATION",
        "REQUEST_SIZE",
        "RESPONSE_SIZE",
        "TCP_OPENED_CONNECTIONS",
        "TCP_CLOSED_CONNECTIONS",
        "TCP_SENT_BYTES",
        "TCP_RECEIVED_BYTES",
        "GRPC_REQUEST_MESSAGES",
        "GRPC_RESPONSE_MESSAGES",
    ]);
    let matches = object([mode(), ("metric", metric), ("customMetric", string().not_empty())])
        .at_most_one(&["metric", "customMetric"]);
    let tag = object([("operation", one_of(&["UPSERT", "REMOVE"])), ("value", string())])
        .rule(
            "!has(self.operation) || self.operation != 'UPSERT' || (has(self.value) && self.value != '')",
            "UPSERT needs a value",
        )
        .rule(
            "!has(self.operation) || self.operation != 'REMOVE' || !has(self.value)",
            "REMOVE takes no value",
        );
    let overrides =
        object([("match", matches), ("disabled", boolean().nullable()), ("tagOverrides", map(tag))]);
    object([("providers", providers()), ("overrides", array(overrides)), ("reportingInterval", duration())])
}

fn access_logging() -> Schema {
    object([
        ("match", object([mode()])),
        ("providers", providers()),
        ("disabled", boolean().nullable()),
        ("filter", object([("expression", string().about("CEL, over Envoy's attributes."))])),
    ])
}
