//! Each kind of outbound listener by itself.

use meltemi_model::proxy::IpFamily;
use serde_json::json;

use super::super::ListenersKey;
use super::{Bench, goes, json, listener_filters, needs, not_redirected, redirected, service, shape};

const HTTP: &str = "{name: http, port: 80}";

#[test]
fn all_http_services_of_a_port_share_one_listener_that_sniffs() {
    let bench = Bench::of(&[service("a", Some("10.96.0.1"), HTTP), service("b", None, HTTP)].concat());
    let listeners = bench.outbound(redirected());
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["0.0.0.0_80", "virtualOutbound"]);
    let http = &listeners["0.0.0.0_80"];
    assert_eq!(shape(http), ["http/1.1,h2c,raw_buffer ~> 80", "else -> PassthroughCluster"]);
    assert_eq!(listener_filters(http), ["http_inspector"]);
    assert_eq!(needs(http), ["CDS PassthroughCluster", "RDS 80"]);
    assert!(http.origin().is_empty());
    let message = json(http);
    assert_eq!(message["address"], json!({"socket_address": {"address": "0.0.0.0", "port_value": 80}}));
    assert_eq!(message["bind_to_port"], json!(false));
    assert_eq!(message["traffic_direction"], json!("OUTBOUND"));
    assert_eq!(message["continue_on_listener_filters_timeout"], json!(true));
    assert_eq!(message["listener_filters_timeout"], json!("0s"));
    assert_eq!(message["default_filter_chain"]["name"], json!("PassthroughFilterChain"));
    assert_eq!(message["filter_chains"][0]["transport_socket_connect_timeout"], json!("15s"));
    assert_eq!(message.get("max_connections_to_accept_per_socket_event"), None);
}

#[test]
fn the_http_manager_is_as_istios() {
    let bench = Bench::of(&service("a", None, HTTP));
    let message = json(&bench.outbound(redirected())["0.0.0.0_80"]);
    let filter = &message["filter_chains"][0]["filters"][0];
    assert_eq!(filter["name"], json!("envoy.filters.network.http_connection_manager"));
    let manager = &filter["typed_config"];
    assert_eq!(manager["stat_prefix"], json!("outbound_0.0.0.0_80;"));
    assert_eq!(
        manager["rds"],
        json!({
            "route_config_name": "80",
            "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        })
    );
    assert_eq!(manager["use_remote_address"], json!(false));
    assert_eq!(manager["normalize_path"], json!(true));
    assert_eq!(manager["path_with_escaped_slashes_action"], json!("KEEP_UNCHANGED"));
    assert_eq!(manager["stream_idle_timeout"], json!("0s"));
    assert_eq!(manager["upgrade_configs"], json!([{"upgrade_type": "websocket"}]));
    assert_eq!(manager["proxy_100_continue"], json!(true));
    assert_eq!(
        manager["request_id_extension"]["typed_config"],
        json!({
            "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
            "use_request_id_for_trace_sampling": true,
        })
    );
    for absent in ["server_name", "access_log", "forward_client_cert_details", "http_protocol_options"] {
        assert_eq!(manager.get(absent), None, "{absent}");
    }
    let filters: Vec<_> =
        manager["http_filters"].as_array().unwrap().iter().map(|filter| filter["name"].clone()).collect();
    assert_eq!(
        filters,
        [
            "envoy.filters.http.grpc_stats",
            "envoy.filters.http.fault",
            "envoy.filters.http.cors",
            "envoy.filters.http.router"
        ]
    );
    assert_eq!(
        manager["http_filters"][0]["typed_config"],
        json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
            "emit_filter_state": true,
            "stats_for_all_methods": false,
        })
    );
}

#[test]
fn grpc_web_is_translated_only_where_a_service_declares_it() {
    let bench =
        Bench::of(&[service("a", None, HTTP), service("w", None, "{name: grpc-web, port: 81}")].concat());
    let listeners = bench.outbound(redirected());
    let first_filter = |name: &str| {
        let message = json(&listeners[name]);
        message["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]["name"].clone()
    };
    assert_eq!(first_filter("0.0.0.0_80"), json!("envoy.filters.http.grpc_stats"));
    assert_eq!(first_filter("0.0.0.0_81"), json!("envoy.filters.http.grpc_web"));
}

#[test]
fn http_1_0_is_taken_from_proxies_that_ask_for_it() {
    let bench = Bench::of(&service("a", None, HTTP));
    let http = &bench.outbound(ListenersKey { http10: true, ..redirected() })["0.0.0.0_80"];
    assert_eq!(shape(http)[0], "http/1.1,h2c,http/1.0,raw_buffer ~> 80");
    let message = json(http);
    let manager = &message["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["http_protocol_options"], json!({"accept_http_10": true}));
}

#[test]
fn a_tcp_service_is_listened_for_at_its_own_address() {
    let bench = Bench::of(&service("db", Some("10.96.0.7"), "{name: tcp-db, port: 5432}"));
    let listeners = bench.outbound(redirected());
    let tcp = &listeners["10.96.0.7_5432"];
    let cluster = "outbound|5432||db.default.svc.cluster.local";
    assert_eq!(shape(tcp), [format!("any -> {cluster}")]);
    assert_eq!(needs(tcp), [format!("CDS {cluster}")]);
    assert!(listener_filters(tcp).is_empty());
    assert_eq!(format!("{:?}", tcp.origin()), "[Service default/db]");
    let message = json(tcp);
    assert_eq!(message["filter_chains"][0].get("filter_chain_match"), None);
    assert_eq!(
        message["filter_chains"][0]["filters"][0],
        json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": cluster,
                "cluster": cluster,
            },
        })
    );
}

#[test]
fn a_service_without_an_address_is_listened_for_at_every_address() {
    let bench = Bench::of(&service("db", None, "{name: tcp-db, port: 5432}"));
    assert_eq!(
        shape(&bench.outbound(redirected())["0.0.0.0_5432"]),
        ["any -> outbound|5432||db.default.svc.cluster.local"]
    );
}

#[test]
fn tls_of_the_application_is_told_by_its_name_only_where_the_address_does_not_tell() {
    let tls = "{name: https, port: 443}";
    let bench = Bench::of(
        &[service("own", Some("10.96.0.8"), tls), service("x", None, tls), service("y", None, tls)].concat(),
    );
    let listeners = bench.outbound(redirected());
    assert_eq!(shape(&listeners["10.96.0.8_443"]), ["any -> outbound|443||own.default.svc.cluster.local"]);
    let wildcard = &listeners["0.0.0.0_443"];
    assert_eq!(
        shape(wildcard),
        [
            "x.default.svc.cluster.local -> outbound|443||x.default.svc.cluster.local",
            "y.default.svc.cluster.local -> outbound|443||y.default.svc.cluster.local",
            "else -> PassthroughCluster",
        ]
    );
    assert_eq!(listener_filters(wildcard), ["tls_inspector"]);
    let message = json(wildcard);
    assert_eq!(message["listener_filters"][0]["typed_config"]["initial_read_buffer_size"], json!(512));
}

#[test]
fn an_undeclared_port_at_its_own_address_has_its_own_route() {
    let bench = Bench::of(&service("a", Some("10.96.0.9"), "{port: 8080}"));
    let sniffed = &bench.outbound(redirected())["10.96.0.9_8080"];
    assert_eq!(
        shape(sniffed),
        [
            "http/1.1,h2c,raw_buffer ~> a.default.svc.cluster.local:8080",
            "else -> outbound|8080||a.default.svc.cluster.local",
        ]
    );
    assert_eq!(listener_filters(sniffed), ["http_inspector"]);
    assert_eq!(
        needs(sniffed),
        ["CDS outbound|8080||a.default.svc.cluster.local", "RDS a.default.svc.cluster.local:8080"]
    );
    let message = json(sniffed);
    let manager = &message["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["stat_prefix"], json!("outbound_10.96.0.9_8080;"));
}

#[test]
fn what_has_no_listener_goes_where_it_wanted_to_but_never_to_the_proxy_itself() {
    let bench = Bench::of("");
    let listeners = bench.outbound(redirected());
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["virtualOutbound"]);
    let message = json(&listeners["virtualOutbound"]);
    assert_eq!(message["address"], json!({"socket_address": {"address": "0.0.0.0", "port_value": 15001}}));
    assert_eq!(message["use_original_dst"], json!(true));
    assert_eq!(message.get("bind_to_port"), None);
    let chains = message["filter_chains"].as_array().unwrap();
    assert_eq!(chains[0]["name"], json!("virtualOutbound-blackhole"));
    assert_eq!(chains[0]["filter_chain_match"], json!({"destination_port": 15001}));
    assert_eq!(goes(&chains[0]), "-> BlackHoleCluster");
    assert_eq!(chains[1]["name"], json!("virtualOutbound-catchall-tcp"));
    assert_eq!(chains[1].get("filter_chain_match"), None);
    assert_eq!(goes(&chains[1]), "-> PassthroughCluster");
    assert_eq!(chains.len(), 2);
}

#[test]
fn without_redirection_every_service_is_at_the_loopback_address() {
    let services = [
        service("a", Some("10.96.0.1"), HTTP),
        service("b", Some("10.96.0.2"), "{port: 8080}"),
        service("db", Some("10.96.0.3"), "{name: tcp, port: 5432}"),
    ];
    let listeners = Bench::of(&services.concat()).outbound(not_redirected());
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["127.0.0.1_5432", "127.0.0.1_80", "127.0.0.1_8080"]);
    assert_eq!(shape(&listeners["127.0.0.1_80"]), ["any ~> 80"]);
    assert!(listener_filters(&listeners["127.0.0.1_80"]).is_empty());
    assert_eq!(
        shape(&listeners["127.0.0.1_8080"]),
        ["http/1.1,h2c,raw_buffer ~> 8080", "else -> outbound|8080||b.default.svc.cluster.local"]
    );
    assert_eq!(shape(&listeners["127.0.0.1_5432"]), ["any -> outbound|5432||db.default.svc.cluster.local"]);
    let message = json(&listeners["127.0.0.1_80"]);
    assert_eq!(message["address"], json!({"socket_address": {"address": "127.0.0.1", "port_value": 80}}));
    assert_eq!(message.get("bind_to_port"), None);
    assert_eq!(message["max_connections_to_accept_per_socket_event"], json!(1));
}

#[test]
fn only_addresses_of_the_proxys_family_are_listened_at() {
    let both = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec:\n  clusterIPs: [10.96.0.1, 'fd00::1']\n  ports: [{name: tcp, port: 5432}]\n";
    let bench = Bench::of(&[both, &service("a", None, HTTP)].concat());
    let names =
        |family| bench.outbound(ListenersKey { family, ..redirected() }).into_keys().collect::<Vec<_>>();
    assert_eq!(names(IpFamily::V4), ["0.0.0.0_80", "10.96.0.1_5432", "virtualOutbound"]);
    assert_eq!(names(IpFamily::V6), ["::_80", "fd00::1_5432", "virtualOutbound"]);
    assert_eq!(names(IpFamily::Dual), ["0.0.0.0_80", "10.96.0.1_5432", "fd00::1_5432", "virtualOutbound"]);
    let dual = bench.outbound(ListenersKey { family: IpFamily::Dual, ..redirected() });
    assert_eq!(
        json(&dual["0.0.0.0_80"])["additional_addresses"],
        json!([{"address": {"socket_address": {"address": "::", "port_value": 80}}}])
    );
}

#[test]
fn ports_of_the_proxy_itself_are_left_to_it() {
    let ports = "{name: http-a, port: 15001}, {name: http-b, port: 15006}, {name: http-c, port: 15021}, {name: http-d, port: 15090}, {name: http-e, port: 15022}";
    let listeners = Bench::of(&service("a", None, ports)).outbound(redirected());
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["0.0.0.0_15022", "virtualOutbound"]);
}

/// A slice of the service `name` in `default`.
fn slice(name: &str, addresses: &str, port_name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: [{{addresses: [{addresses}]}}]\nports: [{{name: '{port_name}', port: {port}}}]\n"
    )
}

#[test]
fn a_headless_service_is_listened_for_at_each_endpoint() {
    let mesh = [
        service("db", Some("None"), "{name: tcp, port: 5432}"),
        slice("db", "10.0.0.1, 10.0.0.2", "tcp", 5432),
        service("any", Some("None"), "{port: 7000}"),
        slice("any", "10.0.0.2", "", 7000),
        service("web", Some("None"), HTTP),
        slice("web", "10.0.0.3", "http", 80),
    ];
    let listeners = Bench::of(&mesh.concat()).outbound(redirected());
    let names: Vec<_> = listeners.keys().collect();
    assert_eq!(names, ["0.0.0.0_80", "10.0.0.1_5432", "10.0.0.2_5432", "10.0.0.2_7000", "virtualOutbound"]);
    let cluster = "outbound|5432||db.default.svc.cluster.local";
    assert_eq!(shape(&listeners["10.0.0.1_5432"]), [format!("any -> {cluster}")]);
    assert_eq!(
        shape(&listeners["10.0.0.2_7000"]),
        [
            "http/1.1,h2c,raw_buffer ~> any.default.svc.cluster.local:7000",
            "else -> outbound|7000||any.default.svc.cluster.local",
        ]
    );
}

#[test]
fn of_two_headless_services_of_one_pod_the_oldest_is_served() {
    let tcp = "{name: tcp, port: 5432}";
    let mesh = [
        service("b", Some("None"), tcp),
        slice("b", "10.0.0.1", "tcp", 5432),
        service("a", Some("None"), tcp),
        slice("a", "10.0.0.1", "tcp", 5432),
    ];
    let listeners = Bench::of(&mesh.concat()).outbound(redirected());
    assert_eq!(shape(&listeners["10.0.0.1_5432"]), ["any -> outbound|5432||a.default.svc.cluster.local"]);
}

#[test]
fn without_redirection_a_headless_service_is_at_the_loopback_address() {
    let mesh = [service("db", Some("None"), "{name: tcp, port: 5432}"), slice("db", "10.0.0.1", "tcp", 5432)];
    let listeners = Bench::of(&mesh.concat()).outbound(not_redirected());
    assert_eq!(listeners.keys().collect::<Vec<_>>(), ["127.0.0.1_5432"]);
}

#[test]
fn a_callers_rules_decide_how_long_its_connections_live() {
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: db}\nspec:\n  host: db\n  exportTo: ['.']\n  trafficPolicy:\n    connectionPool: {tcp: {idleTimeout: 90s, maxConnectionDuration: 1h}}\n    loadBalancer: {consistentHash: {useSourceIp: true}}\n";
    let bench = Bench::of(&[&service("db", Some("10.96.0.1"), "{name: tcp, port: 5432}"), rule].concat());
    let proxy = |namespace: &str| {
        let key = ListenersKey { namespace: namespace.into(), ..redirected() };
        json(&bench.outbound(key)["10.96.0.1_5432"])["filter_chains"][0]["filters"][0]["typed_config"].clone()
    };
    let (own, other) = (proxy("default"), proxy("other"));
    assert_eq!(own["idle_timeout"], json!("90s"));
    assert_eq!(own["max_downstream_connection_duration"], json!("3600s"));
    assert_eq!(own["hash_policy"], json!([{"source_ip": {}}]));
    for absent in ["idle_timeout", "max_downstream_connection_duration", "hash_policy"] {
        assert_eq!(other.get(absent), None, "{absent}");
    }
}

#[test]
fn a_proxy_that_asks_for_a_log_logs_where_the_mesh_does_not_say_how() {
    let path = |key: ListenersKey, settings: &str| {
        let bench = Bench::of(&[service("a", None, HTTP), settings.to_owned()].concat());
        let listener = json(&bench.outbound(key)["0.0.0.0_80"]);
        let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
        manager["access_log"][0]["typed_config"]["path"].as_str().map(str::to_owned)
    };
    let asking = || ListenersKey { access_log: true, ..redirected() };
    let file = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'accessLogFile: /tmp/log'}}\n";
    assert_eq!(path(redirected(), ""), None);
    assert_eq!(path(asking(), "").as_deref(), Some("/dev/stdout"));
    assert_eq!(path(asking(), file).as_deref(), Some("/tmp/log"));
}
