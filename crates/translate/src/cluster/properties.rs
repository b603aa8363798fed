//! What holds for the clusters, assignments and findings of any mesh.

use std::collections::BTreeMap;

use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey};
use proptest::prelude::*;

use crate::finding::FindingsOf;
use crate::fixture::{Fixture, key, part};
use crate::key::PartKey;

const SERVICES: [&str; 4] = ["a/s0", "a/s1", "b/s0", "b/s1"];

fn yaml(api: &str, kind: &str, place: &str, more: &str, spec: &str) -> String {
    let (namespace, name) = place.split_once('/').unwrap();
    format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}{more}}}\n{spec}\n"
    )
}

fn service() -> impl Strategy<Value = String> {
    let ip = prop_oneof![Just("None"), Just("10.0.0.1")];
    let port = prop_oneof![Just("http"), Just("grpc"), Just("udp"), Just("what")];
    (0..4_usize, ip, port, 0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(at, ip, port, app, local, hidden)| {
        let policy = match (local, app) {
            (true, 0) => ", internalTrafficPolicy: Local",
            (true, 1) => ", trafficDistribution: PreferSameNode",
            (true, _) => ", internalTrafficPolicy: Local, trafficDistribution: PreferClose",
            _ => "",
        };
        let export = if hidden { ", annotations: {networking.istio.io/exportTo: .}" } else { "" };
        let spec = format!(
            "spec: {{clusterIP: {ip}{policy}, selector: {{app: x{app}}}, ports: [{{name: {port}, port: 80, targetPort: web}}, {{name: http-b, port: 81}}]}}"
        );
        yaml("v1", "Service", SERVICES[at], export, &spec)
    })
}

fn rule() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        Just("s0"),
        Just("s1"),
        Just("s0.a.svc.cluster.local"),
        Just("*.a.svc.cluster.local"),
        Just("*")
    ];
    let policy = prop_oneof![
        Just("loadBalancer: {simple: RANDOM}"),
        Just("loadBalancer: {simple: PASSTHROUGH}"),
        Just("outlierDetection: {minHealthPercent: 20}"),
        Just("portLevelSettings: [{port: {number: 81}, connectionPool: {tcp: {maxConnections: 3}}}]"),
    ];
    let export = prop_oneof![Just("['*']"), Just("['.']"), Just("[a]"), Just("[a, b]")];
    let place = prop_oneof![Just("a/r0"), Just("a/r1"), Just("b/r0"), Just("istio-system/r0")];
    (place, host, policy, export, 0..3_u8, 0..3_u8).prop_map(|(place, host, policy, export, one, other)| {
        let subsets = format!(
            "[{{name: v{one}, labels: {{version: v{one}}}}}, {{name: w, labels: {{version: v{other}}}, trafficPolicy: {{{policy}}}}}]"
        );
        let spec = format!(
            "spec: {{host: '{host}', exportTo: {export}, trafficPolicy: {{{policy}}}, subsets: {subsets}}}"
        );
        yaml("networking.istio.io/v1", "DestinationRule", place, "", &spec)
    })
}

fn workload() -> impl Strategy<Value = String> {
    (0..4_u8, 0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(name, app, version, zone)| {
        let spec = format!(
            "spec: {{address: 10.1.0.{name}, labels: {{app: x{app}, version: v{version}}}, locality: eu/z{zone}, ports: {{web: 8080}}}}"
        );
        yaml("networking.istio.io/v1", "WorkloadEntry", &format!("a/e{name}"), "", &spec)
    })
}

fn slice() -> impl Strategy<Value = String> {
    (0..2_u8, 0..2_u8, any::<bool>(), 0..3_u8).prop_map(|(name, service, ready, pod)| {
        let labels = format!(", labels: {{kubernetes.io/service-name: s{service}}}");
        let body = format!(
            "addressType: IPv4\nports: [{{name: http, port: 8080}}]\nendpoints: [{{addresses: [10.2.0.{pod}], nodeName: n0, conditions: {{ready: {ready}, terminating: false}}, targetRef: {{kind: Pod, name: p{pod}}}}}]"
        );
        yaml("discovery.k8s.io/v1", "EndpointSlice", &format!("b/l{name}"), &labels, &body)
    })
}

fn pod() -> impl Strategy<Value = String> {
    (0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(name, app, version)| {
        let labels = format!(", labels: {{app: x{app}, version: v{version}}}");
        let body = format!(
            "spec: {{nodeName: n0, containers: [{{name: c, ports: [{{name: web, containerPort: 8081}}]}}]}}\nstatus: {{podIP: 10.2.0.{name}}}"
        );
        yaml("v1", "Pod", &format!("b/p{name}"), &labels, &body)
    })
}

fn node() -> impl Strategy<Value = String> {
    (0..2_u8).prop_map(|zone| {
        format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n0, labels: {{topology.kubernetes.io/zone: z{zone}}}}}\n")
    })
}

fn route() -> impl Strategy<Value = String> {
    (0..2_u8, 0..2_u8, 0..3_u8).prop_map(|(name, host, subset)| {
        let spec = format!(
            "spec: {{hosts: [s{host}], http: [{{route: [{{destination: {{host: s{host}, subset: v{subset}}}}}]}}]}}"
        );
        yaml("networking.istio.io/v1", "VirtualService", &format!("a/h{name}"), "", &spec)
    })
}

fn settings() -> impl Strategy<Value = String> {
    (1..3_u8).prop_map(|wait| {
        yaml(
            "v1",
            "ConfigMap",
            "istio-system/istio",
            "",
            &format!("data: {{mesh: 'connectTimeout: {wait}s'}}"),
        )
    })
}

/// What a batch does: an object, or the deletion of the one of that number.
#[derive(Clone, Debug)]
enum Step {
    Put(String),
    Delete(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = prop_oneof![
        3 => service(), 3 => rule(), 3 => workload(), 2 => slice(), 2 => pod(), 1 => node(), 1 => route(), 1 => settings(),
    ];
    let step = prop_oneof![4 => put.prop_map(Step::Put), 1 => (0..32_usize).prop_map(Step::Delete)];
    proptest::collection::vec(step, 1..30)
}

/// Every cluster and assignment as two namespaces have them, byte for byte, and every finding.
fn state(fixture: &Fixture) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    for (viewer, place) in [("a", None), ("b", None), ("b", Some("/z1"))] {
        for service in SERVICES {
            let mut part = part(viewer, service);
            part.locality = place.map(meltemi_names::Locality::parse);
            part.node = place.map(|_| "n0".into());
            let (_, members) = PartKey::Service(part).observe(&fixture.memo, fixture.mesh());
            for member in members.iter() {
                let (_, made) = member.observe(&fixture.memo, fixture.mesh());
                let made =
                    made.map(|made| format!("{} {:?} {:?}", made.version(), made.needs(), made.origin()));
                state.insert(format!("{viewer} {place:?} {member:?}"), format!("{made:?}"));
            }
        }
    }
    for object in fixture.mesh().objects() {
        let key = object.meta.key.clone();
        let (_, findings) = fixture.memo.observe(FindingsOf(key.clone()), fixture.mesh());
        state.insert(format!("findings of {key}"), format!("{findings:?}"));
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_made_step_by_step_is_what_is_made_at_once(steps in steps()) {
        let mut fixture = Fixture::new("");
        for step in &steps {
            match step {
                Step::Put(yaml) => {
                    fixture.apply(yaml);
                }
                Step::Delete(at) => {
                    let keys: Vec<ObjectKey> =
                        fixture.mesh().objects().map(|object| object.meta.key.clone()).collect();
                    if !keys.is_empty() {
                        fixture.delete(keys[at % keys.len()].clone());
                    }
                }
            }
            let now = state(&fixture);
            let scratch = Fixture::of(fixture.mesh().objects().cloned().map(Event::Upsert));
            prop_assert_eq!(&now, &state(&scratch), "after {:?}", step);
        }
    }

    #[test]
    fn every_cluster_that_needs_endpoints_has_its_assignment(steps in steps()) {
        let mut fixture = Fixture::new("");
        for step in &steps {
            if let Step::Put(yaml) = step {
                fixture.apply(yaml);
            }
        }
        for service in SERVICES {
            let made: Vec<_> = fixture
                .service("a", service)
                .iter()
                .filter_map(|member| member.observe(&fixture.memo, fixture.mesh()).1)
                .collect();
            for cluster in &made {
                for need in cluster.needs() {
                    prop_assert!(made.iter().any(|other| other.type_url() == need.type_url && *other.name() == need.name));
                }
            }
            let name = key(Kind::Service, service);
            prop_assert!(made.iter().all(|resource| resource.origin().contains(&name)));
        }
    }
}
