//! After any sequence of changes, of any kind, in any order, what is served equals what is made from scratch, byte for byte.

use std::collections::BTreeMap;

use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_tests::mesh::{
    as_gateway, proxy, secured, sidecar, upserts, with_certificates, with_dns_capture,
};
use meltemi_tests::served::{Served, served};
use meltemi_views::{Engine, Options};
use proptest::prelude::*;

const OFF: Options = Options { holds: false, virtual_hosts: true, tombstones: 100, findings: true };

/// A small object of some kind; the numbers decide its name and what it says.
fn object(kind: usize, name: usize, variant: usize) -> String {
    let namespace = ["shop", "web"][name % 2];
    let other = ["web", "shop"][name % 2];
    match kind {
        0 => {
            let port = [
                "{name: http, port: 80}",
                "{name: tcp-db, port: 5432}",
                "{name: http, port: 80}, {name: grpc, port: 9000}",
                "{name: main, port: 7000}, {name: tls, port: 8443}",
            ][variant % 4];
            let ip = ["", "clusterIP: None, ", "clusterIP: 10.0.1.NAME, "][variant % 3]
                .replace("NAME", &name.to_string());
            let export = if variant.is_multiple_of(5) {
                ", annotations: {networking.istio.io/exportTo: '.'}"
            } else {
                ""
            };
            let near =
                ["", "", "trafficDistribution: PreferClose, ", "trafficDistribution: PreferSameNode, "]
                    [variant / 3 % 4];
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, namespace: {namespace}{export}}}, spec: {{{ip}{near}selector: {{app: a{name}}}, ports: [{port}]}}}}"
            )
        }
        1 => format!(
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: w{name}-{}, namespace: {namespace}}}, spec: {{address: 10.1.{name}.{}, labels: {{app: a{name}, version: v{}}}{}{}}}}}",
            variant % 2,
            variant + 1,
            variant % 3,
            ["", ", serviceAccount: vm"][variant / 2 % 2],
            ["", ", locality: r1/z1", ", locality: r2/z1", ", locality: r3"][variant / 3 % 4]
        ),
        2 => {
            let policy = [
                "",
                ", trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}",
                ", trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
                ", trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}",
                ", trafficPolicy: {outlierDetection: {minHealthPercent: 10}, loadBalancer: {localityLbSetting: {failoverPriority: [version, kubernetes.io/hostname, role=tester]}}}",
                ", trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: 'r1/*', to: {r2: 30, 'r1/*': 70}}, {from: '*', to: {'*': 100}}]}}}",
                ", trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r3}]}}, retryBudget: {}}",
                ", trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {failover: [{from: r1, to: r3}]}}, proxyProtocol: {version: V2}}",
                ", trafficPolicy: {tunnel: {targetHost: out.example, targetPort: 443}, loadBalancer: {localityLbSetting: {enabled: false}}}",
                ", trafficPolicy: {tls: {mode: MUTUAL, credentialName: c1}, portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, credentialName: c0}}]}",
            ][variant % 10];
            let subset = |n: usize| format!("{{name: v{n}, labels: {{version: v{n}}}}}");
            let subsets: Vec<String> = (0..=variant % 3).map(subset).collect();
            let (at, host) = match variant % 3 {
                0 => (namespace, format!("s{name}")),
                1 => (other, format!("s{name}.{namespace}.svc.cluster.local")),
                _ => (namespace, format!("*.{namespace}.svc.cluster.local")),
            };
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d{name}, namespace: {at}}}, spec: {{host: '{host}', subsets: [{}]{policy}}}}}",
                subsets.join(", ")
            )
        }
        3 => {
            let host = [
                format!("s{name}"),
                format!("s{name}.{namespace}.svc.cluster.local"),
                "*.svc.cluster.local".into(),
                "outside.example.com".into(),
            ][variant % 4]
                .clone();
            let matches = [
                "",
                "match: [{headers: {x-user: {exact: jason}}}], ",
                "match: [{sourceLabels: {role: tester}}], ",
                "match: [{uri: {prefix: /a}, sourceNamespace: web}], ",
            ][variant / 2 % 4];
            let export = if variant.is_multiple_of(7) { ", exportTo: ['.']" } else { "" };
            // Rules for connections, rules that stand for another's, and a delegate.
            let weights = format!(
                "[{{destination: {{host: s{name}, subset: v0}}, weight: {}}}, {{destination: {{host: s{name}, subset: v1}}, weight: {}}}]",
                10 + variant,
                90 - variant
            );
            let other = (name + 1) % 3;
            let spec = match variant {
                8 => Some(format!(
                    "hosts: ['{host}']{export}, tcp: [{{match: [{{sourceLabels: {{role: tester}}, port: 5432}}], route: [{{destination: {{host: s{other}}}}}]}}, {{match: [{{destinationSubnets: [10.0.{name}.0/24]}}], route: {weights}}}, {{route: {weights}}}]"
                )),
                9 => Some(format!(
                    "hosts: ['s{name}', 'tls.example.com'], tls: [{{match: [{{sniHosts: [tls.example.com]}}], route: {weights}}}], tcp: [{{match: [{{sourceNamespace: web}}], route: {weights}}}]"
                )),
                10 => Some(format!(
                    "hosts: ['{host}'], http: [{{match: [{{uri: {{prefix: /a}}}}], timeout: 1s, delegate: {{name: r{other}, namespace: {other_namespace}}}}}, {{corsPolicy: {{allowOrigins: [{{prefix: https}}]}}, route: {weights}}}]",
                    other_namespace = ["shop", "web"][other % 2]
                )),
                11 => Some(format!(
                    "http: [{{match: [{{uri: {{prefix: /a/b}}, sourceLabels: {{app: client}}}}], route: {weights}}}, {{match: [{{uri: {{prefix: /c}}}}], route: {weights}}}]"
                )),
                _ => None,
            };
            if let Some(spec) = spec {
                return format!(
                    "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: r{name}, namespace: {namespace}}}, spec: {{{spec}}}}}"
                );
            }
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: r{name}, namespace: {namespace}}}, spec: {{hosts: ['{host}']{export}, http: [{{{matches}route: [{{destination: {{host: s{name}, subset: v0}}, weight: {}}}, {{destination: {{host: s{name}, subset: v1}}, weight: {}}}]}}, {{route: [{{destination: {{host: s{name}}}}}]}}]}}}}",
                10 + variant,
                90 - variant
            )
        }
        4 => {
            let target = format!(", targetRef: {{kind: Pod, name: p{name}, namespace: {namespace}}}");
            let (family, address, target) = match variant % 3 {
                0 => ("IPv4", format!("10.2.{name}.{}", variant + 1), target),
                1 => ("IPv6", format!("'fd00::{name}'"), target),
                // By hand: the pod is found by its address, if it has that one.
                _ => ("IPv4", format!("10.2.{name}.{}", variant + 1), String::new()),
            };
            format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: e{name}-{}, namespace: {namespace}, labels: {{kubernetes.io/service-name: s{name}}}}}, addressType: {family}, ports: [{{name: http, port: 8080}}], endpoints: [{{addresses: [{address}], conditions: {{ready: {}, terminating: {}}}{target}}}]}}",
                variant % 2,
                variant.is_multiple_of(2),
                variant.is_multiple_of(4)
            )
        }
        5 => format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{name}, namespace: {namespace}, labels: {{app: a{name}, version: v{}, noise: n{variant}{injected}}}}}, spec: {{serviceAccountName: sa{}, nodeName: node{}, containers: []}}, status: {{phase: Running, podIP: 10.2.{name}.{}, podIPs: [{{ip: 10.2.{name}.{}}}]}}}}",
            variant % 3,
            variant % 2,
            variant % 2,
            variant + 1,
            variant + 1,
            injected = ["", ", security.istio.io/tlsMode: istio"][variant % 2]
        ),
        6 => format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: node{}, labels: {{topology.kubernetes.io/region: r{variant}}}}}}}",
            name % 2
        ),
        7 => {
            let annotation = ["", "", "networking.istio.io/traffic-distribution: PreferClose"][variant % 3];
            format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{env: e{}}}, annotations: {{{annotation}}}}}}}",
                variant % 2
            )
        }
        8 => {
            let scope = [
                String::new(),
                format!("selector: {{matchLabels: {{app: a{name}}}}}, "),
                format!("selector: {{matchLabels: {{app: a{name}, version: v1}}}}, portLevelMtls: {{8080: {{mode: DISABLE}}}}, "),
            ][variant % 3]
                .clone();
            let mode = ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"][variant / 2 % 4];
            let at = if variant.is_multiple_of(6) { "istio-system" } else { namespace };
            let created = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"][variant % 2];
            format!(
                "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: p{name}, namespace: {at}, creationTimestamp: '{created}'}}, spec: {{{scope}mtls: {{mode: {mode}}}}}}}"
            )
        }
        9 => {
            let servers = [
                "{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.example.com', 'web/web.example.org'], tls: {httpsRedirect: true}}",
                "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}, {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ['a.example.com'], tls: {mode: MUTUAL, credentialName: c0, caCertCredentialName: c2}}",
                "{port: {number: 8443, name: https, protocol: HTTPS}, hosts: ['a.example.com', './b.example.com'], tls: {mode: SIMPLE, credentialNames: [c1, c2]}}",
                "{port: {number: 8080, name: tcp, protocol: TCP}, hosts: ['*']}, {port: {number: 8443, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}",
            ][variant % 4];
            let selector = ["{istio: edge}", "{istio: other}", "{}"][variant / 4 % 3];
            let created = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"][variant % 2];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: g{name}, namespace: {namespace}, creationTimestamp: '{created}'}}, spec: {{selector: {selector}, servers: [{servers}]}}}}"
            )
        }
        10 => {
            let block =
                |kind: &str| format!("\"-----BEGIN {kind}-----\\n{variant}\\n-----END {kind}-----\\n\"");
            let roots = if variant.is_multiple_of(2) {
                format!(", ca.crt: {}", block("CERTIFICATE"))
            } else {
                String::new()
            };
            format!(
                "{{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {{name: c{name}{}, namespace: {namespace}}}, stringData: {{tls.crt: {}, tls.key: {}{roots}}}}}",
                ["", "", "-cacert"][variant % 3],
                block("CERTIFICATE"),
                block("PRIVATE KEY"),
            )
        }
        11 => {
            let hosts =
                ["'*'", "a.example.com, c.example.com", "'*.example.com'", "web.example.org"][variant % 4];
            let gateways =
                ["[shop/g0, web/g1]", "[g0, g1, g2]", "[shop/g2, mesh]", "[web/g1]"][variant / 2 % 4];
            let gateways = if hosts == "'*'" { gateways.replace(", mesh", "") } else { gateways.to_owned() };
            let matches =
                ["", "match: [{port: 80}], ", "match: [{sourceLabels: {istio: edge}}], "][variant % 3];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: e{name}, namespace: {namespace}}}, spec: {{hosts: [{hosts}], gateways: {gateways}, http: [{{match: [{{uri: {{prefix: /{variant}}}}}], route: [{{destination: {{host: s{name}}}}}]}}, {{{matches}route: [{{destination: {{host: s{name}.{namespace}.svc.cluster.local, port: {{number: 80}}}}}}]}}]}}}}"
            )
        }
        12 => {
            let selector = ["", "workloadSelector: {labels: {app: a0}}, "][variant % 2];
            let at = if variant.is_multiple_of(5) { "istio-system" } else { namespace };
            let priority = variant % 3;
            let patch = [
                format!("{{applyTo: CLUSTER, match: {{cluster: {{service: s{name}.{namespace}.svc.cluster.local}}}}, patch: {{operation: MERGE, value: {{connect_timeout: {variant}.5s}}}}}}"),
                "{applyTo: CLUSTER, patch: {operation: ADD, value: {name: added, connect_timeout: NAMEs}}}".replace("NAME", &name.to_string()),
                "{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}, patch: {operation: INSERT_BEFORE, value: {name: buffer, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 9}}}}".to_owned(),
                "{applyTo: HTTP_ROUTE, match: {routeConfiguration: {portNumber: 80}}, patch: {operation: MERGE, value: {stat_prefix: patched}}}".to_owned(),
                format!("{{applyTo: VIRTUAL_HOST, match: {{routeConfiguration: {{name: '80', vhost: {{name: 's{name}.{namespace}.svc.cluster.local:80'}}}}}}, patch: {{operation: REMOVE}}}}"),
                format!("{{applyTo: VIRTUAL_HOST, match: {{routeConfiguration: {{name: '80'}}}}, patch: {{operation: ADD, value: {{name: new, domains: [new{variant}.example], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}}}}}"),
                "{applyTo: ROUTE_CONFIGURATION, patch: {operation: MERGE, value: {request_headers_to_remove: [x]}}}".to_owned(),
                "{applyTo: LISTENER, match: {context: SIDECAR_OUTBOUND, listener: {portNumber: 80}}, patch: {operation: REMOVE}}".to_owned(),
            ][variant % 8]
                .clone();
            format!(
                "{{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {{name: f{name}, namespace: {at}}}, spec: {{{selector}priority: {priority}, configPatches: [{patch}]}}}}"
            )
        }
        13 => {
            // Some share hosts, with each other and with Services.
            let host = [
                format!("h{}.example.com", name % 2),
                format!("'*.n{name}.example.com', h{name}.example.com"),
                format!("s{name}.{namespace}.svc.cluster.local"),
                "outside.example.com".into(),
            ][variant % 4]
                .clone();
            let port = [
                "{number: 80, name: http, protocol: HTTP}",
                "{number: 443, name: tls, protocol: TLS}",
                "{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 443, name: tls, protocol: TLS}",
            ][variant % 3];
            let found = [
                "resolution: STATIC, endpoints: [{address: 10.3.0.1, labels: {version: v1}}, {address: 10.3.0.2, weight: 2}]",
                "addresses: [10.4.0.0/16, 10.5.0.1]",
                "resolution: STATIC, workloadSelector: {labels: {app: aNAME}}",
                "endpoints: [{address: db.example.com, locality: r1}, {address: 10.3.0.3}], resolution: DNS, location: MESH_INTERNAL",
                "resolution: DNS_ROUND_ROBIN, endpoints: [{address: db.example.com}], subjectAltNames: [one]",
            ][variant % 5]
                .replace("NAME", &name.to_string());
            let export = if variant.is_multiple_of(7) { ", exportTo: ['.']" } else { "" };
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: n{name}-{}, namespace: {namespace}}}, spec: {{hosts: [{host}]{export}, ports: [{port}], {found}}}}}",
                variant % 2
            )
        }
        14 => {
            let whom = [String::new(), format!("workloadSelector: {{labels: {{app: a{name}}}}}, ")]
                [variant % 2]
                .clone();
            let policy = [
                "",
                "outboundTrafficPolicy: {mode: REGISTRY_ONLY}, ",
                "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: s1.shop.svc.cluster.local, port: {number: 80}}}, ",
            ][variant % 3];
            let what = [
                "egress: [{hosts: [./*]}]",
                "egress: [{hosts: ['*/s0.shop.svc.cluster.local', ~web/*]}]",
                "egress: [{port: {number: 80, protocol: HTTP}, hosts: [shop/*]}, {bind: 127.0.0.9, captureMode: NONE, hosts: ['*/*']}]",
                "egress: [{port: {number: 0, protocol: HTTP}, bind: unix:///a, hosts: [shop/s1.shop.svc.cluster.local]}, {hosts: [~/*]}]",
                "ingress: [{port: {number: 8080, protocol: HTTP}, defaultEndpoint: 127.0.0.1:80}, {port: {number: 9, protocol: TCP}, captureMode: NONE, defaultEndpoint: 0.0.0.0:81}]",
                "egress: [{hosts: [web/*]}], inboundConnectionPool: {tcp: {maxConnections: 3}}",
            ][variant / 2 % 6];
            let at = if variant.is_multiple_of(5) { "istio-system" } else { namespace };
            let created = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"][variant % 2];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: s{name}, namespace: {at}, creationTimestamp: '{created}'}}, spec: {{{whom}{policy}{what}}}}}"
            )
        }
        15 => {
            let scope =
                ["", "selector: {matchLabels: {app: a1}}, ", "selector: {matchLabels: {app: client}}, "]
                    [variant % 3];
            let says = [
                "accessLogging: [{providers: [{name: envoy}]}]",
                "accessLogging: [{providers: [{name: log}], match: {mode: CLIENT}, filter: {expression: 'response.code >= 400'}}]",
                "tracing: [{providers: [{name: otel}], randomSamplingPercentage: 5}]",
                "metrics: [{overrides: [{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: true}, {tagOverrides: {source_app: {operation: REMOVE}}}]}]",
            ][variant / 3 % 4];
            let at = if variant.is_multiple_of(6) { "istio-system" } else { namespace };
            format!(
                "{{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {{name: t{name}, namespace: {at}}}, spec: {{{scope}{says}}}}}"
            )
        }
        _ => {
            let mesh = [
                "extensionProviders: [{name: log, envoyHttpAls: {service: s0.shop.svc.cluster.local, port: 80}}, {name: otel, opentelemetry: {service: web/s1.web.svc.cluster.local, port: 80}}], defaultProviders: {tracing: [otel]}",
                "enableAutoMtls: false",
                "trustDomainAliases: [old.example]",
                "accessLogFile: /dev/stdout",
                "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
                "defaultDestinationRuleExportTo: ['.']",
                "discoverySelectors: [{matchLabels: {env: e1}}]",
                "discoverySelectors: [{matchExpressions: [{key: env, operator: NotIn, values: [e0]}]}]",
                "localityLbSetting: {failoverPriority: [version], failover: [{from: r1, to: r2}]}",
                "localityLbSetting: {distribute: [{from: r1, to: {r1: 90, r2: 10}}]}",
                "defaultTrafficPolicy: {outlierDetection: {minHealthPercent: 5}, connectionPool: {tcp: {maxConnections: 3}}}",
                "zoneAwareLbSetting: {}",
            ][variant % 12];
            let mesh =
                if mesh.starts_with("extensionProviders") { format!("{{{mesh}}}") } else { mesh.to_owned() };
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: istio-system}}, data: {{mesh: \"{mesh}\"}}}}"
            )
        }
    }
}

fn proxies(engine: &mut Engine) -> Vec<meltemi_views::ProxyId> {
    [
        sidecar("client-1.shop", &[("app", "client")]),
        sidecar("client-2.web", &[("role", "tester"), ("app", "a1")]),
        secured("client-6.shop", &[("app", "a0"), ("version", "v1")]),
        with_certificates(&proxy("client-7.web", &[("app", "a1")], "NONE", true)),
        proxy("client-3.shop", &[("app", "a0")], "REDIRECT", false),
        proxy("client-4.other", &[], "NONE", true),
        sidecar("client-5.shop", &[("istio-locality", "r1.z1"), ("version", "v1")]),
        sidecar("p1.web", &[]),
        as_gateway(&secured("edge.shop", &[("istio", "edge"), ("app", "a0")])),
        as_gateway(&proxy("edge.web", &[("istio", "edge")], "REDIRECT", false)),
        with_dns_capture(&proxy("client-8.web", &[("app", "a1")], "REDIRECT", true)),
    ]
    .into_iter()
    .map(|proxy| engine.connect(proxy))
    .collect()
}

fn scratch(kept: &BTreeMap<ObjectKey, Event>, reversed: bool) -> Vec<Served> {
    let mut engine = Engine::new(OFF);
    let mut events: Vec<Event> = kept.values().cloned().collect();
    if reversed {
        events.reverse();
    }
    engine.apply(events);
    let ids = proxies(&mut engine);
    ids.into_iter().map(|id| served(&engine.view(id))).collect()
}

fn differences(one: &Served, other: &Served) -> Vec<String> {
    one.keys()
        .chain(other.keys())
        .filter(|key| one.get(*key) != other.get(*key))
        .map(|(type_url, name)| format!("{type_url} {name}"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn incremental_equals_scratch(
        steps in proptest::collection::vec(
            proptest::collection::vec((0_usize..17, 0_usize..3, 0_usize..12, 0_u8..4), 1..5),
            1..12,
        ),
    ) {
        let mut engine = Engine::new(OFF);
        let ids = proxies(&mut engine);
        let mut kept = BTreeMap::new();
        for batch in steps {
            let mut events = Vec::new();
            for (kind, name, variant, action) in batch {
                for event in upserts(&object(kind, name, variant)) {
                    let Event::Upsert(object) = &event else { continue };
                    let key = object.meta.key.clone();
                    if action == 0 {
                        kept.remove(&key);
                        events.push(Event::Delete(key));
                    } else {
                        kept.insert(key, event.clone());
                        events.push(event);
                    }
                }
            }
            engine.apply(events);
            let wanted = scratch(&kept, false);
            prop_assert!(wanted.iter().all(|served| served.len() > 1), "there is always something to compare");
            for (id, wanted) in ids.iter().zip(&wanted) {
                let now = served(&engine.view(*id));
                prop_assert!(now == *wanted, "differ: {:?}", differences(&now, wanted));
            }
            prop_assert!(wanted == scratch(&kept, true), "the order of events must not matter");
        }
    }

    #[test]
    fn every_reference_of_a_served_resource_is_served(
        objects in proptest::collection::vec((0_usize..17, 0_usize..3, 0_usize..12), 1..25),
    ) {
        let mut engine = Engine::new(OFF);
        let ids = proxies(&mut engine);
        for (kind, name, variant) in objects {
            engine.apply(upserts(&object(kind, name, variant)));
        }
        for id in ids {
            let view = engine.view(id);
            for type_url in [TypeUrl::Cluster, TypeUrl::Listener] {
                for live in view.all(type_url) {
                    // Where a rule sends connections is its author's to say, also to what is not there: holds are off here.
                    let ruled = live.resource.origin().iter().any(|object| object.kind == Kind::VirtualService);
                    for need in live.resource.needs() {
                        let is_written = ruled && need.name.as_str().starts_with("outbound|");
                        prop_assert!(
                            is_written || view.find(need.type_url, need.name.as_str()).is_some(),
                            "{type_url} {} needs {} {}, which is not there", live.resource.name(), need.type_url, need.name
                        );
                    }
                }
            }
        }
    }
}
