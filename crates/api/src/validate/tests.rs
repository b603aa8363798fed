//! From YAML to findings, one subject a test.

mod balancing;
mod entries;
mod gateway;
mod routing;
mod security;
mod sidecar;

use crate::finding::Finding;

/// Findings as compact lines: place, severity, code, field, message.
fn told(text: &str) -> String {
    let line = |finding: &Finding| {
        let place = finding.place.as_ref().map(|place| format!("{}:{}", place.line, place.column));
        let (place, field) = (place.unwrap_or_default(), finding.field.trim_start_matches("spec."));
        format!("{place} {} {} {field}: {}\n", finding.severity, finding.code, finding.message)
    };
    crate::parse(text, "f", "default").findings().iter().map(line).collect()
}

fn virtual_service(rules: &str) -> String {
    let rules: String = rules.lines().map(|line| format!("  {line}\n")).collect();
    told(&format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: [a]\n  http:\n{rules}"
    ))
}

fn destination_rule(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    told(&format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\nspec:\n  host: a\n{spec}"
    ))
}

fn service(spec: &str) -> String {
    told(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n"))
}

#[test]
fn weights_that_do_not_sum_to_100_are_a_warning_and_none_at_all_an_error() {
    assert_eq!(
        virtual_service(
            "- route:\n  - {destination: {host: a}, weight: 90}\n  - {destination: {host: b}, weight: 20}\n"
        ),
        "7:5 warning weight-sum http[0].route: the weights sum to 110, not 100\n"
    );
    assert_eq!(
        virtual_service("- route:\n  - destination: {host: a}\n  - destination: {host: b}\n"),
        "7:5 error weight-sum http[0].route: none of the destinations has a weight\n"
    );
    assert_eq!(
        virtual_service("- route:\n  - {destination: {host: a}, weight: -5}\n"),
        "8:40 error bad-value http[0].route[0].weight: must not be negative, found -5\n"
    );
    assert_eq!(
        virtual_service("- route:\n  - {destination: {host: a}, weight: 90}\n"),
        "8:40 warning weight-sum http[0].route[0].weight: the only destination gets every request, not 90%\n"
    );
    // Flagger leaves 0 on a destination that is alone.
    assert_eq!(virtual_service("- route:\n  - {destination: {host: a}, weight: 0}\n"), "");
}

#[test]
fn a_rule_does_one_thing() {
    assert_eq!(
        virtual_service("- match: [{uri: {prefix: /x}}]\n"),
        "7:5 error no-action http[0]: the rule says what to match, not what to do\n"
    );
    assert_eq!(
        virtual_service("- redirect: {uri: /x}\n  route: [{destination: {host: a}}]\n"),
        "8:5 error conflicting-actions http[0].route: `redirect` and `route` exclude each other\n"
    );
    assert_eq!(
        virtual_service("- redirect: {uri: /x}\n  directResponse: {status: 200}\n"),
        "8:5 error conflicting-actions http[0].directResponse: `redirect` and `directResponse` exclude each other\n"
    );
    assert_eq!(virtual_service("- delegate: {name: b}\n"), "");
    assert_eq!(
        virtual_service("- delegate: {name: b}\n  route: [{destination: {host: a}}]\n"),
        "8:5 error conflicting-actions http[0].route: a rule that delegates does nothing else\n"
    );
}

#[test]
fn header_names_and_values_are_those_that_http_and_envoy_take() {
    assert_eq!(
        virtual_service("- match: [{headers: {\"x y\": {exact: b}}}]\n  route: [{destination: {host: a}}]\n"),
        "7:24 error bad-value http[0].match[0].headers[\"x y\"]: `x y` is not a header name: letters, digits and \
         !#$%&'*+-.^_`|~ (RFC 9110, section 5.6.2)\n"
    );
    assert_eq!(
        virtual_service(
            "- route: [{destination: {host: a}}]\n  headers:\n    request: {set: {x-a: \"100%\"}, remove: [Host]}\n    response: {set: {\":status\": \"1\"}}\n"
        ),
        "9:28 error bad-header http[0].headers.request.set.x-a: a `%` begins no variable\n\
         9:46 error bad-header http[0].headers.request.remove[0]: `host` cannot be taken away\n\
         10:35 error bad-header http[0].headers.response.set.:status: `:status` cannot be set\n"
    );
    assert_eq!(
        virtual_service(
            "- match: [{headers: {\"@request.auth.claims.group\": {exact: b}}}]\n  route: [{destination: {host: a}}]\n"
        ),
        "7:5 error bad-header http[0]: `@request.auth.claims.group` is matched by gateways alone, and this is for sidecars too\n"
    );
}

#[test]
fn regular_expressions_are_those_of_re2() {
    let regex = |regex: &str| {
        virtual_service(&format!(
            "- match: [{{uri: {{regex: '{regex}'}}}}]\n  route: [{{destination: {{host: a}}}}]\n"
        ))
    };
    assert_eq!(regex("^(user-[0-9]{3}|user-[0-9]{4})$"), "");
    assert_eq!(
        regex("(a"),
        "7:27 error bad-value http[0].match[0].uri.regex: `(a` is not a regular expression of RE2: unclosed group\n"
    );
    assert_eq!(
        regex("(?=a)b"),
        "7:27 error bad-value http[0].match[0].uri.regex: `(?=a)b` is not a regular expression of RE2: look-around, including \
         look-ahead and look-behind, is not supported\n"
    );
}

#[test]
fn matches_that_can_never_hold_are_told() {
    assert_eq!(
        virtual_service(
            "- match:\n  - uri: {prefix: api}\n  - headers: {x: {prefix: \"\"}}\n  route: [{destination: {host: a}}]\n"
        ),
        "8:21 warning never-matches http[0].match[0].uri.prefix: no path is matched: `api` does not begin with `/`\n\
         9:17 error empty-prefix http[0].match[1].headers.x: a prefix must not be empty\n"
    );
}

#[test]
fn rules_behind_one_that_takes_everything_are_told() {
    assert_eq!(
        virtual_service(
            "- match: [{uri: {prefix: /}}]\n  route: [{destination: {host: a}}]\n\
             - match: [{headers: {x: {exact: b}}}]\n  route: [{destination: {host: b}}]\n\
             - route: [{destination: {host: c}}]\n"
        ),
        "9:5 warning unreachable-rule http[1]: no request comes here: rule 0 takes them all\n\
         11:5 warning unreachable-rule http[2]: no request comes here: rule 0 takes them all\n"
    );
    assert_eq!(
        virtual_service(
            "- match: [{uri: {prefix: /api}}]\n  route: [{destination: {host: a}}]\n\
             - match: [{uri: {prefix: /api/v2}}, {uri: {prefix: /web}}]\n  route: [{destination: {host: b}}]\n"
        ),
        "9:13 warning unreachable-match http[1].match[0]: rule 0 takes what would match here\n"
    );
    // What narrows the earlier match lets requests through.
    for narrow in
        ["headers: {x: {}}", "port: 80", "sourceLabels: {app: x}", "gateways: [mesh]", "method: {exact: GET}"]
    {
        assert_eq!(
            virtual_service(&format!(
                "- match: [{{uri: {{prefix: /}}, {narrow}}}]\n  route: [{{destination: {{host: a}}}}]\n- route: [{{destination: {{host: b}}}}]\n"
            )),
            "",
            "{narrow}"
        );
    }
}

#[test]
fn retries_and_timeouts_must_have_a_meaning() {
    assert_eq!(
        virtual_service(
            "- route: [{destination: {host: a}}]\n  timeout: 1ns\n  retries: {retryOn: \"5xx, gateway-eror\"}\n"
        ),
        "8:14 error bad-duration http[0].timeout: must be at least 1ms, found 1ns\n\
         9:24 error bad-retry-on http[0].retries.retryOn: `gateway-eror` is no condition of Envoy and no status code\n\
         9:24 error no-attempts http[0].retries.retryOn: `retryOn` without attempts: nothing is tried again\n"
    );
    assert_eq!(
        virtual_service("- route: [{destination: {host: a}}]\n  retries: {attempts: -1}\n"),
        "8:25 error bad-value http[0].retries.attempts: must not be negative, found -1\n"
    );
    assert_eq!(
        virtual_service("- route: [{destination: {host: a}}]\n  timeout: 5\n"),
        "8:14 error bad-value http[0].timeout: must be a text, found the number 5\n"
    );
    assert_eq!(
        virtual_service("- route: [{destination: {host: a}}]\n  timeout: 0s\n"),
        "8:14 warning bad-duration http[0].timeout: a timeout of 0s is refused by a cluster with Istio\n"
    );
}

#[test]
fn faults_say_what_and_how_often() {
    assert_eq!(
        virtual_service("- route: [{destination: {host: a}}]\n  fault: {abort: {httpStatus: 503}}\n"),
        "8:13 warning no-percentage http[0].fault.abort: without a percentage nothing is aborted\n"
    );
    assert_eq!(
        virtual_service(
            "- route: [{destination: {host: a}}]\n  fault:\n    delay: {percentage: {value: 110}}\n"
        ),
        "9:15 error bad-value http[0].fault.delay.percentage: a percentage is 0 to 100, found 110\n"
    );
    assert_eq!(
        virtual_service(
            "- route: [{destination: {host: a}}]\n  fault:\n    abort: {grpcStatus: UNAVAILABEL, percentage: {value: 1}}\n    delay: {percent: 10}\n"
        ),
        "9:27 error bad-status http[0].fault.abort.grpcStatus: `UNAVAILABEL` is no status of gRPC\n\
         10:7 error bad-fault http[0].fault.delay: `fixedDelay` is missing\n\
         10:24 info older-spelling http[0].fault.delay.percent: this is an older spelling\n"
    );
}

#[test]
fn redirects_and_rewrites_say_where_to() {
    assert_eq!(
        virtual_service("- redirect: {}\n"),
        "7:5 error bad-redirect http[0].redirect: a redirect says where to: uri, prefixRewrite, authority, scheme or port\n"
    );
    assert_eq!(
        virtual_service("- redirect: {uri: /x, redirectCode: 304, scheme: ftp}\n"),
        "7:39 warning bad-redirect http[0].redirect.redirectCode: Envoy does not redirect with 304\n\
         7:52 error bad-redirect http[0].redirect.scheme: `ftp` is not http or https\n"
    );
    assert_eq!(
        virtual_service(
            "- route: [{destination: {host: a}}]\n  rewrite: {authority: b}\n  headers: {request: {set: {Host: c}}}\n"
        ),
        "9:15 error conflicting-actions http[0].headers.request: the authority is set more than once\n"
    );
}

#[test]
fn hosts_are_named_once_and_never_all_of_the_mesh() {
    let of = |hosts: &str, more: &str| {
        told(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: {hosts}\n{more}  \
             http: [{{route: [{{destination: {{host: a}}}}]}}]\n"
        ))
    };
    assert_eq!(of("['*']", ""), "5:11 error bad-host hosts[0]: `*` would be every host of the mesh\n");
    assert_eq!(of("['*']", "  gateways: [gw]\n"), "");
    assert_eq!(of("[a, A]", ""), "5:14 error duplicate-host hosts[1]: `a` stands here a second time\n");
    assert_eq!(
        of("['*.b.com', a.b.com]", ""),
        "5:22 error overlapping-hosts hosts[1]: `*.b.com` of the same list covers `a.b.com`; a resource names each host once\n"
    );
    assert_eq!(
        of("[a]", "  exportTo: ['.', default]\n"),
        "6:19 error bad-export-to exportTo[1]: the namespace stands here a second time\n"
    );
}

#[test]
fn mirrors_in_every_spelling_are_taken_and_the_older_one_is_told() {
    assert_eq!(
        virtual_service("- route: [{destination: {host: a}}]\n  mirror: {host: b}\n  mirrorPercent: 100\n"),
        "9:20 info older-spelling http[0].mirrorPercent: this is an older spelling\n"
    );
    assert_eq!(
        virtual_service(
            "- route: [{destination: {host: a}}]\n  mirror: {host: b}\n  mirrors: [{destination: {host: c}}]\n"
        ),
        "9:5 error conflicting-actions http[0].mirrors: `mirror` and `mirrors` exclude each other\n"
    );
    assert_eq!(
        virtual_service("- route: [{destination: {host: a}}]\n  mirrorPercentage: {value: 5}\n"),
        "8:5 warning no-mirror http[0].mirrorPercentage: without `mirror` nothing is mirrored\n"
    );
}

#[test]
fn subsets_have_names_of_their_own() {
    assert_eq!(
        destination_rule(
            "subsets:\n- {name: v1, labels: {version: v1}}\n- {name: v1, labels: {version: \"-\"}}\n- {name: a.b}\n"
        ),
        "8:12 error duplicate-subset subsets[1].name: `v1` stands here a second time\n\
         8:34 error bad-label subsets[1].labels.version: `-` is not the value of a label\n\
         9:12 error bad-subset subsets[2].name: `a.b` is not the name of a subset\n"
    );
    assert_eq!(
        destination_rule("subsets:\n- {name: v1, labels: {version: 1}}\n"),
        "7:34 error bad-value subsets[0].labels.version: must be a text, found the number 1\n"
    );
}

#[test]
fn policies_of_traffic_must_say_something_that_fits_together() {
    assert_eq!(
        destination_rule("trafficPolicy: {}\n"),
        "6:3 error empty-policy trafficPolicy: a traffic policy must say something\n"
    );
    assert_eq!(
        destination_rule("trafficPolicy: {loadBalancer: {simple: LEAST_REQ}}\n"),
        "6:42 error bad-value trafficPolicy.loadBalancer.simple: `LEAST_REQ` is none of the values that the field takes: \
         UNSPECIFIED, RANDOM, PASSTHROUGH, ROUND_ROBIN, LEAST_CONN, LEAST_REQUEST\n"
    );
    assert_eq!(
        destination_rule(
            "trafficPolicy:\n  loadBalancer: {simple: RANDOM, consistentHash: {httpCookie: {ttl: 0s}, maglev: {tableSize: \"100\"}}}\n"
        ),
        "7:28 error conflicting-policies trafficPolicy.loadBalancer.simple: `simple` and `consistentHash` exclude each other\n\
         7:53 error bad-cookie trafficPolicy.loadBalancer.consistentHash.httpCookie: a cookie must have a name\n\
         7:96 error bad-table-size trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: the size of a table is a \
         prime below 5000011, found 100\n"
    );
    assert_eq!(
        destination_rule(
            "trafficPolicy:\n  outlierDetection: {consecutiveLocalOriginFailures: 1, maxEjectionPercent: 200, interval: 1us}\n  \
             tls: {mode: MUTUAL, credentialName: a, privateKey: b}\n  portLevelSettings: [{port: {}}]\n"
        ),
        "7:56 error conflicting-policies trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: failures to connect \
         are not counted apart\n\
         7:79 error bad-percentage trafficPolicy.outlierDetection.maxEjectionPercent: a percentage is 0 to 100, found 200\n\
         7:94 error bad-duration trafficPolicy.outlierDetection.interval: must be at least 1ms, found 1µs\n\
         8:41 info gateways-only trafficPolicy.tls.credentialName: a Secret is for gateways, of their own namespace\n\
         8:56 error conflicting-policies trafficPolicy.tls.privateKey: `credentialName` and files of certificates exclude each other\n\
         9:25 error empty-policy trafficPolicy.portLevelSettings[0]: the settings of a port must say something\n\
         9:25 error no-port trafficPolicy.portLevelSettings[0]: the settings of a port say which port\n"
    );
}

#[test]
fn ports_that_are_not_named_for_their_protocol_are_told() {
    assert_eq!(
        service(
            "{ports: [{name: web, port: 8080}, {name: http-api, port: 80}, {name: dns, port: 53, protocol: UDP}]}"
        ),
        "4:23 info port-protocol ports[0].name: the name `web` declares no protocol\n"
    );
    assert_eq!(
        service("{ports: [{port: 80}]}"),
        "4:23 info port-protocol ports[0].port: port 80 declares no protocol\n"
    );
    assert_eq!(
        service("{ports: [{port: 80, name: http, appProtocol: example.com/x}]}"),
        "4:52 info port-protocol ports[0].appProtocol: the mesh does not know the protocol `example.com/x`\n"
    );
    assert_eq!(
        service("{ports: [{port: 80}, {name: tcp, port: 80}], externalTrafficPolicy: Local}"),
        "4:16 error no-port-name ports[0]: several ports must have names\n\
         4:23 info port-protocol ports[0].port: port 80 declares no protocol\n\
         4:46 error duplicate-port ports[1].port: 80 stands here a second time\n"
    );
    assert_eq!(service("{}"), "4:1 error no-ports spec: a Service needs ports\n");
    assert_eq!(service("{clusterIP: None}"), "");
}

#[test]
fn workload_entries_have_addresses() {
    let of = |spec: &str| {
        told(&format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: a}}\nspec: {spec}\n"
        ))
    };
    assert_eq!(of("{address: 10.0.0.1, ports: {http: 8080}, labels: {app: a}}"), "");
    assert_eq!(of("{}"), "4:1 error no-address address: `address` is missing\n");
    assert_eq!(of("{address: vm.example.com}"), "");
    assert_eq!(
        of("{address: 'unix:///run/x', ports: {a: 1}}"),
        "4:34 error bad-address ports: a Unix socket has no ports\n"
    );
}

#[test]
fn annotations_and_labels_of_a_service_that_have_no_meaning_or_no_effect_yet() {
    let of = |metadata: &str, spec: &str| {
        told(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a, {metadata}}}\nspec: {{{spec}ports: [{{name: http, port: 80}}]}}\n"
        ))
    };
    assert_eq!(of("annotations: {networking.istio.io/exportTo: 'shop, ., ~,*'}", ""), "");
    assert_eq!(
        of("annotations: {networking.istio.io/exportTo: 'shop, a_b'}", ""),
        "3:65 warning bad-export-to metadata.annotations[\"networking.istio.io/exportTo\"]: `a_b` is not `.`, `*`, `~` or the name of a namespace\n"
    );
    assert_eq!(
        of(
            "annotations: {networking.istio.io/traffic-distribution: preferclose}",
            "trafficDistribution: PreferSameNode, "
        ),
        ""
    );
    assert_eq!(
        of("namespace: b", "trafficDistribution: Near, "),
        "4:29 warning bad-traffic-distribution trafficDistribution: `Near` is no distribution of traffic\n"
    );
    assert_eq!(
        of("labels: {istio.io/persistent-session: cart}", ""),
        "3:59 warning not-supported-yet metadata.labels[\"istio.io/persistent-session\"]: this label is not supported yet\n"
    );
    assert_eq!(
        of("annotations: {traffic.istio.io/nodeSelector: a}", ""),
        "3:66 warning not-supported-yet metadata.annotations[\"traffic.istio.io/nodeSelector\"]: this annotation is not supported yet\n"
    );
    assert_eq!(
        told(
            "{apiVersion: v1, kind: Namespace, metadata: {name: a, annotations: {networking.istio.io/traffic-distribution: x}}}"
        ),
        "1:111 warning bad-traffic-distribution metadata.annotations[\"networking.istio.io/traffic-distribution\"]: `x` is no distribution of traffic\n"
    );
}
