//! Which virtual host, and which of its routes.

use serde_json::json;

use super::{get, http, seen, sent};
use crate::{DomainRule, Request};

#[test]
fn the_most_specific_domain_takes_the_request() {
    let routes = |ignores: bool| {
        format!(
            "
routes:
- name: '80'
  ignore_port_in_host_matching: {ignores}
  virtual_hosts:
  - {{name: any, domains: ['*']}}
  - {{name: suffix, domains: ['*.example.com']}}
  - {{name: longer, domains: ['*.shop.example.com', '*-x.example.com']}}
  - {{name: prefix, domains: ['www.*']}}
  - {{name: exact, domains: [a.example.com, 'b:8080', '[2001:db8::1]']}}
"
        )
    };
    for (host, ignores, name, rule) in [
        ("a.example.com", false, "exact", DomainRule::Exact),
        ("A.Example.COM", false, "exact", DomainRule::Exact),
        ("a.example.com:80", false, "any", DomainRule::Any),
        ("a.example.com:80", true, "exact", DomainRule::Exact),
        ("b:8080", false, "exact", DomainRule::Exact),
        ("[2001:db8::1]:80", true, "exact", DomainRule::Exact),
        ("[2001:db8::1]", true, "exact", DomainRule::Exact),
        ("b.example.com", false, "suffix", DomainRule::SuffixWildcard),
        (".example.com", false, "any", DomainRule::Any),
        ("b.shop.example.com", false, "longer", DomainRule::SuffixWildcard),
        ("b-x.example.com", false, "longer", DomainRule::SuffixWildcard),
        ("www.example.com", false, "suffix", DomainRule::SuffixWildcard),
        ("www.example.org", false, "prefix", DomainRule::PrefixWildcard),
        ("www.", false, "any", DomainRule::Any),
    ] {
        let way = sent(&routes(ignores), &get(host, "/"));
        let found = http(&way).virtual_host.as_ref().unwrap();
        assert_eq!((found.name.as_str(), found.rule), (name, rule), "{host}, ports ignored: {ignores}");
    }
}

#[test]
fn a_host_that_no_domain_has_is_answered_404() {
    let way = sent("routes: [{name: '80', virtual_hosts: [{name: a, domains: [a]}]}]", &get("b", "/"));
    assert_eq!(http(&way).virtual_host, None);
    let not_found = |cause: &str| json!([{"share": 100.0, "seen": "status", "status": 404, "flags": "NR", "cause": cause}]);
    assert_eq!(seen(&way), not_found("no_virtual_host"));
    let way = sent("routes: [{name: '80', virtual_hosts: [{name: a, domains: [a]}]}]", &get("a", "/"));
    assert_eq!(seen(&way), not_found("no_route"));
    assert_eq!(seen(&sent("routes: []", &get("a", "/"))), not_found("no_virtual_host"));
}

#[test]
fn virtual_hosts_that_came_alone_are_part_of_their_route_configuration() {
    let resources = "
routes: [{name: '80', vhds: {config_source: {ads: {}}}}, {name: '8'}]
virtual_hosts:
- {name: 80/a, domains: [a], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
- {name: 8/b, domains: [b], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
";
    assert_eq!(http(&sent(resources, &get("a", "/"))).virtual_host.as_ref().unwrap().name, "80/a");
    assert_eq!(http(&sent(resources, &get("b", "/"))).virtual_host, None);
}

/// Whether a route with that match takes the request; whether the walk cannot tell.
fn takes(matching: &str, request: &Request) -> (bool, bool) {
    let resources = format!(
        "routes: [{{name: '80', virtual_hosts: [{{name: a, domains: ['*'], routes: [
           {{match: {matching}, direct_response: {{status: 200}}}}]}}]}}]"
    );
    let way = sent(&resources, request);
    let tried = &http(&way).tried[0];
    (tried.matched, tried.conditions.iter().any(|condition| condition.holds.is_none()))
}

fn check(cases: &[(&str, bool)], request: &Request) {
    for (matching, expected) in cases {
        assert_eq!(takes(matching, request), (*expected, false), "{matching}: {request:?}");
    }
}

#[test]
fn paths_are_compared_without_their_query() {
    check(
        &[
            ("{prefix: /}", true),
            ("{prefix: /Re}", false),
            ("{prefix: /re}", true),
            ("{prefix: /Re, case_sensitive: false}", true),
            ("{prefix: /reviews/7?x}", false),
            ("{path: /reviews/7}", true),
            ("{path: /reviews}", false),
            ("{path: /REVIEWS/7, case_sensitive: false}", true),
            ("{path_separated_prefix: /reviews}", true),
            ("{path_separated_prefix: /rev}", false),
            ("{safe_regex: {regex: '/reviews/[0-9]'}}", true),
            ("{safe_regex: {regex: '/reviews'}}", false),
            ("{safe_regex: {regex: 'a|/reviews/7'}}", true),
            ("{connect_matcher: {}}", false),
        ],
        &get("a", "/reviews/7?x=/y"),
    );
    check(&[("{path: /b}", true)], &get("a", "/a/../b"));
}

#[test]
fn headers_are_compared_by_value_presence_and_opposite() {
    let mut request = get("a", "/");
    for (name, value) in
        [("end-user", "jason"), ("X-Twice", "1"), ("x-twice", "2"), ("count", "7"), ("empty", "")]
    {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    let cases: Vec<(String, bool)> = [
        ("{name: end-user, string_match: {exact: jason}}", true),
        ("{name: end-user, string_match: {exact: JASON}}", false),
        ("{name: end-user, string_match: {exact: JASON, ignore_case: true}}", true),
        ("{name: end-user, string_match: {prefix: ja}}", true),
        ("{name: end-user, string_match: {suffix: on}}", true),
        ("{name: end-user, string_match: {contains: aso}}", true),
        ("{name: end-user, string_match: {safe_regex: {regex: 'ja.*'}}}", true),
        ("{name: end-user, string_match: {safe_regex: {regex: 'ja'}}}", false),
        ("{name: end-user, string_match: {exact: jason}, invert_match: true}", false),
        ("{name: end-user, string_match: {exact: x}, invert_match: true}", true),
        ("{name: x-twice, string_match: {exact: '1,2'}}", false),
        ("{name: x-twice, string_match: {exact: '2'}}", true),
        ("{name: x-twice, invert_match: true, string_match: {exact: '2'}}", false),
        ("{name: x-twice, invert_match: true, string_match: {exact: '3'}}", true),
        ("{name: count, range_match: {start: 0, end: 7}}", false),
        ("{name: count, range_match: {start: 7, end: 8}}", true),
        ("{name: empty, present_match: true}", true),
        ("{name: nobody, present_match: true}", false),
        ("{name: nobody, present_match: false}", true),
        ("{name: nobody, present_match: true, invert_match: true}", true),
        // A header that is not there has no value that could differ,
        ("{name: nobody, string_match: {exact: x}, invert_match: true}", false),
        // but where it counts as empty.
        ("{name: nobody, string_match: {exact: x}, invert_match: true, treat_missing_header_as_empty: true}", true),
        ("{name: nobody, string_match: {exact: ''}, treat_missing_header_as_empty: true}", true),
        ("{name: ':method', string_match: {exact: GET}}", true),
        ("{name: ':authority', string_match: {prefix: a}}", true),
        ("{name: ':scheme', string_match: {exact: https}}", false),
    ]
    .into_iter()
    .map(|(header, expected)| (format!("{{prefix: /, headers: [{header}]}}"), expected))
    .collect();
    for (matching, expected) in cases {
        assert_eq!(takes(&matching, &request), (expected, false), "{matching}");
    }
}

#[test]
fn query_parameters_cookies_and_grpc_are_conditions_too() {
    let mut request = get("a", "/x?debug=1&debug=2&flag&coded=%20");
    request.headers.push(("cookie".to_owned(), "a=1; version=v2".to_owned()));
    request.headers.push(("content-type".to_owned(), "application/grpc+proto".to_owned()));
    let cases = [
        ("query_parameters: [{name: debug, string_match: {exact: '1'}}]", true),
        ("query_parameters: [{name: debug, string_match: {exact: '2'}}]", false),
        ("query_parameters: [{name: flag, present_match: true}]", true),
        ("query_parameters: [{name: flag, string_match: {exact: ''}}]", true),
        ("query_parameters: [{name: nobody, present_match: true}]", false),
        ("query_parameters: [{name: coded, string_match: {exact: '%20'}}]", true),
        ("cookies: [{name: version, string_match: {exact: v2}}]", true),
        ("cookies: [{name: version, string_match: {exact: v1}}]", false),
        ("grpc: {}", true),
        ("runtime_fraction: {default_value: {numerator: 100}}", true),
        ("runtime_fraction: {default_value: {numerator: 0}}", false),
    ];
    for (condition, expected) in cases {
        let matching = format!("{{prefix: /, {condition}}}");
        assert_eq!(takes(&matching, &request), (expected, false), "{matching}");
    }
}

#[test]
fn what_cannot_be_told_is_said_and_takes_no_request() {
    for condition in ["runtime_fraction: {default_value: {numerator: 30}}", "tls_context: {presented: true}"]
    {
        assert_eq!(
            takes(&format!("{{prefix: /, {condition}}}"), &get("a", "/")),
            (false, true),
            "{condition}"
        );
    }
}

#[test]
fn the_first_route_that_matches_decides_and_those_before_say_why_not() {
    let resources = "
routes:
- name: '80'
  virtual_hosts:
  - name: reviews
    domains: [reviews]
    routes:
    - name: jason
      match: {prefix: /, headers: [{name: end-user, string_match: {exact: jason}}]}
      direct_response: {status: 201}
      metadata: {filter_metadata: {istio: {config: /apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews}}}
    - {name: rest, match: {prefix: /}, direct_response: {status: 202}}
    - {name: never, match: {prefix: /}, direct_response: {status: 203}}
";
    let way = sent(resources, &get("reviews", "/"));
    let tried: Vec<(&str, bool)> =
        http(&way).tried.iter().map(|tried| (tried.name.as_str(), tried.matched)).collect();
    assert_eq!(tried, [("jason", false), ("rest", true)]);
    let first = &http(&way).tried[0];
    let object = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews";
    assert_eq!(first.object.as_deref(), Some(object));
    let why = serde_json::to_value(&first.conditions[1]).unwrap();
    let expected = json!({
        "subject": "header", "name": "end-user", "wanted": {"how": "exact", "value": "jason"},
        "found": null, "holds": false,
    });
    assert_eq!(why, expected);
    assert_eq!(seen(&way)[0]["status"], 202);
}
