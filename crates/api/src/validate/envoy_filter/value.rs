//! The value of a patch: a message of Envoy's.

use meltemi_proto::json::from_json;
use serde_json::Value;

use super::super::Report;
use crate::envoy_filter::ApplyTo;
use crate::envoy_filter::value::{BadValue, message, words};
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(apply_to: ApplyTo, value: &Value, path: &FieldPath, report: &mut Report) {
    match message(apply_to, value) {
        Ok(_) => {}
        Err(BadValue::Nothing) => return,
        Err(error @ BadValue::NotInEnvoy(_)) => {
            let finding = Finding::warning("not-in-envoy", error.to_string()).at(path);
            return report.add(finding.in_force("the patch is left out"));
        }
        Err(BadValue::Json(error)) => {
            let words = words(&error);
            let finding = Finding::error(
                "bad-patch-value",
                format!("the value is no such message of Envoy's: {words}"),
            )
            .at(path);
            return report.add(if words.contains(".v2.") {
                finding.hint("write the type of Envoy's API v3")
            } else {
                finding
            });
        }
    }
    if let Some(Err(error)) = apply_to.message().map(|message| from_json(message, value)) {
        report.add(
            Finding::warning("unknown-field", format!("in the patch's value: {}", words(&error)))
                .at(path)
                .in_force("the field is ignored"),
        );
    }
    without_type(value, path, report);
}

/// Extensions within that Envoy would have to find by their names.
fn without_type(value: &Value, path: &FieldPath, report: &mut Report) {
    match value {
        Value::Object(fields) => {
            let given = |names: &[&str]| {
                names.iter().any(|name| fields.get(*name).is_some_and(|value| !value.is_null()))
            };
            let has_config = given(&["typed_config", "typedConfig", "config_discovery", "configDiscovery"]);
            let name = fields.get("name").and_then(Value::as_str);
            if let Some(name) = name.filter(|name| name.starts_with("envoy.") && !has_config) {
                report.add(
                    Finding::warning("no-typed-config", format!("Envoy needs the typed_config of `{name}`"))
                        .at(path)
                        .hint("add typed_config with its @type"),
                );
            }
            for (name, value) in fields {
                without_type(value, &path.key(name), report);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                without_type(value, &path.index(index), report);
            }
        }
        _ => {}
    }
}

/// Whether the value is the filter that sends requests on.
pub(super) fn is_router(value: &Value) -> bool {
    let config = value.get("typed_config").or_else(|| value.get("typedConfig"));
    let type_url = config.and_then(|config| config.get("@type")).and_then(Value::as_str).unwrap_or_default();
    type_url.ends_with("/envoy.extensions.filters.http.router.v3.Router")
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
