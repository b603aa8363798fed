//! Rules for connections, delegates and CORS: what Istio's admission refuses, and what it only warns of.

use super::{told, virtual_service};

fn rules(hosts: &str, rules: &str) -> String {
    let rules: String = rules.lines().map(|line| format!("  {line}\n")).collect();
    told(&format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  {hosts}\n{rules}"
    ))
}

fn of_a(text: &str) -> String {
    rules("hosts: [a.example.com]", text)
}

#[test]
fn a_tcp_rule_says_where_to_and_is_found_by_what_the_control_plane_knows() {
    assert_eq!(
        of_a(
            "tcp:\n- match: [{port: 27017, destinationSubnets: [10.0.0.0/8, 10.1.2.3], sourceLabels: {app: b}, \
             sourceNamespace: c, gateways: [mesh]}]\n  route: [{destination: {host: a}}]\n"
        ),
        ""
    );
    assert_eq!(
        of_a("tcp:\n- match: [{port: 1}]\n"),
        "7:5 error no-action tcp[0].route: the rule says what to match, not where connections go\n"
    );
    assert_eq!(
        of_a("tcp:\n- match: [{destinationSubnets: [10.0.0.0/33]}]\n  route: [{destination: {host: a}}]\n"),
        "7:35 error bad-value tcp[0].match[0].destinationSubnets[0]: `10.0.0.0/33` is neither an IP address nor a block such \
         as 10.0.0.0/8\n"
    );
    assert_eq!(
        of_a(
            "tcp:\n- route:\n  - {destination: {host: a, subset: v1}, weight: 80}\n  - {destination: {host: a, subset: v2}, weight: 10}\n"
        ),
        "7:5 warning weight-sum tcp[0].route: the weights sum to 90, not 100\n"
    );
    assert_eq!(
        of_a("tcp:\n- match: [{sourceSubnet: 10.0.0.0/8}]\n  route: [{destination: {host: a}}]\n"),
        "7:28 warning field-without-effect tcp[0].match[0].sourceSubnet: the client's address is not looked at, as in Istio\n"
    );
}

#[test]
fn a_tls_rule_names_hosts_of_its_object() {
    let tls =
        |matching: &str| of_a(&format!("tls:\n- {matching}\n  route: [{{destination: {{host: a}}}}]\n"));
    assert_eq!(tls("match: [{port: 443, sniHosts: [a.example.com]}]"), "");
    assert_eq!(
        tls("match: [{sniHosts: [b.example.com]}]"),
        "7:25 error foreign-sni-host tls[0].match[0].sniHosts[0]: `b.example.com` is none of the hosts of this object\n"
    );
    assert_eq!(
        tls("match: [{port: 443}]"),
        "7:13 error no-sni-hosts tls[0].match[0].sniHosts: a match says which names clients ask for: sniHosts\n"
    );
    assert_eq!(
        of_a("tls:\n- route: [{destination: {host: a}}]\n"),
        "7:5 error no-match tls[0]: a rule for TLS says which names it is for\n"
    );
    // A wildcard among the hosts covers.
    assert_eq!(
        rules(
            "hosts: ['*.example.com']",
            "tls:\n- match: [{sniHosts: [a.example.com, '*.b.example.com']}]\n  route: [{destination: {host: a}}]\n"
        ),
        ""
    );
}

#[test]
fn of_two_rules_for_the_same_connections_the_second_is_told() {
    let route = "  route: [{destination: {host: a}}]\n";
    assert_eq!(
        of_a(&format!("tcp:\n- {}- match: [{{port: 1}}]\n{route}", &route[2..])),
        "8:5 warning unreachable-rule tcp[1]: no connection comes here: rule 0 takes them all\n"
    );
    assert_eq!(
        of_a(&format!("tcp:\n- match: [{{port: 1}}]\n{route}- match: [{{port: 2}}, {{port: 1}}]\n{route}")),
        "9:24 warning unreachable-match tcp[1].match[1]: rule 0 takes what would match here\n"
    );
}

#[test]
fn a_delegate_has_no_hosts_gateways_or_rules_for_connections_and_does_not_delegate() {
    let route = "  - route: [{destination: {host: a}}]\n";
    assert_eq!(rules("http:", route), "");
    assert_eq!(
        rules("gateways: [g]", &format!("http:\n{}", &route[2..])),
        "4:1 error no-hosts hosts: a VirtualService with gateways, tls or tcp needs hosts\n"
    );
    assert_eq!(
        rules("http:", "- delegate: {name: b}\n"),
        "6:5 error nested-delegate http[0].delegate: a VirtualService without hosts does not delegate again\n"
    );
}

#[test]
fn cors_takes_what_browsers_take() {
    let cors = |policy: &str| {
        virtual_service(&format!("- route: [{{destination: {{host: a}}}}]\n  corsPolicy: {policy}\n"))
    };
    assert_eq!(
        cors(
            "{allowOrigins: [{regex: '.*[.]example[.]com'}], allowMethods: [GET], allowHeaders: [x-a, '*'], maxAge: 24h, \
             allowCredentials: true, exposeHeaders: [x-b], unmatchedPreflights: IGNORE}"
        ),
        ""
    );
    assert_eq!(
        cors("{allowMethods: [get], allowHeaders: [':path'], maxAge: 1500ms}"),
        "8:33 error bad-cors http[0].corsPolicy.allowMethods[0]: `get` is not a method of HTTP\n\
         8:54 error bad-cors http[0].corsPolicy.allowHeaders[0]: `:path` is not a header name\n\
         8:72 error bad-duration http[0].corsPolicy.maxAge: browsers take whole seconds\n"
    );
    assert_eq!(
        cors("{allowOrigins: [{}], unmatchedPreflights: DROP}"),
        "8:59 error bad-value http[0].corsPolicy.unmatchedPreflights: `DROP` is not FORWARD or IGNORE\n"
    );
    assert_eq!(
        cors("{allowOrigins: [{}]}"),
        "8:33 error bad-cors http[0].corsPolicy.allowOrigins[0]: an origin says what it matches: exact, prefix or regex\n"
    );
    assert_eq!(
        cors("{allowOrigin: ['*'], allowCredentials: true}"),
        "8:18 info older-spelling http[0].corsPolicy.allowOrigin: this is an older spelling\n\
         8:56 warning bad-cors http[0].corsPolicy.allowCredentials: every site's scripts may call with the user's credentials\n"
    );
}

#[test]
fn a_redirect_by_prefix_needs_a_matched_prefix() {
    let redirect = |matching: &str, redirect: &str| {
        virtual_service(&format!("- match: [{{uri: {matching}}}]\n  redirect: {redirect}\n"))
    };
    assert_eq!(redirect("{prefix: /a}", "{prefixRewrite: /b}"), "");
    assert_eq!(
        redirect("{exact: /a}", "{prefixRewrite: /b}"),
        "8:31 error bad-redirect http[0].redirect.prefixRewrite: the path is matched by something else than a prefix\n"
    );
    assert_eq!(
        redirect("{prefix: /a}", "{prefixRewrite: /b, uri: /c}"),
        "8:31 error bad-redirect http[0].redirect.prefixRewrite: `uri` and `prefixRewrite` exclude each other\n"
    );
}
