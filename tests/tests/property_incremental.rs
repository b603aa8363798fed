//! After any sequence of changes, of any kind, in any order, what is served equals what is made from scratch, byte for byte.

use std::collections::BTreeMap;

use meltemi_model::Event;
use meltemi_names::{ObjectKey, TypeUrl};
use meltemi_tests::mesh::{proxy, secured, sidecar, upserts, with_certificates};
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
                "{port: 7000}",
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
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: w{name}-{}, namespace: {namespace}}}, spec: {{address: 10.1.{name}.{}, labels: {{app: a{name}, version: v{}}}{}}}}}",
            variant % 2,
            variant + 1,
            variant % 3,
            ["", ", serviceAccount: vm"][variant / 2 % 2]
        ),
        2 => {
            let policy = [
                "",
                ", trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}",
                ", trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
                ", trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}",
            ][variant % 4];
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
            ][variant % 9];
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
        sidecar("client-5.shop", &[("istio-locality", "r1")]),
        sidecar("p1.web", &[]),
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
            proptest::collection::vec((0_usize..11, 0_usize..3, 0_usize..12, 0_u8..4), 1..5),
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
        objects in proptest::collection::vec((0_usize..11, 0_usize..3, 0_usize..12), 1..25),
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
                    for need in live.resource.needs() {
                        prop_assert!(
                            view.find(need.type_url, need.name.as_str()).is_some(),
                            "{type_url} {} needs {} {}, which is not there", live.resource.name(), need.type_url, need.name
                        );
                    }
                }
            }
        }
    }
}
