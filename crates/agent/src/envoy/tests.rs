//! The bootstrap as a value, and restarts. That Envoy takes it is seen by the tests of the binary.

use std::time::Duration;

use serde_json::{Value, json};

use super::bootstrap::{Bootstrap, Companion, Inclusion, Upstream};
use super::restart::{FIRST, LONGEST, Restarts};
use crate::HostPort;

fn bootstrap(name: &str) -> Value {
    let at = |text: &str| HostPort::parse(text).unwrap();
    let companion = Companion {
        socket: "./var/run/sds".into(),
        tls: Some(Upstream { name: name.to_owned(), roots: "/roots.pem".into() }),
        headers: vec![("clusterid".to_owned(), "east".to_owned())],
        status_port: 15020,
        health_port: 15021,
        prometheus_port: 15090,
        metrics_localhost_only: true,
        is_v6: false,
        stats: Inclusion { prefixes: vec!["mine".to_owned()], ..Inclusion::default() },
        delta: true,
    };
    let admin = at("127.0.0.1:15000");
    Bootstrap { node: json!({}), xds: at("istiod.istio-system.svc:15012"), admin, companion: Some(companion) }
        .to_json()
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap()
}

#[test]
fn the_control_plane_is_known_by_name_and_by_the_roots_file() {
    let bootstrap = bootstrap("istiod.istio-system.svc");
    let cluster = named(&bootstrap["static_resources"]["clusters"], "xds-grpc");
    let tls = &cluster["transport_socket"]["typed_config"];
    assert_eq!(tls["sni"], "istiod.istio-system.svc");
    let common = &tls["common_tls_context"];
    assert_eq!(common["tls_certificate_sds_secret_configs"][0]["name"], "default");
    let validation = &common["combined_validation_context"];
    assert_eq!(validation["validation_context_sds_secret_config"]["name"], "file-root:/roots.pem");
    let san = &validation["default_validation_context"]["match_typed_subject_alt_names"][0];
    assert_eq!(*san, json!({"san_type": "DNS", "matcher": {"exact": "istiod.istio-system.svc"}}));
    let grpc = &bootstrap["dynamic_resources"]["ads_config"]["grpc_services"][0];
    assert_eq!(grpc["initial_metadata"], json!([{"key": "clusterid", "value": "east"}]));
    // An address has no name that could be sent.
    let bootstrap = self::bootstrap("10.0.0.1");
    let tls =
        &named(&bootstrap["static_resources"]["clusters"], "xds-grpc")["transport_socket"]["typed_config"];
    assert!(tls.get("sni").is_none());
}

#[test]
fn health_and_metrics_listen_where_istio_s_do() {
    let bootstrap = bootstrap("istiod.istio-system.svc");
    let listeners = &bootstrap["static_resources"]["listeners"];
    assert_eq!(named(listeners, "0.0.0.0_15021")["address"]["socket_address"]["port_value"], 15021);
    assert_eq!(named(listeners, "127.0.0.1_15090")["address"]["socket_address"]["port_value"], 15090);
    let patterns =
        bootstrap["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"].as_array().unwrap();
    for wanted in
        [json!({"prefix": "listener_manager"}), json!({"prefix": "mine"}), json!({"suffix": "rbac.denied"})]
    {
        assert!(patterns.contains(&wanted), "{wanted}");
    }
}

#[test]
fn an_envoy_that_keeps_dying_is_given_more_and_more_time_within_bounds() {
    let mut restarts = Restarts::default();
    let at_once = Duration::from_millis(1);
    assert_eq!([0; 3].map(|_| restarts.ended(at_once)), [FIRST, 2 * FIRST, 4 * FIRST]);
    for _ in 0..100 {
        assert!(restarts.ended(at_once) <= LONGEST);
    }
    assert_eq!(restarts.ended(at_once), LONGEST);
    assert_eq!(
        restarts.ended(Duration::from_secs(3600)),
        FIRST,
        "one that ran for long died for the first time"
    );
    assert_eq!(restarts.in_a_row(), 1);
}
