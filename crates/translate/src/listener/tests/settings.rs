//! What the mesh's settings change.

use serde_json::{Value, json};

use super::{Bench, json, mesh_settings, redirected, service, shape};

const HTTP: &str = "{name: http, port: 80}";

fn with(settings: &str) -> Bench {
    Bench::of(&[service("a", None, HTTP), mesh_settings(settings)].concat())
}

/// The access logs of a listener's first chain's filter.
fn log(listener: &Value) -> Value {
    listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"].clone()
}

#[test]
fn nothing_is_logged_unless_a_file_is_named() {
    let bench = with("accessLogEncoding: JSON");
    let listeners = bench.outbound(redirected());
    assert_eq!(log(&json(&listeners["0.0.0.0_80"])), Value::Null);
    assert_eq!(json(&listeners["virtualOutbound"]).get("access_log"), None);
}

#[test]
fn every_listener_logs_to_the_named_file_in_istios_format() {
    let bench = with("accessLogFile: /dev/stdout");
    let listeners = bench.outbound(redirected());
    let logs = log(&json(&listeners["0.0.0.0_80"]));
    assert_eq!(logs[0]["name"], json!("envoy.access_loggers.file"));
    assert_eq!(logs[0]["typed_config"]["path"], json!("/dev/stdout"));
    let format =
        logs[0]["typed_config"]["log_format"]["text_format_source"]["inline_string"].as_str().unwrap();
    assert!(format.starts_with("[%START_TIME%] \"%REQ(:METHOD)% "), "{format}");
    assert!(format.ends_with(" %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"), "{format}");
    let outbound = json(&listeners["virtualOutbound"]);
    assert_eq!(log(&outbound), logs);
    // The listener itself logs only what no chain took.
    assert_eq!(outbound["access_log"][0]["filter"], json!({"response_flag_filter": {"flags": ["NR"]}}));
    assert_eq!(outbound["access_log"][0]["typed_config"], logs[0]["typed_config"]);
    let inbound = json(&bench.inbound("a"));
    assert_eq!(inbound["access_log"], outbound["access_log"]);
    assert_eq!(log(&inbound), logs);
}

#[test]
fn the_virtual_listeners_log_nothing_of_their_own_when_told_so() {
    let bench = with("accessLogFile: /dev/stdout\ndisableEnvoyListenerLog: true");
    let listeners = bench.outbound(redirected());
    let outbound = json(&listeners["virtualOutbound"]);
    assert_eq!(outbound.get("access_log"), None);
    assert_eq!(log(&outbound).as_array().unwrap().len(), 1);
}

#[test]
fn a_written_text_format_ends_its_line() {
    let bench = with("accessLogFile: /dev/stdout\naccessLogFormat: '%PROTOCOL%'");
    let logs = log(&json(&bench.outbound(redirected())["0.0.0.0_80"]));
    assert_eq!(
        logs[0]["typed_config"]["log_format"],
        json!({"text_format_source": {"inline_string": "%PROTOCOL%\n"}})
    );
}

#[test]
fn json_has_istios_keys_or_those_that_are_written() {
    let format = |settings: &str| {
        let logs = log(&json(&with(settings).outbound(redirected())["0.0.0.0_80"]));
        logs[0]["typed_config"]["log_format"]["json_format"].clone()
    };
    let default = format("accessLogFile: /dev/stdout\naccessLogEncoding: JSON");
    assert_eq!(default.as_object().unwrap().len(), 24);
    assert_eq!(default["upstream_cluster"], json!("%UPSTREAM_CLUSTER_RAW%"));
    let written = format(
        "accessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: '{\"a\": \"%PROTOCOL%\", \"b\": {\"c\": [1, true]}}'",
    );
    assert_eq!(written, json!({"a": "%PROTOCOL%", "b": {"c": [1.0, true]}}));
    let broken = format("accessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: '{'");
    assert_eq!(broken, default);
}

#[test]
fn unknown_destinations_are_closed_when_only_the_registry_counts() {
    let bench = with("outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
    let listeners = bench.outbound(redirected());
    assert_eq!(shape(&listeners["virtualOutbound"]), ["any -> BlackHoleCluster", "any -> BlackHoleCluster"]);
    assert_eq!(shape(&listeners["0.0.0.0_80"])[1], "else -> BlackHoleCluster");
}

#[test]
fn the_wait_for_first_bytes_is_the_meshs_where_http_is_sniffed() {
    let tls = service("t", None, "{name: tls, port: 443}");
    let bench =
        Bench::of(&[service("a", None, HTTP), tls, mesh_settings("protocolDetectionTimeout: 0.1s")].concat());
    let listeners = bench.outbound(redirected());
    assert_eq!(json(&listeners["0.0.0.0_80"])["listener_filters_timeout"], json!("0.100s"));
    assert_eq!(json(&listeners["0.0.0.0_443"])["listener_filters_timeout"], json!("0s"));
    assert_eq!(json(&bench.inbound("a"))["listener_filters_timeout"], json!("0.100s"));
}

#[test]
fn the_virtual_listeners_are_where_the_mesh_redirects_to() {
    let bench = with("proxyListenPort: 16001\nproxyInboundListenPort: 16006");
    let listeners = bench.outbound(redirected());
    let outbound = json(&listeners["virtualOutbound"]);
    assert_eq!(outbound["address"]["socket_address"]["port_value"], json!(16001));
    assert_eq!(outbound["filter_chains"][0]["filter_chain_match"]["destination_port"], json!(16001));
    assert_eq!(json(&bench.inbound("a"))["address"]["socket_address"]["port_value"], json!(16006));
}
