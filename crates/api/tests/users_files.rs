//! The files that people and controllers write, as they write them: articles, Flagger, Argo Rollouts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use meltemi_api::value::{HeaderName, StringMatch};
use meltemi_api::virtual_service::Action;
use meltemi_api::{DestinationRule, Object, Spec, VirtualService, parse, parse_all, parse_mesh_config};

fn virtual_service(objects: &[Object]) -> &VirtualService {
    let of = |object| match object {
        &Object { spec: Spec::VirtualService(ref service), .. } => Some(service),
        _ => None,
    };
    objects.iter().find_map(of).unwrap()
}

fn destination_rule(objects: &[Object]) -> &DestinationRule {
    let of = |object| match object {
        &Object { spec: Spec::DestinationRule(ref rule), .. } => Some(rule),
        _ => None,
    };
    objects.iter().find_map(of).unwrap()
}

/// Findings as `severity code field`.
fn told(text: &str) -> Vec<String> {
    let line =
        |finding: &meltemi_api::Finding| format!("{} {} {}", finding.severity, finding.code, finding.field);
    parse(text, "f", "default").findings().iter().map(line).collect()
}

const SUBSETS: &str = "\
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: myapp
spec:
  host: myapp
  subsets:
    - name: v1
      labels:
        version: v1
    - name: v2
      labels:
        version: v2
---
";

#[test]
fn a_canary_of_two_subsets() {
    let text = format!(
        "{SUBSETS}\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
    - myapp
  http:
    - route:
        - destination:
            host: myapp
            subset: v1
          weight: 90
        - destination:
            host: myapp
            subset: v2
          weight: 10
"
    );
    assert_eq!(told(&text), [""; 0]);
    let objects = parse_all(&text).unwrap();
    assert_eq!(objects[0].meta.key.to_string(), "DestinationRule default/myapp");
    let subsets = &destination_rule(&objects).subsets;
    assert_eq!(subsets[1].labels.labels().value("version"), Some("v2"));
    let service = virtual_service(&objects);
    assert!(service.is_in_mesh() && service.hosts[0].is_short());
    let Action::Route(route) = service.http[0].action() else { panic!("no route") };
    let shares: Vec<_> =
        route.iter().map(|to| (to.destination.subset.as_deref().unwrap(), to.weight)).collect();
    assert_eq!(shares, [("v1", 90), ("v2", 10)]);
}

#[test]
fn blue_and_green() {
    let text = "\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
  - myapp
  http:
  - route:
    - destination:
        host: myapp
        subset: green
";
    assert_eq!(told(text), [""; 0]);
    let objects = parse_all(text).unwrap();
    let Action::Route([only]) = virtual_service(&objects).http[0].action() else { panic!("not one route") };
    assert_eq!(only.destination.subset.as_deref(), Some("green"));
}

#[test]
fn a_mirror_of_everything_in_the_older_spelling() {
    for spelling in ["mirrorPercent: 100", "mirror_percent: 100", "mirrorPercentage: {value: 100.0}", ""] {
        let text = format!(
            "\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
    - myapp
  http:
    - route:
        - destination:
            host: myapp
            subset: v1
          weight: 100
      mirror:
        host: myapp
        subset: v2
      {spelling}
"
        );
        let objects = parse_all(&text).unwrap();
        let mirrors: Vec<_> = virtual_service(&objects).http[0].mirrors().collect();
        assert_eq!(mirrors.len(), 1, "{spelling}");
        assert_eq!(mirrors[0].0.subset.as_deref(), Some("v2"));
        assert_eq!(mirrors[0].1.millionths(), 1_000_000, "{spelling}");
        // Never more than good to know: the file is right.
        assert!(told(&text).iter().all(|line| line.starts_with("info older-spelling")), "{spelling}");
    }
}

#[test]
fn an_ab_test_by_a_header_that_matches_a_pattern() {
    let text = "\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
    - myapp
  http:
    - match:
        - headers:
            User-Id:
              regex: ^(user-[0-9]{3}|user-[0-9]{4})$
      route:
        - destination:
            host: myapp
            subset: v2
    - route:
        - destination:
            host: myapp
            subset: v1
";
    assert_eq!(told(text), [""; 0]);
    let objects = parse_all(text).unwrap();
    let headers = &virtual_service(&objects).http[0].matches[0].headers;
    let name = HeaderName::parse("user-id").unwrap();
    let Some(StringMatch::Regex(regex)) = headers.get(&name) else { panic!("{headers:?}") };
    assert_eq!(regex.as_str(), "^(user-[0-9]{3}|user-[0-9]{4})$");
}

#[test]
fn what_flagger_writes_in_a_run_with_session_affinity() {
    let text = r#"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: podinfo
  namespace: test
  annotations:
    helm.toolkit.fluxcd.io/driftDetection: disabled
    kustomize.toolkit.fluxcd.io/reconcile: disabled
  ownerReferences:
  - {apiVersion: flagger.app/v1beta1, blockOwnerDeletion: true, controller: true, kind: Canary, name: podinfo, uid: u}
spec:
  gateways: [mesh]
  hosts: [podinfo]
  http:
  - match:
    - headers:
        Cookie: {regex: ".*flagger-cookie.*abc.*"}
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: "gateway-error,connect-failure,refused-stream"}
    route:
    - {destination: {host: podinfo-primary}, weight: 0}
    - {destination: {host: podinfo-canary}, weight: 100}
  - route:
    - {destination: {host: podinfo-primary}, weight: 90}
    - destination: {host: podinfo-canary}
      headers: {response: {add: {Set-Cookie: "flagger-cookie=abc; Max-Age=86400"}}}
      weight: 10
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: podinfo-canary, namespace: test}
spec:
  host: podinfo-canary
  trafficPolicy: {tls: {mode: DISABLE}}
"#;
    assert_eq!(told(text), [""; 0]);
    let objects = parse_all(text).unwrap();
    let service = virtual_service(&objects);
    let add = &service.http[1].route[1].headers.response.add;
    assert_eq!(
        add.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(),
        [("set-cookie", "flagger-cookie=abc; Max-Age=86400")]
    );
    assert!(objects[0].meta.annotations.is_empty());
}

#[test]
fn what_argo_rollouts_writes_in_a_step_with_managed_routes() {
    let text = r#"{
  "apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService",
  "metadata": {"name": "web", "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "web"}},
  "spec": {"hosts": ["web"], "http": [
    {"name": "header-route", "match": [{"headers": {"agent": {"exact": "firefox"}}}],
     "route": [{"destination": {"host": "web", "subset": "canary"}, "weight": 100}]},
    {"name": "mirror-route", "match": [{"method": {"exact": "GET"}, "uri": {"prefix": "/"}}],
     "mirror": {"host": "web", "subset": "canary"}, "mirrorPercentage": {"value": 35},
     "route": [{"destination": {"host": "web", "subset": "stable"}, "weight": 95},
               {"destination": {"host": "web", "subset": "canary"}, "weight": 5}]},
    {"name": "primary", "route": [{"destination": {"host": "web", "subset": "stable"}, "weight": 95},
                                  {"destination": {"host": "web", "subset": "canary"}, "weight": 5}]}
  ]}
}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets:
  - {name: canary, labels: {app: web, rollouts-pod-template-hash: "687d76d795"}}
  - {name: stable, labels: {app: web, rollouts-pod-template-hash: 687d76d795}}
"#;
    assert_eq!(told(text), [""; 0]);
    let objects = parse_all(text).unwrap();
    let shares: Vec<_> =
        virtual_service(&objects).http[1].mirrors().map(|(_, share)| share.to_string()).collect();
    assert_eq!(shares, ["35%"]);
    let subsets = &destination_rule(&objects).subsets;
    assert_eq!(subsets[0].labels, subsets[1].labels);
}

#[test]
fn every_field_of_a_policy_is_read() {
    let text = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews.shop.svc.cluster.local
  exportTo: [., other]
  trafficPolicy:
    loadBalancer:
      consistentHash: {httpCookie: {name: user, path: /, ttl: 0s}, ringHash: {minimumRingSize: \"2048\"}}
      warmup: {duration: 30s, minimumPercent: 20, aggression: 1.5}
    connectionPool:
      tcp: {maxConnections: 100, connectTimeout: 30ms, tcpKeepalive: {probes: 3, time: 2h, interval: 75s}, idleTimeout: 0s}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 5s,
             h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 6}
    outlierDetection: {consecutive5xxErrors: 7, consecutiveGatewayErrors: 0, interval: 5m, baseEjectionTime: 15m,
                       maxEjectionPercent: 50, minHealthPercent: 10, splitExternalLocalOriginErrors: true,
                       consecutiveLocalOriginFailures: 3}
    portLevelSettings:
    - port: {number: 9080}
      loadBalancer: {simple: LEAST_CONN}
  workloadSelector: {matchLabels: {app: cart}}
";
    // With a selector the rule is for its own namespace alone.
    assert_eq!(told(text), ["error bad-export-to spec.exportTo"]);
    let text = text.replace("[., other]", "[.]");
    assert_eq!(told(&text), [""; 0]);
    let objects = parse_all(&text).unwrap();
    let policy = destination_rule(&objects).traffic_policy.as_ref().unwrap();
    let text = format!("{policy:?}");
    for part in [
        "RingHash(Some(2048))",
        "ttl: Some(Duration(0ns))",
        "Decimal(1500000)",
        "7200s",
        "consecutive_5xx_errors: Some(7)",
        "LeastRequest",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_field_without_effect_is_never_passed_over_in_silence() {
    for (field, yaml) in [
        (
            "metadata.annotations[\"traffic.istio.io/nodeSelector\"]",
            "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {traffic.istio.io/nodeSelector: b}}, spec: {ports: [{name: http, port: 80}]}}",
        ),
        (
            "spec.network",
            "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a}, spec: {address: 10.0.0.1, network: east}}",
        ),
    ] {
        let file = parse(yaml, "f.yaml", "default");
        let findings = file.findings();
        let told =
            findings.iter().any(|finding| finding.code == "not-supported-yet" && finding.field == field);
        assert!(told, "{field}: {findings:?}");
    }
    for field in ["caCertificates: []", "meshMTLS: {ecdhCurves: [P-256]}", "ingressClass: a"] {
        let (mesh, findings) = parse_mesh_config(field, "m.yaml");
        assert!(mesh.is_some(), "{field}: {findings:?}");
        assert_eq!(
            findings.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            ["not-supported-yet"],
            "{field}"
        );
    }
}
