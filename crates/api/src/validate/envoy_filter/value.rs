//! The value of a patch: a message of Envoy's.

use meltemi_proto::json::{JsonError, from_json, from_json_tolerant};
use serde_json::Value;

use super::super::Report;
use crate::envoy_filter::ApplyTo;
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(apply_to: ApplyTo, value: &Value, path: &FieldPath, report: &mut Report) {
    let Some(message) = apply_to.message() else { return };
    // Fields that this build does not know may be another version's: the rest of the value counts, as in Istio.
    if let Err(error) = from_json_tolerant(message, value) {
        return report.add(refused(&error).at(path));
    }
    if let Err(error) = from_json(message, value) {
        report.add(
            Finding::warning("unknown-field", format!("{message}: {}", reason(&error)))
                .at(path)
                .in_force("the field is ignored"),
        );
    }
    walk(value, path, report);
}

fn refused(error: &JsonError) -> Finding {
    let reason = reason(error);
    let finding = Finding::error("bad-patch-value", format!("the value is no such message of Envoy's: {reason}"));
    if reason.contains(".v2.") || reason.contains(".v2alpha.") {
        finding.hint("write the type of Envoy's API v3")
    } else {
        finding
    }
}

/// The reader's words without the place in a text that nobody wrote.
fn reason(error: &JsonError) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// What is within: extensions that Envoy does not have or finds by name alone.
fn walk(value: &Value, path: &FieldPath, report: &mut Report) {
    match value {
        Value::Object(fields) => {
            if let Some(own) = fields.get("@type").and_then(Value::as_str).filter(|name| is_istios_type(name)) {
                report.add(
                    Finding::warning("not-in-envoy", format!("`{own}` is of Istio's own proxy: Envoy has no such extension"))
                        .at(&path.key("@type"))
                        .in_force("the patch is left out"),
                );
            }
            let given = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
            let typed = given("typed_config") || given("typedConfig");
            let elsewhere = ["config_discovery", "configDiscovery"].iter().any(|name| given(name));
            let name = fields.get("name").and_then(Value::as_str).filter(|name| name.starts_with("envoy."));
            if let Some(name) = name.filter(|_| !typed && !elsewhere) {
                report.add(
                    Finding::warning("no-typed-config", format!("Envoy needs the typed_config of `{name}`"))
                        .at(path)
                        .hint("add typed_config with its @type"),
                );
            }
            for (name, value) in fields {
                walk(value, &path.key(name), report);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                walk(value, &path.index(index), report);
            }
        }
        _ => {}
    }
}

/// Whether the type of an extension is one that only Istio's build of Envoy has.
pub(crate) fn is_istios_type(type_url: &str) -> bool {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    ["istio.", "io.istio.", "stats.PluginConfig"].iter().any(|own| name.starts_with(own))
}

/// Whether a filter of that name is one that only Istio makes.
pub(super) fn is_istios_own(name: &str) -> bool {
    name.starts_with("istio.") || name.starts_with("istio_")
}

/// The present name of a filter that is called by a name of before (Istio: pkg/config/xds/deprecated.go).
pub(super) fn canonical_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "envoy.buffer" => "envoy.filters.http.buffer",
        "envoy.cors" => "envoy.filters.http.cors",
        "envoy.csrf" => "envoy.filters.http.csrf",
        "envoy.http_dynamo_filter" => "envoy.filters.http.dynamo",
        "envoy.ext_authz" => "envoy.filters.http.ext_authz",
        "envoy.fault" => "envoy.filters.http.fault",
        "envoy.grpc_http1_bridge" => "envoy.filters.http.grpc_http1_bridge",
        "envoy.grpc_json_transcoder" => "envoy.filters.http.grpc_json_transcoder",
        "envoy.grpc_web" => "envoy.filters.http.grpc_web",
        "envoy.gzip" => "envoy.filters.http.compressor",
        "envoy.health_check" => "envoy.filters.http.health_check",
        "envoy.ip_tagging" => "envoy.filters.http.ip_tagging",
        "envoy.lua" => "envoy.filters.http.lua",
        "envoy.rate_limit" => "envoy.filters.http.ratelimit",
        "envoy.router" => "envoy.filters.http.router",
        "envoy.squash" => "envoy.filters.http.squash",
        "envoy.listener.http_inspector" => "envoy.filters.listener.http_inspector",
        "envoy.listener.original_dst" => "envoy.filters.listener.original_dst",
        "envoy.listener.original_src" => "envoy.filters.listener.original_src",
        "envoy.listener.proxy_protocol" => "envoy.filters.listener.proxy_protocol",
        "envoy.listener.tls_inspector" => "envoy.filters.listener.tls_inspector",
        "envoy.client_ssl_auth" => "envoy.filters.network.client_ssl_auth",
        "envoy.http_connection_manager" => "envoy.filters.network.http_connection_manager",
        "envoy.mongo_proxy" => "envoy.filters.network.mongo_proxy",
        "envoy.ratelimit" => "envoy.filters.network.ratelimit",
        "envoy.redis_proxy" => "envoy.filters.network.redis_proxy",
        "envoy.tcp_proxy" => "envoy.filters.network.tcp_proxy",
        _ => return None,
    })
}
