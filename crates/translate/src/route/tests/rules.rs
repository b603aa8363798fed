//! The fields of a rule, each as Envoy has it.

use serde_json::{Value, json};

use super::{MYAPP, Routes, caller, mesh_config, myapp, service, virtual_service};

fn with(more: Value) -> Routes {
    let mut rule = json!({"route": [{"destination": {"host": "myapp"}}]});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    myapp(json!([rule]))
}

fn matched(matching: Value) -> Value {
    with(json!({"match": [matching]})).route(MYAPP)["match"].clone()
}

#[test]
fn paths_match_exactly_by_prefix_or_by_expression() {
    assert_eq!(matched(json!({"uri": {"exact": "/a"}})), json!({"path": "/a"}));
    assert_eq!(matched(json!({"uri": {"prefix": "/a"}})), json!({"prefix": "/a"}));
    assert_eq!(matched(json!({"uri": {"regex": "/a.*"}})), json!({"safe_regex": {"regex": "/a.*"}}));
    assert_eq!(matched(json!({})), json!({"prefix": "/"}));
    assert_eq!(
        matched(json!({"uri": {"exact": "/a"}, "ignoreUriCase": true})),
        json!({"path": "/a", "case_sensitive": false})
    );
    assert_eq!(
        matched(json!({"uri": {"regex": "/a"}, "ignoreUriCase": true})),
        json!({"safe_regex": {"regex": "/a"}})
    );
}

/// The article's test users.
#[test]
fn headers_match_by_expression() {
    let regex = "^(user-[0-9]{3}|user-[0-9]{4})$";
    assert_eq!(
        matched(json!({"headers": {"x-user-id": {"regex": regex}}})),
        json!({"prefix": "/", "headers": [{"name": "x-user-id", "string_match": {"safe_regex": {"regex": regex}}}]})
    );
}

#[test]
fn headers_match_in_every_form_and_in_a_fixed_order() {
    assert_eq!(
        matched(json!({
            "method": {"exact": "GET"}, "authority": {"prefix": "a"}, "scheme": {"exact": "http"},
            "headers": {"x-c": {"regex": "*"}, "X-A": {"exact": "1"}, "x-b": {}, "x-d": null},
            "withoutHeaders": {"y-b": {"prefix": "p"}, "y-a": {}},
        }))["headers"],
        json!([
            {"name": "x-a", "string_match": {"exact": "1"}},
            {"name": "x-b", "present_match": true},
            {"name": "x-c", "present_match": true},
            {"name": "x-d", "present_match": true},
            {"name": "y-a", "present_match": true, "invert_match": true},
            {"name": "y-b", "string_match": {"prefix": "p"}, "invert_match": true, "treat_missing_header_as_empty": true},
            {"name": ":method", "string_match": {"exact": "GET"}},
            {"name": ":authority", "string_match": {"prefix": "a"}},
            {"name": ":scheme", "string_match": {"exact": "http"}},
        ])
    );
}

#[test]
fn a_claim_is_never_met_by_a_sidecar() {
    let routes = myapp(json!([
        {"match": [{"headers": {"@request.auth.claims.group": {"exact": "dev"}}}], "directResponse": {"status": 403}},
        {"route": [{"destination": {"host": "myapp"}}]},
    ]));
    assert_eq!(routes.route(MYAPP)["match"], json!({"prefix": "/"}));
}

#[test]
fn query_parameters_match_by_value_or_presence() {
    assert_eq!(
        matched(json!({"queryParams": {"b": {}, "a": {"exact": "1"}}}))["query_parameters"],
        json!([{"name": "a", "string_match": {"exact": "1"}}, {"name": "b", "present_match": true}])
    );
}

#[test]
fn each_match_is_a_route_in_order_and_nothing_follows_one_that_takes_all() {
    let to = |status: u16| json!({"status": status});
    let routes = myapp(json!([
        {"name": "first", "match": [{"name": "a", "uri": {"exact": "/a"}}, {"name": "b", "uri": {"exact": "/b"}}], "directResponse": to(201)},
        {"match": [{"uri": {"prefix": "/"}, "headers": {"x": {}}}], "directResponse": to(202)},
        {"name": "all", "match": [{"uri": {"prefix": "/"}}, {"uri": {"exact": "/c"}}], "directResponse": to(203)},
        {"directResponse": to(204)},
    ]))
    .routes(MYAPP);
    let seen: Vec<(&str, u64)> = routes
        .iter()
        .map(|route| {
            (route["name"].as_str().unwrap_or_default(), route["direct_response"]["status"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(seen, [("first.a", 201), ("first.b", 201), ("", 202), ("all", 203)]);
    assert_eq!(routes[0]["decorator"]["operation"], "myapp:80/a");
}

#[test]
fn a_regex_that_takes_all_ends_the_list_too() {
    let rule = |regex: &str| json!({"match": [{"uri": {"regex": regex}}], "directResponse": {"status": 200}});
    assert_eq!(myapp(json!([rule(".+"), rule(".*"), rule("/never")])).routes(MYAPP).len(), 2);
}

#[test]
fn a_route_says_which_object_it_is_from() {
    assert_eq!(
        with(json!({})).route(MYAPP)["metadata"],
        json!({"filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/myapp"}}})
    );
}

#[test]
fn a_timeout_is_written_and_none_is_no_limit() {
    let limits = |more| {
        let route = with(more).route(MYAPP)["route"].clone();
        (route["timeout"].clone(), route["max_grpc_timeout"].clone())
    };
    assert_eq!(limits(json!({})), (json!("0s"), json!("0s")));
    assert_eq!(limits(json!({"timeout": "0s"})), (json!("0s"), json!("0s")));
    let (timeout, grpc) = limits(json!({"timeout": "1.5s"}));
    assert_eq!((timeout, grpc), (json!("1.500s"), json!("1.500s")));
}

#[test]
fn retries_are_as_the_rule_says() {
    let retries = |said: Value| with(json!({"retries": said})).route(MYAPP)["route"]["retry_policy"].clone();
    assert_eq!(retries(json!({"attempts": 0})), Value::Null);
    let policy = retries(
        json!({"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx, 503,reset,429", "retryIgnorePreviousHosts": false, "backoff": "10ms"}),
    );
    assert_eq!(
        policy,
        json!({
            "retry_on": "5xx,reset,retriable-status-codes",
            "retriable_status_codes": [503, 429],
            "num_retries": 3,
            "per_try_timeout": "2s",
            "host_selection_retry_max_attempts": 5,
            "retry_back_off": {"base_interval": "0.010s"},
        })
    );
    let policy = retries(json!({"attempts": 1, "retryRemoteLocalities": true}));
    assert_eq!(
        policy["retry_on"],
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(policy["retry_priority"]["name"], "envoy.retry_priorities.previous_priorities");
    assert_eq!(policy["retry_priority"]["typed_config"]["update_frequency"], 2);
    assert_eq!(policy["retry_host_predicate"][0]["name"], "envoy.retry_host_predicates.previous_hosts");
}

#[test]
fn the_meshs_retries_stand_where_a_rule_says_none() {
    let mesh = |retries: Value| {
        let mut routes = Routes::of(
            caller("default"),
            [
                service("default/myapp", 80, "http"),
                service("default/plain", 80, "http"),
                virtual_service(
                    "default/myapp",
                    json!({"hosts": ["myapp"], "http": [{"route": [{"destination": {"host": "myapp"}}]}]}),
                ),
            ],
        );
        routes.apply([mesh_config(json!({"defaultHttpRetryPolicy": retries}))]);
        [MYAPP, "80/plain.default.svc.cluster.local"]
            .map(|name| routes.route(name)["route"]["retry_policy"]["num_retries"].clone())
    };
    assert_eq!(mesh(json!({"attempts": 7})), [json!(7), json!(7)]);
    assert_eq!(mesh(json!({"attempts": 0})), [Value::Null, Value::Null]);
}

#[test]
fn faults_stand_in_the_routes_own_filter_settings() {
    let fault = |said: Value| {
        with(json!({"fault": said})).route(MYAPP)["typed_per_filter_config"]["envoy.filters.http.fault"]
            .clone()
    };
    let share = |numerator: u32| json!({"numerator": numerator, "denominator": "MILLION"});
    let of_type = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    assert_eq!(
        fault(
            json!({"delay": {"fixedDelay": "5s", "percentage": {"value": 0.5}}, "abort": {"httpStatus": 503, "percentage": {"value": 100}}})
        ),
        json!({
            "@type": of_type,
            "delay": {"fixed_delay": "5s", "percentage": share(5_000)},
            "abort": {"http_status": 503, "percentage": share(1_000_000)},
        })
    );
    assert_eq!(
        fault(json!({"delay": {"fixedDelay": "1s", "percent": 10}}))["delay"]["percentage"],
        share(100_000)
    );
    let none = json!({"denominator": "MILLION"});
    assert_eq!(
        fault(json!({"delay": {"fixedDelay": "1s"}}))["delay"]["percentage"],
        none,
        "none written delays none"
    );
    assert_eq!(
        fault(json!({"abort": {"httpStatus": 400}}))["abort"]["percentage"],
        none,
        "none written aborts none"
    );
    assert_eq!(
        fault(json!({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 1}}}))["abort"]["grpc_status"],
        14
    );
    assert_eq!(fault(json!({})), Value::Null);
}

#[test]
fn a_redirect_leaves_out_the_usual_port() {
    let redirect = |said: Value| myapp(json!([{"redirect": said}])).route(MYAPP)["redirect"].clone();
    assert_eq!(
        redirect(json!({"uri": "/new", "authority": "x.com"})),
        json!({"host_redirect": "x.com", "path_redirect": "/new"})
    );
    assert_eq!(
        redirect(json!({"scheme": "https", "port": 443, "redirectCode": 308})),
        json!({"scheme_redirect": "https", "response_code": "PERMANENT_REDIRECT"})
    );
    assert_eq!(
        redirect(json!({"scheme": "https", "port": 80, "redirectCode": 302})),
        json!({"scheme_redirect": "https", "port_redirect": 80, "response_code": "FOUND"})
    );
    assert_eq!(
        redirect(json!({"uri": "/", "derivePort": "FROM_REQUEST_PORT"})),
        json!({"path_redirect": "/"})
    );
    assert_eq!(
        redirect(json!({"port": 8443, "redirectCode": 307})),
        json!({"port_redirect": 8443, "response_code": "TEMPORARY_REDIRECT"})
    );
    assert_eq!(redirect(json!({"uri": "/", "redirectCode": 303}))["response_code"], "SEE_OTHER");
}

#[test]
fn an_answer_has_its_code_and_body() {
    let answer =
        |said: Value| myapp(json!([{"directResponse": said}])).route(MYAPP)["direct_response"].clone();
    assert_eq!(
        answer(json!({"status": 503, "body": {"string": "later"}})),
        json!({"status": 503, "body": {"inline_string": "later"}})
    );
    assert_eq!(
        answer(json!({"status": 200, "body": {"bytes": "/wA="}})),
        json!({"status": 200, "body": {"inline_bytes": "/wA="}})
    );
    assert_eq!(answer(json!({"status": 404})), json!({"status": 404}));
    assert_eq!(answer(json!({"status": 600})), json!({"status": 599}), "Istio takes 600, Envoy does not");
}

#[test]
fn rewrites_of_path_and_authority() {
    let action = |more: Value| with(more).route(MYAPP)["route"].clone();
    let route = action(
        json!({"match": [{"uri": {"prefix": "/old"}}], "rewrite": {"uri": "/new", "authority": "other"}}),
    );
    assert_eq!((&route["prefix_rewrite"], &route["host_rewrite_literal"]), (&json!("/new"), &json!("other")));
    let route = action(
        json!({"rewrite": {"uri": "/lost", "uriRegexRewrite": {"match": "^/a/(.*)", "rewrite": "/b/\\1"}}}),
    );
    assert_eq!(route["regex_rewrite"], json!({"pattern": {"regex": "^/a/(.*)"}, "substitution": "/b/\\1"}));
    assert_eq!(route.get("prefix_rewrite"), None, "the expression wins");
    assert_eq!(
        action(json!({"headers": {"request": {"set": {"Host": "by-header"}}}}))["host_rewrite_literal"],
        "by-header"
    );
    let both = json!({"rewrite": {"authority": "by-rewrite"}, "headers": {"request": {"set": {":authority": "by-header"}}}});
    assert_eq!(action(both)["host_rewrite_literal"], "by-rewrite");
}

#[test]
fn headers_are_set_added_and_removed_in_a_fixed_order() {
    let change = json!({
        "request": {"set": {"b": "2", "a": "1", "host": "h"}, "add": {"c": "3"}, "remove": ["d", "host"]},
        "response": {"add": {"e": "5"}, "remove": ["f"]},
    });
    let route = with(json!({"headers": change})).route(MYAPP);
    let set = |key: &str, value: &str| json!({"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"});
    assert_eq!(
        route["request_headers_to_add"],
        json!([set("a", "1"), set("b", "2"), {"header": {"key": "c", "value": "3"}}])
    );
    assert_eq!(route["request_headers_to_remove"], json!(["d"]));
    assert_eq!(route["response_headers_to_add"], json!([{"header": {"key": "e", "value": "5"}}]));
    assert_eq!(route["response_headers_to_remove"], json!(["f"]));
}

#[test]
fn a_destinations_headers_are_the_routes_when_it_is_alone_and_its_own_otherwise() {
    let change = json!({"request": {"set": {"x": "1"}}, "response": {"remove": ["y"]}});
    let alone =
        myapp(json!([{"route": [{"destination": {"host": "myapp"}, "headers": change}]}])).route(MYAPP);
    assert_eq!(alone["request_headers_to_add"][0]["header"]["key"], "x");
    assert_eq!(alone["response_headers_to_remove"], json!(["y"]));
    let two = myapp(json!([{"route": [
        {"destination": {"host": "myapp", "subset": "a"}, "weight": 1, "headers": change},
        {"destination": {"host": "myapp", "subset": "b"}, "weight": 1},
    ]}]))
    .route(MYAPP);
    assert_eq!(two.get("request_headers_to_add"), None);
    let clusters = &two["route"]["weighted_clusters"]["clusters"];
    assert_eq!(clusters[0]["request_headers_to_add"][0]["header"]["key"], "x");
    assert_eq!(clusters[0]["response_headers_to_remove"], json!(["y"]));
    assert_eq!(clusters[1].get("request_headers_to_add"), None);
}

#[test]
fn a_stat_prefix_goes_to_the_route() {
    let route = with(json!({"match": [{"uri": {"prefix": "/a"}, "statPrefix": "beta"}]})).route(MYAPP);
    assert_eq!(route["stat_prefix"], "beta");
}
