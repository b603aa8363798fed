//! Readiness, scraping and merging, as values.

use std::time::Duration;

use proptest::prelude::*;

use super::merge::merge;
use super::ready::{NotReady, active_connections, ready};
use super::scrape::{LONGEST_TIMEOUT, Target, USUAL_TIMEOUT, limit, targets};

fn stats(cds: u64, lds: u64, state: u64, workers: u64) -> String {
    format!(
        "cluster_manager.cds.update_rejected: 3\ncluster_manager.cds.update_success: {cds}\n\
         listener_manager.lds.update_rejected: 0\nlistener_manager.lds.update_success: {lds}\n\
         listener_manager.workers_started: {workers}\nserver.state: {state}\n"
    )
}

#[test]
fn ready_is_both_configurations_taken_and_live_and_workers() {
    assert_eq!(ready(&stats(1, 1, 0, 1)), Ok(()));
    let config = |cds, lds| Err(NotReady::Config { cds, cds_rejected: 3, lds, lds_rejected: 0 });
    assert_eq!(ready(&stats(0, 1, 0, 1)), config(0, 1));
    assert_eq!(ready(&stats(1, 0, 0, 1)), config(1, 0));
    assert_eq!(ready(&stats(1, 1, 1, 1)), Err(NotReady::State("DRAINING")));
    assert_eq!(ready(&stats(1, 1, 3, 1)), Err(NotReady::State("INITIALIZING")));
    assert_eq!(ready(&stats(1, 1, 0, 0)), Err(NotReady::Workers));
    assert!(ready("").is_err());
}

#[test]
fn connections_of_the_mesh_are_counted_once_and_others_not() {
    let stats = "http.admin.downstream_cx_active: 1\nlistener.0.0.0.0_15006.downstream_cx_active: 2\n\
        listener.0.0.0.0_15006.worker_0.downstream_cx_active: 2\nlistener.agent.downstream_cx_active: 4\n\
        listener.stats.downstream_cx_active: 8\nlistener.admin.downstream_cx_active: 16\n\
        listener.10.0.0.1_80.downstream_cx_active: 32\nlistener.10.0.0.1_80.downstream_cx_total: 64\n";
    assert_eq!(active_connections(stats), 34);
}

#[test]
fn parts_are_one_page_in_their_order_without_an_end_in_the_middle() {
    assert_eq!(merge(["a 1\n# EOF\n", "b 2", "c 3\n# EOF"]), "a 1\nb 2\nc 3\n");
    assert_eq!(merge([]), "");
}

fn target(port: u16, path: &str) -> Target {
    Target { port, path: path.to_owned() }
}

#[test]
fn the_workload_s_targets_are_what_its_annotations_said() {
    let of = |variable: &str| targets(Some(variable), None);
    assert_eq!(of(""), Ok(vec![]));
    assert_eq!(of(r#"{"scrape":"false","port":"1"}"#), Ok(vec![]));
    assert_eq!(of(r#"{"scrape":"true"}"#), Ok(vec![target(80, "/metrics")]));
    assert_eq!(
        of(r#"{"scrape":"true","path":"stats?a=b","port":"9090"}"#),
        Ok(vec![target(9090, "/stats?a=b")])
    );
    let several = r#"{"scrape":"true","targets":["1:/a",{"port":2,"path":"b"}]}"#;
    assert_eq!(of(several), Ok(vec![target(1, "/a"), target(2, "/b")]));
    assert_eq!(targets(None, Some("1:/a, 2")), Ok(vec![target(1, "/a"), target(2, "/metrics")]));
    for wrong in [
        "no",
        r#"{"scrape":"true","port":"0"}"#,
        r#"{"scrape":"true","port":"x"}"#,
        r#"{"scrape":"true","path":"a b"}"#,
    ] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    let many = (1..=17).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    assert!(targets(None, Some(&many)).is_err());
}

#[test]
fn a_scraper_gets_what_there_is_before_it_goes() {
    assert_eq!(limit(None), USUAL_TIMEOUT);
    assert_eq!(limit(Some("10")), Duration::from_secs(9));
    assert!(limit(Some("1e9")) <= LONGEST_TIMEOUT);
    for wrong in ["", "-1", "NaN", "inf", "0"] {
        assert_eq!(limit(Some(wrong)), USUAL_TIMEOUT, "{wrong}");
    }
}

#[test]
fn the_workload_s_probes_are_read_as_injection_writes_them() {
    use super::probe::{Probe, What, read};
    let text = r#"{
        "/app-health/app/readyz": {"httpGet": {"path": "ready", "port": 8080, "scheme": "HTTPS", "httpHeaders": [{"name": "a", "value": "b"}]}, "timeoutSeconds": 3},
        "/app-health/app/livez": {"tcpSocket": {"port": "9000", "host": "db"}},
        "/app-health/app/startupz": {"grpc": {"port": 7000, "service": null}}
    }"#;
    let probes = read(text).unwrap();
    let headers = vec![("a".to_owned(), "b".to_owned())];
    let http = What::Http { path: "/ready".to_owned(), headers, tls: true };
    let seconds = Duration::from_secs;
    assert_eq!(
        probes["/app-health/app/readyz"],
        Probe { what: http, host: None, port: 8080, limit: seconds(3) }
    );
    let tcp = Probe { what: What::Tcp, host: Some("db".to_owned()), port: 9000, limit: seconds(1) };
    assert_eq!(probes["/app-health/app/livez"], tcp);
    let grpc = What::Grpc { service: String::new() };
    assert_eq!(
        probes["/app-health/app/startupz"],
        Probe { what: grpc, host: None, port: 7000, limit: seconds(1) }
    );
    for wrong in [
        "no",
        r#"{"/a": {}}"#,
        r#"{"/a": {"tcpSocket": {"port": 0}}}"#,
        r#"{"/a": {"httpGet": {"port": 1, "scheme": "FTP"}}}"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn nothing_that_others_write_breaks_these(text in ".*", other in ".*") {
        drop(ready(&text));
        let _count = active_connections(&text);
        drop(targets(Some(&text), Some(&other)));
        drop(super::probe::read(&text));
        let limit = limit(Some(&text));
        prop_assert!(limit <= LONGEST_TIMEOUT);
        prop_assert!(!merge([text.as_str(), other.as_str()]).contains("# EOF\n\n"));
    }
}
