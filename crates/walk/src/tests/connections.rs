//! Listeners and filter chains.

use serde_json::json;

use super::{configuration, seen};
use crate::{Configuration, Destination, Found, Handling, Request, TlsOffer, Way, walk};

/// As a sidecar has them: redirected connections arrive at one listener, and are handed over.
const REDIRECTED: &str = "
listeners:
- name: virtualOutbound
  address: {socket_address: {address: 0.0.0.0, port_value: 15001}}
  use_original_dst: true
  traffic_direction: OUTBOUND
  filter_chains:
  - name: to-itself
    filter_chain_match: {destination_port: 15001}
    filters: [{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: hole}}]
  - name: rest
    filters: [{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: through}}]
- name: 0.0.0.0_80
  address: {socket_address: {address: 0.0.0.0, port_value: 80}}
  bind_to_port: false
  filter_chains: [{filters: [{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: of-port}}]}]
- name: 10.0.0.5_80
  address: {socket_address: {address: 10.0.0.5, port_value: 80}}
  bind_to_port: false
  filter_chains: [{filters: [{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, weighted_clusters: {clusters: [{name: hole, weight: 1}, {name: through, weight: 3}]}}}]}]
clusters:
- {name: hole, type: STATIC}
- {name: through, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}
- {name: of-port, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}
";

fn to(configuration: &Configuration, address: Option<&str>, port: u16) -> Way {
    let destination = Destination { address: address.map(|address| address.parse().unwrap()), port };
    walk(configuration, &Request { http: false, ..Request::new("GET", "a", "/", destination) }).unwrap()
}

#[test]
fn a_connection_is_handed_to_the_listener_of_its_destination() {
    let sidecar = configuration(REDIRECTED);
    for (address, port, name, found, chain) in [
        (Some("10.0.0.5"), 80, "10.0.0.5_80", Found::Address, ""),
        (Some("10.0.0.6"), 80, "0.0.0.0_80", Found::Port, ""),
        (None, 80, "0.0.0.0_80", Found::Port, ""),
        (Some("2001:db8::1"), 80, "virtualOutbound", Found::Rest, "rest"),
        (Some("10.0.0.5"), 81, "virtualOutbound", Found::Rest, "rest"),
        (Some("10.0.0.5"), 15_001, "virtualOutbound", Found::Rest, "to-itself"),
    ] {
        let way = to(&sidecar, address, port);
        let listener = way.listener.as_ref().unwrap();
        assert_eq!((listener.name.as_str(), listener.found), (name, found), "{address:?}:{port}");
        assert_eq!(way.chain.as_ref().unwrap().name, chain, "{address:?}:{port}");
        let by = (name != "virtualOutbound").then(|| "virtualOutbound".to_owned());
        assert_eq!(listener.handed_over_by, by);
    }
}

#[test]
fn what_is_sent_on_as_it_is_goes_where_the_client_wanted_or_by_weights() {
    let sidecar = configuration(REDIRECTED);
    let way = to(&sidecar, Some("192.0.2.1"), 81);
    let Some(Handling::Tcp(tcp)) = &way.handling else { panic!("{way:?}") };
    assert_eq!(tcp.destinations[0].cluster.endpoints[0].address, "192.0.2.1:81");
    assert_eq!(tcp.idle_timeout_ms, Some(3_600_000));
    let expected = json!([
        {"share": 75.0, "seen": "endpoint", "cluster": "through"},
        {"share": 25.0, "seen": "closed", "flags": "UH", "cause": "no_endpoint"},
    ]);
    assert_eq!(seen(&to(&sidecar, Some("10.0.0.5"), 80)), expected);
}

#[test]
fn without_redirection_only_sockets_take_connections() {
    let bound = configuration(
        "
listeners:
- name: bound
  address: {socket_address: {address: 127.0.0.1, port_value: 80}}
  filter_chains: [{filters: [{name: tcp, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: through}}]}]
- {name: unbound, address: {socket_address: {address: 127.0.0.1, port_value: 81}}, bind_to_port: false}
clusters:
- {name: through, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}
",
    );
    let way = to(&bound, Some("127.0.0.1"), 80);
    assert_eq!(way.listener.as_ref().unwrap().found, Found::OwnSocket);
    assert_eq!(seen(&way)[0]["cause"], "no_endpoint", "nobody knows where the client wanted to go");
    assert_eq!(
        seen(&to(&bound, Some("127.0.0.1"), 81)),
        json!([
            {"share": 100.0, "seen": "closed", "flags": "-", "cause": "no_listener"},
        ])
    );
}

/// The chain that a connection gets of these chains (name and match), with both inspectors on but on port 3306.
fn chain(chains: &str, request: &Request) -> Option<String> {
    let all: Vec<serde_json::Value> = serde_norway::from_str(chains).unwrap();
    let off = json!({"destination_port_range": {"start": 3306, "end": 3307}});
    let listener = json!({"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15001}},
        "use_original_dst": true,
        "listener_filters": [
            {"name": "envoy.filters.listener.tls_inspector", "filter_disabled": off},
            {"name": "envoy.filters.listener.http_inspector", "filter_disabled": off},
        ],
        "filter_chains": all,
    }]});
    let way = walk(&configuration(&listener.to_string()), request).unwrap();
    way.chain.map(|chain| chain.name)
}

fn connection(address: &str, port: u16, tls: Option<(&str, &[&str])>) -> Request {
    let destination = Destination { address: Some(address.parse().unwrap()), port };
    let tls = tls.map(|(name, protocols)| TlsOffer {
        server_name: Some(name.to_owned()),
        protocols: protocols.iter().map(|protocol| (*protocol).to_owned()).collect(),
        identity: None,
    });
    Request { tls, ..Request::new("GET", "a", "/", destination) }
}

#[test]
fn a_chain_is_chosen_by_one_property_after_the_other_without_a_way_back() {
    let chains = "
- {name: any}
- {name: port, filter_chain_match: {destination_port: 443}}
- {name: port-plain, filter_chain_match: {destination_port: 443, transport_protocol: raw_buffer}}
- {name: net, filter_chain_match: {prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}
- {name: subnet, filter_chain_match: {prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]}}
- {name: exact, filter_chain_match: {server_names: [a.example.com]}}
- {name: wild, filter_chain_match: {server_names: ['*.example.com']}}
- {name: wilder, filter_chain_match: {server_names: ['*.com']}}
- {name: http, filter_chain_match: {destination_port: 80, application_protocols: [http/1.1, h2c]}}
- {name: plain, filter_chain_match: {destination_port: 80}}
- {name: istio, filter_chain_match: {destination_port: 9, transport_protocol: tls, application_protocols: [istio]}}
- {name: h2, filter_chain_match: {destination_port: 9, transport_protocol: tls, application_protocols: [h2]}}
- {name: sql, filter_chain_match: {destination_port: 3306, transport_protocol: tls}}
- {name: sql-bytes, filter_chain_match: {destination_port: 3306}}
";
    for (request, expected) in [
        (connection("192.0.2.1", 8, None), Some("any")),
        (connection("192.0.2.1", 443, None), Some("port-plain")),
        (connection("192.0.2.1", 443, Some(("a.example.com", &[]))), Some("port")),
        (connection("10.2.0.1", 8, None), Some("net")),
        (connection("10.1.0.1", 8, None), Some("subnet")),
        (connection("192.0.2.1", 8, Some(("a.example.com", &[]))), Some("exact")),
        (connection("192.0.2.1", 8, Some(("b.example.com", &[]))), Some("wild")),
        (connection("192.0.2.1", 8, Some(("b.com", &[]))), Some("wilder")),
        (connection("192.0.2.1", 8, Some(("b.org", &[]))), Some("any")),
        (connection("192.0.2.1", 80, None), Some("http")),
        (Request { http: false, ..connection("192.0.2.1", 80, None) }, Some("plain")),
        (Request { http2: true, ..connection("192.0.2.1", 80, None) }, Some("http")),
        // The client's order of protocols counts.
        (connection("192.0.2.1", 9, Some(("x", &["h2", "istio"]))), Some("h2")),
        (connection("192.0.2.1", 9, Some(("x", &["istio", "h2"]))), Some("istio")),
        // The port's chains are all that count, also where none takes the connection.
        (connection("192.0.2.1", 9, Some(("x", &["http/1.1"]))), None),
        (connection("192.0.2.1", 9, None), None),
        // Nobody looks for TLS there.
        (connection("192.0.2.1", 3306, Some(("x", &[]))), Some("sql-bytes")),
    ] {
        assert_eq!(chain(chains, &request).as_deref(), expected, "{request:?}");
    }
}

#[test]
fn a_tunnel_is_told() {
    let tunnelled = |more: &str| {
        let listeners = REDIRECTED.replacen(
            "cluster: of-port}",
            &format!("cluster: of-port, tunneling_config: {{hostname: 'out.example:443'{more}}}}}"),
            1,
        );
        let way = to(&configuration(&listeners), None, 80);
        let Some(Handling::Tcp(tcp)) = way.handling else { panic!("{:?}", way.handling) };
        let tunnel = tcp.tunnel.unwrap();
        (tunnel.method, tunnel.target)
    };
    assert_eq!(tunnelled(""), ("CONNECT", "out.example:443".to_owned()));
    assert_eq!(tunnelled(", use_post: true"), ("POST", "out.example:443".to_owned()));
}
