//! By whose identity and with what TLS: what the sender's side does, and what the receiver's asks for.

use serde_json::json;

use super::{configuration, get, http, seen, sent};
use crate::{Action, Cause, Destination, EndpointWay, Mode, Request, Seen, TlsOffer, arrive, mode};

const UPSTREAM: &str = "
routes: [{name: '80', virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: c}}]}]}]
clusters:
- name: c
  type: EDS
  eds_cluster_config: {eds_config: {ads: {}}}
  transport_socket_matches:
  - name: tlsMode-istio
    match: {tlsMode: istio}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: outbound_.80_._.reviews
        common_tls_context:
          alpn_protocols: [istio, h2]
          tls_params: {tls_minimum_protocol_version: TLSv1_2}
          tls_certificate_sds_secret_configs: [{name: default}]
          combined_validation_context:
            default_validation_context:
              match_typed_subject_alt_names:
              - {san_type: URI, matcher: {exact: spiffe://cluster.local/ns/shop/sa/reviews}}
            validation_context_sds_secret_config: {name: ROOTCA}
  - name: tlsMode-disabled
    match: {}
    transport_socket: {name: envoy.transport_sockets.raw_buffer}
endpoints:
- cluster_name: c
  endpoints:
  - lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}
      metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}}}
    - endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 80}}}
  - metadata: {filter_metadata: {envoy.transport_socket_match: {tlsMode: istio}}}
    lb_endpoints:
    - endpoint: {address: {socket_address: {address: 10.0.0.3, port_value: 80}}}
";

fn endpoints() -> Vec<EndpointWay> {
    let way = sent(UPSTREAM, &get("a", "/"));
    match &http(&way).route.as_ref().unwrap().action {
        Action::Forward(forward) => forward.destinations[0].cluster.endpoints.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_endpoint_is_spoken_to_as_its_labels_say() {
    let endpoints = endpoints();
    let matches: Vec<Option<&str>> =
        endpoints.iter().map(|endpoint| endpoint.socket_match.as_deref()).collect();
    assert_eq!(matches, [Some("tlsMode-istio"), Some("tlsMode-disabled"), Some("tlsMode-istio")]);
    let expected = json!({
        "kind": "tls", "server_name": "outbound_.80_._.reviews", "certificates": ["default"], "roots": ["ROOTCA"],
        "accepts": [{"san": "uri", "how": "exact", "value": "spiffe://cluster.local/ns/shop/sa/reviews"}],
        "application_protocols": ["istio", "h2"], "minimum_version": "1.2", "maximum_version": null,
        "cipher_suites": [],
    });
    assert_eq!(serde_json::to_value(&endpoints[0].socket).unwrap(), expected);
    assert!(endpoints[0].socket.is_mutual() && !endpoints[1].socket.is_mutual());
    let offer = endpoints[0].socket.offer(Some("spiffe://x")).unwrap();
    assert_eq!((offer.identity.as_deref(), offer.protocols.len()), (Some("spiffe://x"), 2));
    assert_eq!(endpoints[1].socket.offer(Some("spiffe://x")), None);
}

/// A sidecar's inbound listener with these chains of port 80, each a match and whether it ends mutual TLS.
fn inbound(chains: &[(&str, bool)]) -> crate::Configuration {
    let tls = "transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, common_tls_context: {tls_certificate_sds_secret_configs: [{name: default}], combined_validation_context: {default_validation_context: {match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: 'spiffe://cluster.local/'}}]}, validation_context_sds_secret_config: {name: ROOTCA}}}}}, ";
    let chains: Vec<String> = chains
        .iter()
        .map(|(matching, mutual)| {
            let tls = if *mutual { tls } else { "" };
            format!("  - {{filter_chain_match: {{destination_port: 80, {matching}}}, {tls}filters: [{{name: tcp, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: app}}}}]}}\n")
        })
        .collect();
    configuration(&format!(
        "
listeners:
- name: virtualInbound
  address: {{socket_address: {{address: 0.0.0.0, port_value: 15006}}}}
  traffic_direction: INBOUND
  listener_filters: [{{name: envoy.filters.listener.original_dst}}, {{name: envoy.filters.listener.tls_inspector}}, {{name: envoy.filters.listener.http_inspector}}]
  filter_chains:
{}
clusters: [{{name: app, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}}]
",
        chains.concat()
    ))
}

const MUTUAL: (&str, bool) = ("transport_protocol: tls, application_protocols: [istio]", true);
const PLAIN: (&str, bool) = ("transport_protocol: raw_buffer", false);
/// The application's own TLS.
const ITS_OWN: (&str, bool) = ("transport_protocol: tls", false);
const STRICT: (&str, bool) = ("transport_protocol: tls", true);

fn at(port: u16) -> Destination {
    Destination { address: Some([10, 0, 0, 1].into()), port }
}

#[test]
fn the_mode_of_a_port_is_read_from_its_chains() {
    for (chains, expected) in [
        (&[MUTUAL, PLAIN, ITS_OWN][..], Mode::Permissive),
        (&[STRICT], Mode::Strict),
        (&[MUTUAL, STRICT], Mode::Strict),
        (&[PLAIN], Mode::Disable),
        (&[("", false)], Mode::Disable),
        (&[ITS_OWN], Mode::Closed),
    ] {
        assert_eq!(mode(&inbound(chains), at(80)).unwrap(), Some(expected), "{chains:?}");
    }
    assert_eq!(mode(&inbound(&[STRICT]), at(81)).unwrap(), Some(Mode::Closed), "no chain is for that port");
    assert_eq!(mode(&configuration("listeners: []"), at(80)).unwrap(), None);
}

fn arriving(chains: &[(&str, bool)], identity: Option<Option<&str>>) -> Seen {
    let tls = identity.map(|identity| TlsOffer {
        server_name: None,
        protocols: vec!["istio".to_owned()],
        identity: identity.map(str::to_owned),
    });
    let request = Request { tls, ..Request::new("GET", "a", "/", at(80)) };
    arrive(&inbound(chains), &request).unwrap().seen[0].seen.clone()
}

#[test]
fn a_caller_gets_in_or_is_refused_by_what_it_can_show() {
    let app = Seen::Endpoint { cluster: "app".to_owned() };
    let closed = |flags, cause| Seen::Closed { flags, cause };
    let known = Some(Some("spiffe://cluster.local/ns/shop/sa/cart"));
    for (chains, identity, expected) in [
        (&[MUTUAL, PLAIN][..], known, app.clone()),
        (&[MUTUAL, PLAIN], None, app.clone()),
        (&[STRICT], known, app.clone()),
        (&[STRICT], None, closed("NR", Cause::NoFilterChain)),
        (&[STRICT], Some(None), closed("-", Cause::NoClientCertificate)),
        (&[STRICT], Some(Some("spiffe://other/ns/shop/sa/cart")), closed("-", Cause::ClientNotAccepted)),
        (&[PLAIN], known, closed("NR", Cause::NoFilterChain)),
        (&[PLAIN, ("", true)], None, app),
    ] {
        assert_eq!(arriving(chains, identity), expected, "{chains:?} {identity:?}");
    }
}

#[test]
fn what_arrives_goes_on_to_the_application() {
    let request = Request::new("GET", "a", "/", at(80));
    let way = arrive(&inbound(&[PLAIN]), &request).unwrap();
    assert_eq!(seen(&way), json!([{"share": 100.0, "seen": "endpoint", "cluster": "app"}]));
}
