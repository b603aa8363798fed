//! Who counts, by what.

use serde_json::{Value, json};

use super::{Bench, json, mesh_settings, redirected, service};
use crate::listener::ListenersKey;

const PORTS: &str = "{name: http, port: 80}, {name: tcp, port: 9000}";

fn counting() -> ListenersKey {
    ListenersKey { metrics: true, ..redirected() }
}

/// The filter of a listener's first chain.
fn first(listener: &Value) -> &Value {
    &listener["filter_chains"][0]["filters"][0]["typed_config"]
}

/// The names of the loggers of a listener's first chain.
fn loggers(listener: &Value) -> Vec<&str> {
    let logs = first(listener)["access_log"].as_array();
    logs.into_iter().flatten().map(|log| log["name"].as_str().unwrap()).collect()
}

/// A tag of the first metric that a logger counts.
fn tag<'a>(log: &'a Value, name: &str) -> Option<&'a str> {
    let tags = log["typed_config"]["counters"][0]["stat"]["tags"].as_array().unwrap();
    tags.iter().find(|tag| tag["name"] == name).and_then(|tag| tag["value_format"].as_str())
}

#[test]
fn only_a_proxy_that_can_count_is_told_to() {
    let bench = Bench::of(&service("a", Some("10.96.0.1"), PORTS));
    let with = bench.outbound(counting());
    assert_eq!(loggers(&json(&with["0.0.0.0_80"])), ["envoy.access_loggers.stats"]);
    assert_eq!(loggers(&json(&with["10.96.0.1_9000"])), ["envoy.access_loggers.stats"; 3]);
    let without = bench.outbound(redirected());
    for listener in without.values().map(|listener| json(listener)) {
        assert!(loggers(&listener).is_empty(), "{listener}");
        assert_eq!(first(&listener).get("access_log_options"), None);
    }
}

#[test]
fn no_provider_of_metrics_is_no_metrics() {
    for (providers, counts) in [("[]", false), ("[other]", false), ("[other, prometheus]", true)] {
        let settings = mesh_settings(&format!("defaultProviders: {{metrics: {providers}}}"));
        let bench = Bench::of(&[service("a", None, PORTS), settings].concat());
        let listeners = bench.outbound(counting());
        assert_eq!(!loggers(&json(&listeners["0.0.0.0_80"])).is_empty(), counts, "{providers}");
    }
}

#[test]
fn no_tag_is_what_a_stranger_sends() {
    let bench = Bench::of(&service("a", Some("10.96.0.1"), PORTS));
    for listener in bench.outbound(counting()).values() {
        let text = json(listener).to_string();
        for operator in ["%REQ", "%PATH", "AUTHORITY", "%REQUESTED_SERVER_NAME", "%QUERY", "REMOTE_ADDRESS"] {
            assert!(!text.contains(operator), "{operator} in {text}");
        }
    }
}

#[test]
fn the_file_is_written_once_for_each_connection() {
    let settings = mesh_settings("accessLogFile: /dev/stdout");
    let bench = Bench::of(&[service("a", Some("10.96.0.1"), PORTS), settings].concat());
    let listener = json(&bench.outbound(counting())["10.96.0.1_9000"]);
    let logs = &first(&listener)["access_log"];
    assert_eq!(logs[0]["name"], json!("envoy.access_loggers.file"));
    assert_eq!(
        logs[0]["filter"],
        json!({"log_type_filter": {"types": ["TcpUpstreamConnected"], "exclude": true}})
    );
    assert_eq!(first(&listener)["access_log_options"], json!({"flush_access_log_on_connected": true}));
    // An HTTP log is written once anyway.
    let http = json(&bench.outbound(counting())["0.0.0.0_80"]);
    assert_eq!(first(&http)["access_log"][0].get("filter"), None);
}

#[test]
fn a_connection_is_opened_when_it_reaches_someone_or_when_it_ends_without() {
    let bench = Bench::of(&service("a", Some("10.96.0.1"), PORTS));
    let listener = json(&bench.outbound(counting())["10.96.0.1_9000"]);
    let logs = first(&listener)["access_log"].as_array().unwrap();
    let counted = |log: &Value| -> Vec<String> {
        let counters = log["typed_config"]["counters"].as_array().unwrap();
        counters.iter().map(|counter| counter["stat"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(logs[0]["filter"], json!({"log_type_filter": {"types": ["TcpUpstreamConnected"]}}));
    assert_eq!(counted(&logs[0]), ["istio_tcp_connections_opened_total"]);
    assert_eq!(
        logs[1]["filter"]["and_filter"]["filters"],
        json!([
            {"log_type_filter": {"types": ["TcpConnectionEnd"]}},
            {"response_flag_filter": {"flags": ["NC", "UF", "UH", "UO", "URX"]}},
        ])
    );
    assert_eq!(counted(&logs[1]), ["istio_tcp_connections_opened_total"]);
    assert_eq!(logs[2]["filter"], json!({"log_type_filter": {"types": ["TcpConnectionEnd"]}}));
    assert_eq!(
        counted(&logs[2]),
        [
            "istio_tcp_connections_closed_total",
            "istio_tcp_sent_bytes_total",
            "istio_tcp_received_bytes_total"
        ]
    );
}

#[test]
fn the_destination_says_who_it_is_and_which_service_was_called() {
    let yaml = [service("a", Some("10.96.0.1"), PORTS), mesh_settings("{}")].concat();
    let bench = Bench::of(&yaml);
    let listener = json(&bench.counted_inbound("a", "a-7%;default;a;v1;Kubernetes"));
    let chains = listener["filter_chains"].as_array().unwrap();
    let log = |port: u16| {
        let chain = chains.iter().find(|chain| chain["filter_chain_match"]["destination_port"] == port);
        chain.unwrap()["filters"][0]["typed_config"]["access_log"][0].clone()
    };
    let http = log(80);
    assert_eq!(tag(&http, "reporter"), Some("destination"));
    assert_eq!(tag(&http, "istio_destination"), Some("a-7%%;default;a;v1;Kubernetes"));
    assert_eq!(tag(&http, "istio_service"), Some("a.default.svc.cluster.local;a;default"));
    assert_eq!(tag(&http, "connection_security_policy"), Some("none"));
    assert_eq!(tag(&http, "istio_source"), None);
    assert_eq!(tag(&log(9000), "istio_service"), tag(&http, "istio_service"));
    // What no service leads to.
    assert_eq!(tag(&log(15006), "istio_service"), Some(";InboundPassthroughCluster;"));
}
