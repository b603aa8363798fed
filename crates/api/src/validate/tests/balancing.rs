//! Which endpoints come first, what connections are wrapped in, and the mesh's word on both: what Istio's admission refuses.

use super::{destination_rule, told};

fn policy(text: &str) -> String {
    destination_rule(&format!("trafficPolicy: {{{text}}}\n"))
}

fn locality(text: &str, outliers: bool) -> String {
    let outliers = if outliers { ", outlierDetection: {consecutive5xxErrors: 3}" } else { "" };
    policy(&format!("loadBalancer: {{localityLbSetting: {{{text}}}}}{outliers}"))
}

fn mesh(text: &str) -> String {
    told(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: '{text}'\n"
    ))
}

/// The codes of the findings and the last part of their fields.
fn codes(told: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (severity, code) = (words.next().unwrap(), words.next().unwrap());
        let field = words.next().unwrap().trim_end_matches(':');
        format!("{severity} {code} {}", field.rsplit_once("Setting.").map_or(field, |(_, last)| last))
    };
    told.lines().map(line).collect()
}

#[test]
fn shares_are_whole_and_places_do_not_overlap() {
    let distribute =
        |from: &str, to: &str| locality(&format!("distribute: [{{from: '{from}', to: {to}}}]"), false);
    assert_eq!(distribute("eu/*", "{eu/eu-1/*: 70, us: 30}"), "");
    assert_eq!(codes(&distribute("eu", "{us: 99}")), ["error bad-percentage distribute[0].to"]);
    assert_eq!(codes(&distribute("eu", "{us: 100, ap: 0}")), ["error bad-percentage distribute[0].to.ap"]);
    assert_eq!(codes(&distribute("eu/*/a", "{us: 100}")), ["error bad-locality distribute[0].from"]);
    let overlapping =
        locality("distribute: [{from: eu, to: {us: 100}}, {from: eu/eu-1, to: {us: 100}}]", false);
    assert_eq!(codes(&overlapping), ["error bad-locality distribute[1].from"]);
    // All others come last, as in Istio.
    let rest = locality("distribute: [{from: eu, to: {us: 100}}, {from: '*', to: {us: 100}}]", false);
    assert_eq!(rest, "");
    let first = locality("distribute: [{from: '*', to: {us: 100}}, {from: eu, to: {us: 100}}]", false);
    assert_eq!(codes(&first), ["error bad-locality distribute[1].from"]);
}

#[test]
fn a_region_takes_over_from_another_one_where_failures_are_seen() {
    assert_eq!(
        locality("failover: [{from: eu, to: us}], failoverPriority: [version, track=stable]", true),
        ""
    );
    let blind = locality("failoverPriority: [version]", false);
    assert_eq!(codes(&blind), ["warning field-without-effect failoverPriority"]);
    let itself = locality("failover: [{from: eu, to: eu}]", true);
    assert_eq!(codes(&itself), ["error bad-locality failover[0]"]);
    let zone = locality("failover: [{from: eu/eu-1, to: us}]", true);
    assert_eq!(codes(&zone), ["error bad-locality failover[0].from"]);
    let both = locality("failover: [{from: eu, to: us}], distribute: [{from: eu, to: {us: 100}}]", true);
    assert_eq!(codes(&both), ["error conflicting-policies distribute"]);
    let twice =
        locality("failover: [{from: eu, to: us}], failoverPriority: [topology.kubernetes.io/region]", true);
    assert_eq!(codes(&twice), ["error conflicting-policies failoverPriority[0]"]);
}

#[test]
fn a_tunnel_has_an_end_and_probes_a_pace() {
    assert_eq!(policy("tunnel: {targetHost: a.example, targetPort: 443}"), "");
    assert_eq!(policy("tunnel: {protocol: POST, targetHost: 10.0.0.1, targetPort: 443}"), "");
    let bad = policy("tunnel: {protocol: UDP, targetHost: '*.example', targetPort: 0}");
    assert_eq!(codes(&bad).len(), 3, "{bad}");
    assert!(bad.lines().all(|line| line.contains("error bad-tunnel trafficPolicy.tunnel.")), "{bad}");
    let both = policy("tunnel: {targetHost: a, targetPort: 1}, proxyProtocol: {version: V2}");
    assert_eq!(codes(&both), ["error conflicting-policies trafficPolicy.tunnel"]);
    assert_eq!(policy("retryBudget: {percent: 12.5, minRetryConcurrency: 1, budgetInterval: 0s}"), "");
    let keepalive = |text: &str| policy(&format!("connectionPool: {{http: {{http2KeepAlive: {text}}}}}"));
    assert_eq!(keepalive("{interval: 1s, timeout: 1s}"), "");
    assert_eq!(codes(&keepalive("{interval: 1s}")).len(), 1);
    let statuses = policy("outlierDetection: {outlierDetectionHttpErrorCodes: [429, 600]}");
    assert_eq!(
        codes(&statuses),
        ["error bad-status trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[1]"]
    );
}

#[test]
fn the_mesh_is_held_to_the_same() {
    assert_eq!(mesh("localityLbSetting: {failoverPriority: [version]}"), "");
    let half = mesh("localityLbSetting: {distribute: [{from: eu, to: {us: 50}}]}");
    assert!(half.contains("error bad-percentage"), "{half}");
    let unknown = mesh("tlsDefaults: {ecdhCurves: [X25519, P-25], cipherSuites: [NONE]}");
    assert_eq!(unknown.matches("error bad-cipher-suite").count(), 2, "{unknown}");
    let inbound = mesh("defaultInboundHttpRetryPolicy: {attempts: 2, perTryTimeout: 1s}");
    assert!(inbound.contains("warning field-without-effect"), "{inbound}");
    let none = mesh("defaultInboundHttpRetryPolicy: {attempts: 0, backoff: 1s}");
    assert!(none.contains("error no-attempts"), "{none}");
    let limits = mesh("defaultTrafficPolicy: {connectionPool: {}}");
    assert!(limits.contains("error empty-policy"), "{limits}");
}
