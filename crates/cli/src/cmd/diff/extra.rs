//! What a rule does with requests beside sending them somewhere, in words: copies, headers, faults, hashing, other sites.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::Field;
use super::rule;

/// Where in a route what is said here stands: a change of these fields is told here.
const FIELDS: &[&str] = &[
    "route.request_mirror_policies",
    "route.hash_policy",
    "request_headers_to_",
    "response_headers_to_",
    "typed_per_filter_config",
];

/// Fields that go with hashing.
const WITH_HASHING: &[&str] =
    &["route.retry_policy.retry_host_predicate", "route.retry_policy.host_selection_retry_max_attempts"];

/// What differs, each in words; and the fields that are told by that.
pub(crate) fn differences(before: &Value, after: &Value, fields: &[Field]) -> (Vec<String>, Vec<Field>) {
    let (then, now) = (all(before), all(after));
    let mut names: Vec<&&str> = then.keys().chain(now.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut told = Vec::new();
    for name in names {
        match (then.get(*name), now.get(*name)) {
            (None, Some(now)) => told.push(format!("{name} {now} now")),
            (Some(then), None) => told.push(format!("{name} {then} no more")),
            (Some(then), Some(now)) if then != now => told.push(format!("{name} {then} -> {now}")),
            _ => {}
        }
    }
    let hashes = then.get(HASHED) != now.get(HASHED);
    let is_told = |field: &&Field| {
        let of = |all: &[&str]| all.iter().any(|place| field.path.starts_with(place));
        !told.is_empty() && (of(FIELDS) || (hashes && of(WITH_HASHING)))
    };
    (told.clone(), fields.iter().filter(is_told).cloned().collect())
}

const HASHED: &str = "an endpoint is chosen by";

fn all(route: &Value) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    let mut put = |name: &'static str, all: Vec<String>| {
        if !all.is_empty() {
            found.insert(name, all.join(" and "));
        }
    };
    put("a copy goes to", items(&route["route"]["request_mirror_policies"]).map(copy).collect());
    put(HASHED, items(&route["route"]["hash_policy"]).map(hashed).collect());
    let filters = &route["typed_per_filter_config"];
    let fault = &filters["envoy.filters.http.fault"];
    put("on purpose", faults(fault));
    let origins = items(&filters["envoy.filters.http.cors"]["allow_origin_string_match"]);
    put("pages may call that are from", origins.map(text_of).collect());
    let headers = |side: &str| {
        let added = items(&route[format!("{side}_headers_to_add")]).map(|header| {
            let header = &header["header"];
            format!("{}: {}", text(&header["key"]), text(&header["value"]))
        });
        let removed = items(&route[format!("{side}_headers_to_remove")]).map(text);
        added.chain(removed.map(|name| format!("no {name}"))).collect()
    };
    put("requests are sent on with", headers("request"));
    put("answers are sent back with", headers("response"));
    found
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn copy(mirror: &Value) -> String {
    let to = rule::title(mirror["cluster"].as_str().unwrap_or_default());
    match share(&mirror["runtime_fraction"]["default_value"]) {
        Some(share) if share < 100.0 => format!("{to} (of {})", rule::percent(share)),
        _ => to,
    }
}

/// Envoy's fraction, in percent.
fn share(fraction: &Value) -> Option<f64> {
    let numerator = fraction["numerator"].as_f64().or(fraction.is_object().then_some(0.0))?;
    Some(match fraction["denominator"].as_str() {
        Some("TEN_THOUSAND") => numerator / 100.0,
        Some("MILLION") => numerator / 10_000.0,
        _ => numerator,
    })
}

fn faults(fault: &Value) -> Vec<String> {
    let of = |part: &Value| share(&part["percentage"]).map_or_else(|| "some".to_owned(), rule::percent);
    let mut all = Vec::new();
    if let Some(abort) = fault.get("abort") {
        let what = match (&abort["http_status"], &abort["grpc_status"]) {
            (Value::Null, status) => format!("gRPC status {status}"),
            (status, _) => status.to_string(),
        };
        all.push(format!("{} get {what}", of(abort)));
    }
    if let Some(delay) = fault.get("delay") {
        all.push(format!("{} wait {}", of(delay), text(&delay["fixed_delay"])));
    }
    all
}

fn hashed(policy: &Value) -> String {
    if let Some(name) = policy["header"]["header_name"].as_str() {
        return format!("the hash of header {name}");
    }
    if let Some(name) = policy["cookie"]["name"].as_str() {
        return format!("the hash of cookie {name}");
    }
    if let Some(name) = policy["query_parameter"]["name"].as_str() {
        return format!("the hash of query parameter {name}");
    }
    "the hash of the client's address".to_owned()
}

fn text_of(matcher: &Value) -> String {
    for how in ["exact", "prefix"] {
        if let Some(text) = matcher[how].as_str() {
            return text.to_owned();
        }
    }
    text(&matcher["safe_regex"]["regex"])
}
