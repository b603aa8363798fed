//! Sidecar and ProxyConfig.

use super::told;

fn sidecar(spec: &str) -> String {
    told(&format!("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a}}\nspec: {spec}\n"))
}

/// Severity, code and field of each finding.
fn short(text: &str) -> Vec<String> {
    let line = |line: &str| line.split(' ').skip(1).collect::<Vec<_>>().join(" ");
    text.lines().map(|told| line(told.split(": ").next().unwrap_or_default())).collect()
}

#[test]
fn a_sound_sidecar_has_no_findings() {
    for spec in [
        "{egress: [{hosts: [./*, prod/reviews.prod.svc.cluster.local, '*/*.example.com', ~prod/*]}]}",
        "{workloadSelector: {labels: {app: a}}, egress: [{hosts: [~/*]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}",
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b.svc.cluster.local, port: {number: 80}}}}",
        "{ingress: [{port: {number: 80, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:8080, bind: 10.0.0.1, \
         captureMode: NONE, connectionPool: {http: {http2MaxRequests: 5}}}]}",
        "{ingress: [{port: {number: 80, protocol: TCP}, defaultEndpoint: unix:///run/a}], inboundConnectionPool: {tcp: \
         {maxConnections: 1}}}",
        "{egress: [{port: {number: 80, protocol: HTTP}, bind: 127.0.0.2, captureMode: NONE, hosts: ['*/*']}, \
         {port: {number: 0, protocol: HTTP}, bind: unix:///a, hosts: [./*]}, {hosts: [./*]}]}",
    ] {
        assert_eq!(sidecar(spec), "", "{spec}");
    }
}

#[test]
fn what_istio_refuses_of_a_sidecar_is_refused() {
    let port = "port: {number: 80, protocol: HTTP}";
    let cases = [
        ("{}".to_owned(), "error empty-policy spec"),
        ("{workloadSelector: {labels: {app: a}}}".to_owned(), "error empty-policy spec"),
        ("{egress: [{}]}".to_owned(), "error no-hosts egress[0]"),
        ("{egress: [{hosts: [./*]}, {hosts: [a/*]}]}".to_owned(), "error catch-all-not-last egress[0]"),
        ("{egress: [{hosts: [reviews]}]}".to_owned(), "error bad-value egress[0].hosts[0]"),
        ("{egress: [{hosts: [prod/reviews]}]}".to_owned(), "error bad-value egress[0].hosts[0]"),
        ("{egress: [{hosts: ['prod/*a.com']}]}".to_owned(), "error bad-value egress[0].hosts[0]"),
        (format!("{{egress: [{{{port}, hosts: [./*]}}, {{{port}, hosts: [./*]}}]}}"), "error duplicate-port egress[1].port"),
        ("{egress: [{port: {number: 0, protocol: HTTP}, hosts: [./*]}]}".to_owned(), "error bad-address egress[0].port.number"),
        (
            "{egress: [{port: {number: 0, protocol: HTTP}, bind: unix:///a, captureMode: IPTABLES, hosts: [./*]}]}".to_owned(),
            "error bad-address egress[0].captureMode",
        ),
        (format!("{{egress: [{{{port}, bind: unix:///a, hosts: [./*]}}]}}"), "error bad-address egress[0].bind"),
        (format!("{{egress: [{{{port}, bind: a, hosts: [./*]}}]}}"), "error bad-value egress[0].bind"),
        (
            "{egress: [{port: {number: 80, protocol: HTP}, hosts: [./*]}]}".to_owned(),
            "error bad-protocol egress[0].port.protocol",
        ),
        (
            "{egress: [{port: {number: 80, protocol: HTTP, targetPort: 81}, hosts: [./*]}]}".to_owned(),
            "error field-without-effect egress[0].port.targetPort",
        ),
        ("{ingress: [{}]}".to_owned(), "error no-port ingress[0]"),
        ("{ingress: [{port: {protocol: HTTP}}]}".to_owned(), "error no-port ingress[0].port.number"),
        (format!("{{ingress: [{{{port}}}, {{{port}}}]}}"), "error duplicate-port ingress[1].port"),
        (format!("{{ingress: [{{{port}, defaultEndpoint: 10.0.0.1:80}}]}}"), "error bad-value ingress[0].defaultEndpoint"),
        (format!("{{ingress: [{{{port}, bind: a}}]}}"), "error bad-value ingress[0].bind"),
        (format!("{{ingress: [{{{port}, connectionPool: {{}}}}]}}"), "error empty-policy ingress[0].connectionPool"),
        ("{inboundConnectionPool: {}}".to_owned(), "error empty-policy inboundConnectionPool"),
        (
            "{outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}}".to_owned(),
            "error bad-value outboundTrafficPolicy.mode",
        ),
        (
            "{outboundTrafficPolicy: {egressProxy: {host: a.b, port: {number: 80}}}}".to_owned(),
            "error conflicting-policies outboundTrafficPolicy.egressProxy",
        ),
        (
            "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a.b}}}".to_owned(),
            "error no-port outboundTrafficPolicy.egressProxy",
        ),
        (
            "{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: '*.b', port: {number: 80}}}}".to_owned(),
            "error bad-host outboundTrafficPolicy.egressProxy.host",
        ),
        (
            "{workloadSelector: {labels: {app: 'a*'}}, egress: [{hosts: [./*]}]}".to_owned(),
            "error bad-label workloadSelector.labels.app",
        ),
    ];
    for (spec, expected) in cases {
        let told = sidecar(&spec);
        assert!(short(&told).iter().any(|line| line.trim_end() == expected.trim_end()), "{spec}: {told}");
    }
    let tls = |tls: &str| {
        short(&sidecar(&format!("{{ingress: [{{port: {{number: 443, protocol: HTTPS}}, tls: {{{tls}}}}}]}}")))
            .join("\n")
    };
    assert!(tls("mode: ISTIO_MUTUAL").contains("error bad-value ingress[0].tls.mode"));
    assert!(
        tls("mode: SIMPLE, credentialName: a")
            .contains("error field-without-effect ingress[0].tls.credentialName")
    );
    assert!(tls("mode: SIMPLE").contains("error no-certificate ingress[0].tls"));
    assert_eq!(
        tls("mode: SIMPLE, serverCertificate: a, privateKey: b"),
        "warning not-supported-yet ingress[0].tls"
    );
}

#[test]
fn what_istio_warns_of_is_a_warning() {
    for (spec, expected) in [
        ("{workloadSelector: {}, egress: [{hosts: [./*]}]}", "warning empty-selector workloadSelector"),
        ("{egress: [{hosts: [a/*, a/b.c]}]}", "warning duplicate-host egress[0].hosts[1]"),
        ("{egress: [{hosts: ['*/*', a/b.c]}]}", "warning duplicate-host egress[0].hosts"),
        (
            "{ingress: [{port: {number: 80, protocol: TCP}, connectionPool: {http: {http2MaxRequests: 1}}}]}",
            "warning field-without-effect ingress[0].connectionPool.http",
        ),
        (
            "{ingress: [{port: {number: 80, protocol: TCP}, defaultEndpoint: ':8080'}]}",
            "warning field-without-effect ingress[0].defaultEndpoint",
        ),
    ] {
        assert_eq!(short(&sidecar(spec)), [expected], "{spec}");
    }
}

#[test]
fn a_proxy_config_is_checked_and_says_that_nothing_reads_it() {
    let told = |version: &str, spec: &str| {
        told(&format!(
            "{{apiVersion: networking.istio.io/{version}, kind: ProxyConfig, metadata: {{name: a}}, spec: {spec}}}"
        ))
    };
    assert_eq!(
        short(&told("v1beta1", "{concurrency: 2, environmentVariables: {A: b}, image: {imageType: debug}}")),
        [
            "warning not-supported-yet concurrency",
            "warning not-supported-yet environmentVariables",
            "warning not-supported-yet image"
        ]
    );
    assert!(!told("v1beta1", "{environmentVariables: {A: hidden}}").contains("hidden"));
    assert!(short(&told("v1beta1", "{concurrency: -1}")).contains(&"error bad-value concurrency".to_owned()));
    assert_eq!(
        short(&told("v1beta1", "{selector: {matchLabels: {a: '*'}}}")),
        ["error bad-label selector.matchLabels.a"]
    );
    assert_eq!(short(&told("v1", "{}")), ["error bad-api-version apiVersion"]);
}
