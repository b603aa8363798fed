//! Services that meet at one address and port.

use super::{Bench, not_redirected, redirected, service, shape};

/// Names are in the order of age: without creation times the first by name is the oldest.
fn at_port_9000(services: &[(&str, &str)]) -> Vec<String> {
    let yaml: String = services
        .iter()
        .map(|(name, port_name)| service(name, None, &format!("{{name: {port_name}, port: 9000}}")))
        .collect();
    shape(&Bench::of(&yaml).outbound(redirected())["0.0.0.0_9000"])
}

const A: &str = "outbound|9000||a.default.svc.cluster.local";
const B: &str = "outbound|9000||b.default.svc.cluster.local";
const HTTP: &str = "http/1.1,h2c,raw_buffer ~> 9000";

#[test]
fn http_and_tcp_are_told_apart_whichever_is_older() {
    assert_eq!(at_port_9000(&[("a", "http"), ("b", "tcp")]), [HTTP.to_owned(), format!("else -> {B}")]);
    assert_eq!(at_port_9000(&[("a", "tcp"), ("b", "http")]), [HTTP.to_owned(), format!("else -> {A}")]);
}

#[test]
fn of_two_tcp_services_the_oldest_is_served() {
    assert_eq!(at_port_9000(&[("b", "tcp"), ("a", "tcp")]), [format!("any -> {A}")]);
}

#[test]
fn creation_time_counts_before_the_name() {
    let with_time = |name: &str, time: &str| {
        service(name, None, "{name: tcp, port: 9000}")
            .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, creationTimestamp: '{time}'}}"))
    };
    let yaml = [with_time("a", "2026-02-01T00:00:00Z"), with_time("b", "2026-01-01T00:00:00Z")].concat();
    assert_eq!(shape(&Bench::of(&yaml).outbound(redirected())["0.0.0.0_9000"]), [format!("any -> {B}")]);
}

#[test]
fn an_undeclared_service_adds_what_a_declared_one_lacks() {
    let both = |cluster: &str| vec![HTTP.to_owned(), format!("else -> {cluster}")];
    assert_eq!(at_port_9000(&[("a", "http"), ("b", "other")]), both(B));
    assert_eq!(at_port_9000(&[("a", "other"), ("b", "http")]), both(A));
    assert_eq!(at_port_9000(&[("a", "tcp"), ("b", "other")]), both(A));
    assert_eq!(at_port_9000(&[("a", "other"), ("b", "tcp")]), both(A));
    assert_eq!(at_port_9000(&[("a", "other"), ("b", "other")]), both(A));
}

#[test]
fn a_server_that_speaks_first_shares_its_port_with_its_kind_only() {
    assert_eq!(at_port_9000(&[("a", "mysql"), ("b", "http")]), [format!("any -> {A}")]);
    assert_eq!(at_port_9000(&[("a", "http"), ("b", "mongo")]), [HTTP, "else -> PassthroughCluster"]);
    assert_eq!(
        at_port_9000(&[("a", "tcp"), ("b", "mysql"), ("c", "http")]),
        [HTTP.to_owned(), format!("else -> {A}")]
    );
}

#[test]
fn tls_by_name_stands_beside_http_and_tcp() {
    assert_eq!(
        at_port_9000(&[("a", "tls"), ("b", "tcp"), ("c", "http")]),
        [HTTP.to_owned(), format!("a.default.svc.cluster.local -> {A}"), format!("else -> {B}")]
    );
}

#[test]
fn without_redirection_what_has_no_name_in_its_tls_is_the_oldest_tls_service() {
    let tls = "{name: tls, port: 9000}";
    let bench =
        Bench::of(&[service("a", Some("10.96.0.1"), tls), service("b", Some("10.96.0.2"), tls)].concat());
    assert_eq!(
        shape(&bench.outbound(not_redirected())["127.0.0.1_9000"]),
        [
            format!("a.default.svc.cluster.local -> {A}"),
            format!("b.default.svc.cluster.local -> {B}"),
            format!("else -> {A}"),
        ]
    );
}

#[test]
fn without_redirection_the_oldest_of_two_tcp_services_is_served() {
    let tcp = "{name: tcp, port: 9000}";
    let bench =
        Bench::of(&[service("b", Some("10.96.0.2"), tcp), service("a", Some("10.96.0.1"), tcp)].concat());
    assert_eq!(shape(&bench.outbound(not_redirected())["127.0.0.1_9000"]), [format!("any -> {A}")]);
}

#[test]
fn the_same_port_at_two_addresses_is_no_conflict() {
    let tcp = "{name: tcp, port: 9000}";
    let bench =
        Bench::of(&[service("a", Some("10.96.0.1"), tcp), service("b", Some("10.96.0.2"), tcp)].concat());
    let listeners = bench.outbound(redirected());
    assert_eq!(shape(&listeners["10.96.0.1_9000"]), [format!("any -> {A}")]);
    assert_eq!(shape(&listeners["10.96.0.2_9000"]), [format!("any -> {B}")]);
}
