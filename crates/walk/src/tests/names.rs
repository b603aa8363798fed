//! Names that the proxy looks up itself, and clients that stay with their endpoint.

use serde_json::json;

use super::{LISTENER, configuration, get, here, http, seen};
use crate::{Action, ClusterWay, Handling, Request, TlsOffer, Way, walk};

const RESOURCES: &str = "
routes:
- name: '80'
  virtual_hosts:
  - name: a
    domains: ['*']
    routes:
    - match: {prefix: /}
      route: {cluster: names}
      typed_per_filter_config:
        envoy.filters.http.stateful_session:
          '@type': type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute
          stateful_session:
            session_state:
              name: envoy.http.stateful_session.cookie
              typed_config:
                '@type': type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
                cookie: {name: cart}
clusters:
- name: names
  lb_policy: CLUSTER_PROVIDED
  cluster_type:
    name: envoy.clusters.dynamic_forward_proxy
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
      dns_cache_config: {name: names}
";

/// The way of a GET by a listener with these filters beside the router.
fn by(filters: &str, host: &str) -> Way {
    let listener = LISTENER.replace(
        "[{name: envoy.filters.http.fault}",
        &format!("[{filters}{{name: envoy.filters.http.fault}}"),
    );
    walk(&configuration(&format!("{listener}{RESOURCES}")), &get(host, "/")).unwrap()
}

fn cluster(way: &Way) -> &ClusterWay {
    match &http(way).route.as_ref().unwrap().action {
        Action::Forward(forward) => &forward.destinations[0].cluster,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_goes_where_its_host_leads_if_a_filter_looks_it_up() {
    for (host, address) in [
        ("a.example.com", "a.example.com:80"),
        ("a.example.com:8080", "a.example.com:8080"),
        ("[::1]", "[::1]:80"),
    ] {
        let way = by("{name: envoy.filters.http.dynamic_forward_proxy}, ", host);
        assert_eq!(cluster(&way).discovery, "dynamic_dns");
        assert_eq!(cluster(&way).endpoints[0].address, address);
        assert_eq!(seen(&way), json!([{"share": 100.0, "seen": "endpoint", "cluster": "names"}]));
        assert!(
            way.unread.iter().all(|unread| !unread.contains("dynamic_forward_proxy")),
            "{:?}",
            way.unread
        );
    }
    let way = by("", "a.example.com");
    assert_eq!(seen(&way)[0]["status"], 503, "nobody looks it up");
}

#[test]
fn a_session_counts_where_the_filter_is() {
    let way = by("{name: envoy.filters.http.stateful_session}, ", "a");
    let session = http(&way).route.as_ref().unwrap().session.clone().unwrap();
    assert_eq!((session.by, session.name.as_str()), ("cookie", "cart"));
    assert_eq!(way.unread, Vec::<String>::new());
    assert_eq!(http(&by("", "a")).route.as_ref().unwrap().session, None);
}

#[test]
fn a_connection_goes_where_the_name_in_its_handshake_leads() {
    let listener = "
listeners:
- name: here
  address: {socket_address: {address: 127.0.0.1, port_value: 80}}
  filter_chains:
  - filters:
    - name: envoy.filters.network.sni_dynamic_forward_proxy
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig
        port_value: 8443
        dns_cache_config: {name: names}
    - name: envoy.filters.network.tcp_proxy
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
        stat_prefix: names
        cluster: names
";
    let offer = TlsOffer { server_name: Some("a.example.com".into()), protocols: Vec::new(), identity: None };
    let request = Request { http: false, tls: Some(offer), ..Request::new("", "", "/", here()) };
    let way = walk(&configuration(&format!("{listener}{RESOURCES}")), &request).unwrap();
    let Some(Handling::Tcp(tcp)) = &way.handling else { panic!("{way:?}") };
    assert_eq!(tcp.destinations[0].cluster.endpoints[0].address, "a.example.com:8443");
    // Who says no name cannot be sent on.
    let request = Request { tls: None, ..request };
    let way = walk(&configuration(&format!("{listener}{RESOURCES}")), &request).unwrap();
    assert_eq!(seen(&way)[0]["seen"], "closed");
}
