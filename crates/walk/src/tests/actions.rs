//! What the route that matched does, and what the client sees of it.

use serde_json::{Value, json};

use super::{get, http, seen, sent};
use crate::{Action, Forward, Request, Way};

/// One virtual host of all domains with that route, and two clusters: `full` with an endpoint, `empty` without.
fn by(route: &str, request: &Request) -> Way {
    let resources = format!(
        "
routes:
- name: '80'
  virtual_hosts:
  - name: all
    domains: ['*']
    routes:
    - {route}
clusters:
- {{name: full, type: EDS, eds_cluster_config: {{service_name: of-full, eds_config: {{ads: {{}}}}}}}}
- {{name: empty, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}}}
endpoints:
- cluster_name: of-full
  endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: 8080}}}}}}}}]}}]
"
    );
    sent(&resources, request)
}

fn forward(way: &Way) -> &Forward {
    match &http(way).route.as_ref().unwrap().action {
        Action::Forward(forward) => forward,
        other => panic!("not sent on: {other:?}"),
    }
}

#[test]
fn a_cluster_answers_or_the_client_sees_why_not() {
    for (cluster, expected) in [
        ("full", json!({"share": 100.0, "seen": "endpoint", "cluster": "full"})),
        (
            "empty",
            json!({"share": 100.0, "seen": "status", "status": 503, "flags": "UH", "cause": "no_endpoint"}),
        ),
        (
            "gone",
            json!({"share": 100.0, "seen": "status", "status": 503, "flags": "NC", "cause": "unknown_cluster"}),
        ),
    ] {
        let way = by(&format!("{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}"), &get("a", "/"));
        assert_eq!(seen(&way), json!([expected]), "{cluster}");
    }
    let way = by(
        "{match: {prefix: /}, route: {cluster: gone, cluster_not_found_response_code: NOT_FOUND}}",
        &get("a", "/"),
    );
    assert_eq!(seen(&way)[0]["status"], 404);
}

#[test]
fn weights_and_faults_share_what_clients_see() {
    let route = "
      match: {prefix: /}
      route: {weighted_clusters: {clusters: [{name: full, weight: 3}, {name: empty, weight: 1}]}}
      typed_per_filter_config:
        envoy.filters.http.fault:
          '@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: {http_status: 418, percentage: {numerator: 2000, denominator: TEN_THOUSAND}}
          delay: {fixed_delay: 1.5s, percentage: {numerator: 5}}
";
    let way = by(route.trim(), &get("a", "/"));
    let expected = json!([
        {"share": 60.0, "seen": "endpoint", "cluster": "full"},
        {"share": 20.0, "seen": "status", "status": 418, "flags": "FI", "cause": "fault_abort"},
        {"share": 20.0, "seen": "status", "status": 503, "flags": "UH", "cause": "no_endpoint"},
    ]);
    assert_eq!(seen(&way), expected);
    let fault = serde_json::to_value(&http(&way).route.as_ref().unwrap().fault).unwrap();
    assert_eq!(fault["delay"], json!({"share": 5.0, "delay_ms": 1500}));
}

fn location(action: &str, request: &Request) -> (u32, String) {
    let way = by(&format!("{{match: {{prefix: /a}}, redirect: {action}}}"), request);
    match &http(&way).route.as_ref().unwrap().action {
        Action::Redirect { status, location } => (*status, location.clone()),
        other => panic!("no redirect: {other:?}"),
    }
}

#[test]
fn a_redirect_says_where_to() {
    for (host, action, status, expected) in [
        ("a.b", "{path_redirect: /new}", 301, "http://a.b/new?q=1"),
        ("a.b:8080", "{path_redirect: /new}", 301, "http://a.b:8080/new?q=1"),
        ("a.b", "{path_redirect: '/new?r=2'}", 301, "http://a.b/new?r=2"),
        ("a.b", "{path_redirect: /new, strip_query: true}", 301, "http://a.b/new"),
        ("a.b", "{host_redirect: c.d, response_code: FOUND}", 302, "http://c.d/a/x?q=1"),
        ("a.b:80", "{https_redirect: true}", 301, "https://a.b/a/x?q=1"),
        ("a.b:81", "{scheme_redirect: https}", 301, "https://a.b:81/a/x?q=1"),
        ("a.b:81", "{port_redirect: 8443}", 301, "http://a.b:8443/a/x?q=1"),
        ("a.b", "{prefix_rewrite: /z, response_code: PERMANENT_REDIRECT}", 308, "http://a.b/z/x?q=1"),
    ] {
        assert_eq!(location(action, &get(host, "/a/x?q=1")), (status, expected.to_owned()), "{action}");
    }
}

#[test]
fn what_was_matched_is_what_a_rewrite_replaces() {
    for (matching, action, path, expected) in [
        ("{prefix: /a}", "{cluster: full, prefix_rewrite: /z}", "/a/b?q=1", Some("/z/b?q=1")),
        ("{prefix: /a/}", "{cluster: full, prefix_rewrite: /}", "/a/b", Some("/b")),
        ("{path: /a/b}", "{cluster: full, prefix_rewrite: /z}", "/a/b", Some("/z")),
        ("{safe_regex: {regex: '/a.*'}}", "{cluster: full, prefix_rewrite: /z}", "/a/b?q=1", Some("/z?q=1")),
        (
            "{prefix: /}",
            "{cluster: full, regex_rewrite: {pattern: {regex: '/(.)/(.)'}, substitution: '/\\2/\\1'}}",
            "/a/b/c/d",
            Some("/b/a/d/c"),
        ),
        ("{prefix: /}", "{cluster: full}", "/a", None),
    ] {
        let way = by(&format!("{{match: {matching}, route: {action}}}"), &get("a", path));
        assert_eq!(forward(&way).path.as_deref(), expected, "{matching} {action}");
    }
    let way = by("{match: {prefix: /}, route: {cluster: full, host_rewrite_literal: inner}}", &get("a", "/"));
    assert_eq!(forward(&way).authority.as_deref(), Some("inner"));
}

#[test]
fn timeouts_retries_copies_and_headers_are_told() {
    let route = "
      match: {prefix: /}
      route:
        cluster: full
        timeout: 2s
        retry_policy:
          retry_on: 5xx,retriable-status-codes
          num_retries: 3
          per_try_timeout: 0.25s
          retriable_status_codes: [418]
          retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts}]
        request_mirror_policies: [{cluster: empty, runtime_fraction: {default_value: {numerator: 10}}}]
        hash_policy: [{header: {header_name: x-user}}]
      request_headers_to_add: [{header: {key: x-set, value: 'on'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]
      response_headers_to_remove: [x-gone]
";
    let way = by(route.trim(), &get("a", "/"));
    let all: Value = serde_json::to_value(forward(&way)).unwrap();
    assert_eq!(all["timeout_ms"], 2000);
    let expected = json!({
        "attempts": 3, "on": ["5xx", "retriable-status-codes"], "statuses": [418], "per_try_timeout_ms": 250,
        "avoids_tried_endpoints": true, "avoids_tried_priorities": false, "back_off_ms": null,
    });
    assert_eq!(all["retry"], expected);
    assert_eq!((&all["mirrors"][0]["share"], &all["hashed_by"][0]), (&json!(10.0), &json!("header x-user")));
    let taken = serde_json::to_value(http(&way).route.as_ref().unwrap()).unwrap();
    assert_eq!(taken["request_headers"], json!([{"operation": "set", "name": "x-set", "value": "on"}]));
    assert_eq!(taken["response_headers"], json!([{"operation": "remove", "name": "x-gone", "value": null}]));
    let usual = by("{match: {prefix: /}, route: {cluster: full}}", &get("a", "/"));
    assert_eq!((forward(&usual).timeout_ms, &forward(&usual).retry), (Some(15_000), &None));
    let never = by("{match: {prefix: /}, route: {cluster: full, timeout: 0s}}", &get("a", "/"));
    assert_eq!(forward(&never).timeout_ms, None);
}

#[test]
fn an_answer_of_the_proxy_itself_is_told_with_its_body() {
    let way = by(
        "{match: {prefix: /}, direct_response: {status: 403, body: {inline_string: 'no'}}}",
        &get("a", "/"),
    );
    let action = serde_json::to_value(&http(&way).route.as_ref().unwrap().action).unwrap();
    assert_eq!(action, json!({"kind": "respond", "status": 403, "body": "no"}));
}

#[test]
fn preflights_are_answered_and_other_calls_of_allowed_sites_are_told_so() {
    let route = |forwards: bool| {
        format!(
            "
      match: {{prefix: /}}
      route: {{cluster: full}}
      typed_per_filter_config:
        envoy.filters.http.cors:
          '@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
          allow_origin_string_match: [{{exact: 'https://a.example'}}, {{safe_regex: {{regex: 'https://.*[.]b[.]example'}}}}]
          allow_methods: GET,PUT
          allow_headers: '*'
          expose_headers: x-total
          max_age: '60'
          filter_enabled: {{default_value: {{numerator: 100}}}}
          forward_not_matching_preflights: {forwards}
"
        )
    };
    let call = |method: &str, origin: &str, asks: bool| {
        let mut request = get("a", "/");
        method.clone_into(&mut request.method);
        request.headers.push(("origin".to_owned(), origin.to_owned()));
        if asks {
            request.headers.push(("access-control-request-method".to_owned(), "PUT".to_owned()));
            request.headers.push(("access-control-request-headers".to_owned(), "x-a".to_owned()));
        }
        request
    };
    let cors = |way: &Way| serde_json::to_value(&http(way).route.as_ref().unwrap().cors).unwrap();
    let way = by(route(true).trim(), &call("OPTIONS", "https://x.b.example", true));
    assert_eq!(
        seen(&way),
        json!([{"share": 100.0, "seen": "status", "status": 200, "flags": "-", "cause": "preflight"}])
    );
    assert_eq!(
        cors(&way),
        json!({"origin": "https://x.b.example", "allowed": true, "preflight": true, "answered": true, "headers": [
            ["access-control-allow-origin", "https://x.b.example"],
            ["access-control-allow-methods", "GET,PUT"],
            ["access-control-allow-headers", "x-a"],
            ["access-control-max-age", "60"],
        ]})
    );
    let way = by(route(true).trim(), &call("GET", "https://a.example", false));
    assert_eq!(seen(&way)[0]["seen"], "endpoint");
    assert_eq!(
        cors(&way)["headers"],
        json!([
            ["access-control-allow-origin", "https://a.example"],
            ["access-control-expose-headers", "x-total"]
        ])
    );
    // Of another site: the server is asked, or nobody is.
    let foreign = call("OPTIONS", "https://c.example", true);
    assert_eq!(seen(&by(route(true).trim(), &foreign))[0]["seen"], "endpoint");
    let way = by(route(false).trim(), &foreign);
    assert_eq!(seen(&way)[0]["status"], 200);
    assert_eq!(cors(&way)["allowed"], false);
    assert_eq!(cors(&by(route(true).trim(), &get("a", "/"))), Value::Null);
}
