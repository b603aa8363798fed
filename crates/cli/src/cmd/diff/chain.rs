//! A filter chain of a listener in words: which connections it takes, and what it does with them.

use meltemi_model::proxy::STATS_LOGGER;
use serde_json::Value;

use super::rule::{self, Part};

/// A filter chain.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// What it matches; what it is known again by.
    pub(crate) matching: Value,
    /// The same in words: `TLS for api.example.com`.
    pub(crate) who: String,
    /// Requests are read.
    pub(crate) is_http: bool,
    /// The names that clients ask for in their TLS.
    pub(crate) names: Vec<String>,
    /// Where connections go; none where requests are taken from them.
    pub(crate) to: Option<Vec<Part>>,
    /// Whose certificates the server shows: names of secrets, or files.
    pub(crate) certificates: Vec<String>,
    /// What it asks of clients.
    pub(crate) asks: &'static str,
    /// What it does, in Envoy's words: the settings of its last filter, and its own.
    pub(crate) does: Value,
}

/// The filter chains of a listener, in order; the one for all others last.
pub(crate) fn all(listener: &Value) -> Vec<Chain> {
    let is_inbound = listener["traffic_direction"] == "INBOUND";
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    let others = listener.get("default_filter_chain");
    chains.chain(others).map(|chain| one(chain, is_inbound)).collect()
}

fn one(chain: &Value, is_inbound: bool) -> Chain {
    let matching = chain["filter_chain_match"].clone();
    let filters: Vec<&Value> = chain["filters"].as_array().into_iter().flatten().collect();
    let last = filters.last().map_or(&Value::Null, |filter| &filter["typed_config"]);
    let is_http = last.get("http_filters").is_some();
    let tls = &chain["transport_socket"]["typed_config"];
    let certificates = certificates(&tls["common_tls_context"]);
    let names: Vec<String> = texts(&matching["server_names"]).map(str::to_owned).collect();
    let required = tls["require_client_certificate"].as_bool() == Some(true);
    let verifies =
        ["validation_context", "validation_context_sds_secret_config", "combined_validation_context"]
            .iter()
            .any(|field| tls["common_tls_context"].get(*field).is_some());
    let asks = match (tls.is_null(), required, verifies) {
        (true, ..) => "no TLS",
        (_, true, _) => "TLS, with a client's certificate",
        (_, _, true) => "TLS, with a client's certificate if there is one",
        _ => "TLS",
    };
    let others: Vec<&Value> = filters.iter().rev().skip(1).copied().collect();
    let mut settings = last.clone();
    let loggers = |is_counter: bool| -> Vec<&Value> {
        let all = last["access_log"].as_array().into_iter().flatten();
        all.filter(|logger| (logger["name"] == STATS_LOGGER) == is_counter).collect()
    };
    let (logs, counts) = (serde_json::json!(loggers(false)), serde_json::json!(loggers(true)));
    if let Some(settings) = settings.as_object_mut() {
        settings.remove("access_log");
    }
    Chain {
        is_http,
        who: who(&matching, is_http, is_inbound, !tls.is_null()),
        names,
        to: if is_http { None } else { rule::parts(last) },
        certificates,
        asks,
        does: serde_json::json!({"settings": settings, "logs": logs, "counts": counts, "filters": others, "tls": tls}),
        matching,
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn certificates(context: &Value) -> Vec<String> {
    let secrets = context["tls_certificate_sds_secret_configs"].as_array().into_iter().flatten();
    // A workload's own, of the mesh, is no news.
    let secrets = secrets.filter_map(|secret| secret["name"].as_str()).filter(|name| *name != "default");
    let files = context["tls_certificates"].as_array().into_iter().flatten();
    let files = files.filter_map(|file| file["certificate_chain"]["filename"].as_str());
    let named = secrets.chain(files).map(|name| name.strip_prefix("kubernetes://").unwrap_or(name));
    named.map(str::to_owned).collect()
}

fn who(matching: &Value, is_http: bool, is_inbound: bool, terminates: bool) -> String {
    let names: Vec<&str> = texts(&matching["server_names"]).collect();
    let is_tls = matching["transport_protocol"] == "tls" || !names.is_empty();
    let what = match (is_http, is_inbound, is_tls) {
        (true, false, true) => "HTTPS",
        (false, false, true) => "TLS",
        (true, false, false) => "HTTP",
        (_, true, true) if terminates => "mutual TLS",
        (_, true, true) => "TLS",
        (_, true, false) => "plaintext",
        (false, false, false) => "connections",
    };
    let mut text = what.to_owned();
    if !names.is_empty() {
        text += &format!(" for {}", names.join(", "));
    }
    for (field, word) in [("prefix_ranges", "to"), ("source_prefix_ranges", "from")] {
        let blocks: Vec<String> = matching[field]
            .as_array()
            .into_iter()
            .flatten()
            .map(|block| {
                let length = block["prefix_len"].as_u64().unwrap_or_default();
                format!("{}/{length}", block["address_prefix"].as_str().unwrap_or_default())
            })
            .collect();
        if !blocks.is_empty() {
            text += &format!(" {word} {}", blocks.join(", "));
        }
    }
    if let Some(port) = matching["destination_port"].as_u64() {
        text += &format!(" at port {port}");
    }
    text
}
