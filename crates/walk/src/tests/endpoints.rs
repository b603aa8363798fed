//! Clusters and their endpoints.

use serde_json::{Value, json};

use super::{get, http, sent};
use crate::{Action, ClusterWay};

/// The cluster `c` with these fields beside its name, and that load assignment.
fn cluster(fields: &str, groups: &str) -> ClusterWay {
    let resources = format!(
        "
routes: [{{name: '80', virtual_hosts: [{{name: a, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}]}}]
clusters: [{{name: c, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}{fields}}}]
endpoints: [{{cluster_name: c, endpoints: {groups}}}]
"
    );
    let way = sent(&resources, &get("a", "/"));
    match &http(&way).route.as_ref().unwrap().action {
        Action::Forward(forward) => forward.destinations[0].cluster.clone(),
        other => panic!("{other:?}"),
    }
}

fn endpoint(last: u8, more: &str) -> String {
    format!("{{endpoint: {{address: {{socket_address: {{address: 10.0.0.{last}, port_value: 80}}}}}}{more}}}")
}

fn shares(cluster: &ClusterWay) -> Vec<Value> {
    cluster
        .endpoints
        .iter()
        .map(|endpoint| {
            let share = serde_json::to_value(endpoint.share).unwrap();
            json!([endpoint.address, endpoint.health, share])
        })
        .collect()
}

#[test]
fn endpoints_share_by_weight_health_and_priority() {
    let groups = format!(
        "[{{lb_endpoints: [{}, {}, {}]}}, {{priority: 1, lb_endpoints: [{}]}}]",
        endpoint(1, ", load_balancing_weight: 3"),
        endpoint(2, ""),
        endpoint(3, ", health_status: DRAINING"),
        endpoint(4, ""),
    );
    // Two of three are healthy: 140 % of two thirds is 93 %.
    let expected = [
        json!(["10.0.0.1:80", "healthy", 69.75]),
        json!(["10.0.0.2:80", "healthy", 23.25]),
        json!(["10.0.0.3:80", "draining", 0.0]),
        json!(["10.0.0.4:80", "healthy", 7.0]),
    ];
    assert_eq!(shares(&cluster("", &groups)), expected);
}

#[test]
fn where_most_are_unhealthy_health_is_not_looked_at() {
    let groups = format!(
        "[{{lb_endpoints: [{}, {}, {}]}}]",
        endpoint(1, ""),
        endpoint(2, ", health_status: UNHEALTHY"),
        endpoint(3, ", health_status: UNHEALTHY")
    );
    let found = cluster("", &groups);
    assert!(found.panic);
    assert_eq!(shares(&found)[1][2], json!(33.333));
    let never = cluster(", common_lb_config: {healthy_panic_threshold: {value: 0}}", &groups);
    assert!(!never.panic);
    assert_eq!(shares(&never)[0][2], json!(100.0));
}

#[test]
fn localities_share_by_their_weights_where_the_cluster_says_so() {
    let groups = format!(
        "[{{locality: {{region: r, zone: a}}, load_balancing_weight: 3, lb_endpoints: [{}]}}, {{locality: {{region: r, zone: b}}, load_balancing_weight: 1, lb_endpoints: [{}, {}]}}]",
        endpoint(1, ""),
        endpoint(2, ""),
        endpoint(3, "")
    );
    let weighted = cluster(", common_lb_config: {locality_weighted_lb_config: {}}", &groups);
    let of = |found: &ClusterWay| shares(found).into_iter().map(|share| share[2].clone()).collect::<Vec<_>>();
    assert_eq!(of(&weighted), [json!(75.0), json!(12.5), json!(12.5)]);
    assert_eq!(weighted.endpoints[1].locality.as_deref(), Some("r/b"));
    assert_eq!(of(&cluster("", &groups)), [json!(33.333), json!(33.333), json!(33.333)]);
    assert_eq!(of(&cluster(", lb_policy: RING_HASH", &groups)), [Value::Null, Value::Null, Value::Null]);
}

#[test]
fn limits_outliers_protocol_and_origin_are_told() {
    let fields = ", lb_policy: LEAST_REQUEST, connect_timeout: 2s,
      circuit_breakers: {thresholds: [{max_pending_requests: 5, max_connections: 4294967295, max_requests: 4294967295, max_retries: 4294967295}]},
      outlier_detection: {consecutive_5xx: 3, base_ejection_time: 60s, enforcing_consecutive_gateway_failure: 100},
      metadata: {filter_metadata: {istio: {config: /apis/x, subset: v1, services: [{host: a.b}]}}},
      typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {max_requests_per_connection: 9}, explicit_http_config: {http2_protocol_options: {}}}}";
    let found = serde_json::to_value(cluster(fields, "[]")).unwrap();
    let limits = json!({"connections": null, "pending_requests": 5, "requests": null, "retries": null, "requests_per_connection": 9});
    assert_eq!(found["limits"], limits);
    let outliers = json!({
        "consecutive_5xx": 3, "consecutive_gateway_failures": 5, "interval_ms": 10_000, "ejection_ms": 60_000,
        "max_ejection_percent": 10,
    });
    assert_eq!(found["outliers"], outliers);
    let rest = ["protocol", "balancing", "subset", "object"].map(|field| found[field].as_str().unwrap());
    assert_eq!(rest, ["http2", "least_request", "v1", "/apis/x"]);
    assert_eq!((&found["hosts"], &found["connect_timeout_ms"]), (&json!(["a.b"]), &json!(2000)));
    assert_eq!(cluster("", "[]").limits.retries, Some(3), "Envoy's own limits are written out");
}

#[test]
fn a_budget_of_retries_and_statuses_that_count_are_told() {
    let fields = ", circuit_breakers: {thresholds: [{max_retries: 5, retry_budget: {budget_percent: {value: 25}, min_retry_concurrency: 7}}]},
      outlier_detection: {consecutive_5xx: 3},
      typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}},
        outlier_detection: {error_matcher: {or_match: {rules: [
          {http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '429'}}]}},
          {http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '503'}}]}}]}}}}}";
    let found = cluster(fields, "[]");
    let budget = found.limits.retry_budget.unwrap();
    assert_eq!((budget.percent, budget.at_least, found.limits.retries), (25.0, 7, None));
    assert_eq!(found.outliers.unwrap().statuses, [429, 503]);
}

#[test]
fn a_header_before_what_is_spoken_is_told_and_looked_through() {
    let header = |version: &str, inner: &str| {
        format!(
            ", transport_socket: {{name: p, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {{version: {version}}}, transport_socket: {{name: envoy.transport_sockets.raw_buffer{inner}}}}}}}"
        )
    };
    let groups = format!("[{{lb_endpoints: [{}]}}]", endpoint(1, ""));
    let inner = ", typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: a.b}";
    for (version, inner, told, kind) in [("V1", "", "v1", "plaintext"), ("V2", inner, "v2", "tls")] {
        let found = serde_json::to_value(cluster(&header(version, inner), &groups)).unwrap();
        let found = &found["endpoints"][0];
        assert_eq!((&found["proxy_protocol"], &found["socket"]["kind"]), (&json!(told), &json!(kind)));
    }
    assert_eq!(cluster("", &groups).endpoints[0].proxy_protocol, None);
}
