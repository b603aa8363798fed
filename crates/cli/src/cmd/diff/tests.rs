//! Over meshes and changes by chance: equal meshes differ in nothing, and what is not told is the same byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::Event;
use meltemi_names::{ObjectKey, TypeUrl};
use meltemi_views::{Engine, Options};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::change::Target;
use super::compare::Compared;
use super::proxies;
use super::report::Report;
use crate::state::State;

/// An object by chance; few names, so that a change meets what is there.
fn object(kind: usize, name: usize, variant: usize) -> String {
    let namespace = ["shop", "web"][name % 2];
    let (other, version) = (["web", "shop"][name % 2], variant % 3);
    match kind {
        0 => {
            let port = ["{name: http, port: 80}", "{name: tcp, port: 3306}", "{port: 9000}"][variant % 3];
            let ip = ["", "clusterIP: None, "][usize::from(variant.is_multiple_of(5))];
            format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, namespace: {namespace}}}, spec: {{{ip}selector: {{app: a{name}}}, ports: [{port}]}}}}"
            )
        }
        1 => {
            let account = ["", ", serviceAccount: x"][variant % 2];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: w{name}-{}, namespace: {namespace}}}, spec: {{address: 10.1.{name}.{}, labels: {{app: a{name}, version: v{version}}}{account}}}}}",
                variant % 2,
                variant % 4 + 1
            )
        }
        2 => {
            let subsets: Vec<String> =
                (0..=variant % 3).map(|n| format!("{{name: v{n}, labels: {{version: v{n}}}}}")).collect();
            let policy = [
                "",
                ", trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}",
                ", trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}",
            ][variant % 3];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d{name}, namespace: {namespace}}}, spec: {{host: s{name}, subsets: [{}]{policy}}}}}",
                subsets.join(", ")
            )
        }
        3 => {
            let matches = [
                "",
                "match: [{headers: {x-user: {exact: jason}}}], ",
                "match: [{sourceLabels: {app: a0}}], ",
                "match: [{uri: {prefix: /a}, sourceNamespace: web}], ",
            ][variant % 4];
            let host = [format!("s{name}"), format!("s{}.{other}.svc.cluster.local", (name + 1) % 4)]
                [variant % 2]
                .clone();
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: r{name}-{}, namespace: {namespace}}}, spec: {{hosts: ['{host}'], http: [{{{matches}route: [{{destination: {{host: s{name}, subset: v0}}, weight: {}}}, {{destination: {{host: s{name}, subset: v1}}, weight: {}}}]}}, {{route: [{{destination: {{host: s{name}}}}}]}}]}}}}",
                variant % 2,
                10 + variant,
                90 - variant
            )
        }
        5 => {
            // Names that others are called by from near, and one address for all.
            let host = [format!("s{name}"), format!("s{name}.shop"), "ext.example.com".to_owned()]
                [variant % 3]
                .clone();
            let to = [
                "endpoints: [{address: 10.9.0.1, labels: {version: v0}}]",
                "workloadSelector: {labels: {app: a0}}",
            ][variant % 2];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: e{name}, namespace: {namespace}}}, spec: {{hosts: ['{host}'], addresses: [10.0.0.7], resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], {to}}}}}"
            )
        }
        6 => {
            let selector = ["{istio: ingress}", "{app: a1}"][variant % 2];
            let hosts = ["'*'", "s1.example.com", "shop/*.example.com"][variant % 3];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: g{}, namespace: shop}}, spec: {{selector: {selector}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{hosts}]}}]}}}}",
                name % 2
            )
        }
        7 => {
            let gateways = ["[shop/g0]", "[shop/g0, mesh]", "[shop/g1]"][variant % 3];
            let host = ["s1.example.com", "s1.shop.svc.cluster.local", "*.example.com"][name % 3];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: b{name}-{}, namespace: {namespace}}}, spec: {{hosts: ['{host}'], gateways: {gateways}, http: [{{route: [{{destination: {{host: s1.web.svc.cluster.local, subset: v{version}}}}}], timeout: {version}s}}]}}}}",
                variant % 2
            )
        }
        8 => {
            let selector = ["", "workloadSelector: {labels: {version: v1}}, "][variant % 2];
            let host = ["./*", "shop/*", "*/s1.web.svc.cluster.local"][variant % 3];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: c{name}, namespace: {namespace}}}, spec: {{{selector}egress: [{{hosts: ['{host}']}}]}}}}"
            )
        }
        9 => format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p{name}, namespace: {namespace}, labels: {{app: a{name}, version: v{version}}}}}, spec: {{nodeName: n{version}, containers: []}}, status: {{phase: Running, podIP: 10.2.{name}.{}}}}}",
            variant % 3
        ),
        10 => format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: l{name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: s{name}}}}}, addressType: IPv4, ports: [{{name: http, port: 8080}}], endpoints: [{{addresses: [10.2.{name}.{version}], conditions: {{ready: true}}}}]}}"
        ),
        11 => {
            let delegate = [
                format!("http: [{{delegate: {{name: d{}}}}}]", variant % 2),
                "http: [{route: [{destination: {host: s0, subset: v1}}]}]".to_owned(),
            ];
            let (name, hosts) = if variant < 6 {
                (format!("o{name}"), format!("hosts: [s{name}], "))
            } else {
                (format!("d{}", variant % 2), String::new())
            };
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{hosts}{}}}}}",
                delegate[usize::from(variant >= 6)]
            )
        }
        12 => {
            let policy = [
                "connectionPool: {tcp: {maxConnections: 5}}",
                "loadBalancer: {localityLbSetting: {enabled: true}}, outlierDetection: {}",
                "loadBalancer: {consistentHash: {httpHeaderName: x-user}}",
            ][variant % 3];
            let selector = ["", "workloadSelector: {matchLabels: {version: v1}}, "][variant % 2];
            format!(
                "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: w{name}, namespace: {namespace}}}, spec: {{host: '{}', {selector}trafficPolicy: {{{policy}}}}}}}",
                ["*.shop.svc.cluster.local", "s0.shop.svc.cluster.local", "s1.web.svc.cluster.local"]
                    [name % 3]
            )
        }
        _ => {
            let mode = ["STRICT", "PERMISSIVE", "DISABLE"][variant % 3];
            let selector = ["", "selector: {matchLabels: {app: a0}}, "][variant % 2];
            format!(
                "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: p{name}, namespace: {namespace}}}, spec: {{{selector}mtls: {{mode: {mode}}}}}}}"
            )
        }
    }
}

type Drawn = (usize, usize, usize);

fn objects(drawn: &[Drawn]) -> BTreeMap<ObjectKey, Event> {
    let mut all = BTreeMap::new();
    for (kind, name, variant) in drawn {
        for object in meltemi_api::parse_all(&object(*kind, *name, *variant)).unwrap_or_default() {
            all.insert(object.meta.key.clone(), Event::Upsert(Arc::new(object)));
        }
    }
    all
}

/// What each proxy is served, from scratch.
fn scratch(
    objects: &BTreeMap<ObjectKey, Event>,
    beside: &BTreeMap<ObjectKey, Event>,
) -> Vec<BTreeMap<(TypeUrl, String), Vec<u8>>> {
    let mut engine = Engine::new(Options { holds: false, ..Options::default() });
    engine.apply(objects.values().cloned());
    let mut other = engine.store().clone();
    other.apply(objects.keys().cloned().map(Event::Delete));
    other.apply(beside.values().cloned());
    let members = proxies::all(engine.mesh(), other.mesh());
    let template = proxies::template().unwrap();
    let served = members.iter().map(|member| {
        let proxy = member.proxy(engine.mesh(), &template).unwrap();
        let id = engine.connect(Arc::new(proxy));
        let view = engine.view(id);
        let all = TypeUrl::ALL.into_iter().flat_map(|type_url| {
            view.all(type_url)
                .map(move |live| {
                    ((type_url, live.resource.name().to_string()), live.resource.body().to_vec())
                })
                .collect::<Vec<_>>()
        });
        all.collect()
    });
    served.collect()
}

/// What something is about: its host, else the resource itself.
fn subject(type_url: TypeUrl, name: &str) -> String {
    match type_url {
        TypeUrl::VirtualHost => Target::of_virtual_host(name).host,
        TypeUrl::Cluster | TypeUrl::Endpoint => {
            Target::of_cluster(name).map_or_else(|| name.to_owned(), |target| target.host)
        }
        _ => name.to_owned(),
    }
}

fn drawn(most: usize) -> impl Strategy<Value = Vec<Drawn>> {
    proptest::collection::vec((0_usize..14, 0_usize..4, 0_usize..12), 1..most)
}

/// A mesh of so many services with two versions each, in ten namespaces.
fn mesh(services: usize) -> Vec<Event> {
    let mut text = String::new();
    for at in 0..services {
        let namespace = format!("n{}", at % 10);
        text += &format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{at}, namespace: {namespace}}}, spec: {{selector: {{app: s{at}}}, ports: [{{name: http, port: 80}}]}}}}\n---\n"
        );
        text += &format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: s{at}, namespace: {namespace}}}, spec: {{host: s{at}, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}}}\n---\n"
        );
        for version in 1..=2 {
            text += &format!(
                "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: s{at}-v{version}, namespace: {namespace}}}, spec: {{address: 10.{version}.{}.{}, labels: {{app: s{at}, version: v{version}}}}}}}\n---\n",
                at / 250,
                at % 250 + 1
            );
        }
        text += &format!("{}\n---\n", canary(at, 10));
    }
    let objects = meltemi_api::parse_all(&text).unwrap();
    objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect()
}

fn canary(at: usize, weight: usize) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: s{at}, namespace: n{}}}, spec: {{hosts: [s{at}], http: [{{route: [{{destination: {{host: s{at}, subset: v1}}, weight: {}}}, {{destination: {{host: s{at}, subset: v2}}, weight: {weight}}}]}}]}}}}",
        at % 10,
        100 - weight
    )
}

/// What is made to tell what one weight changes: answers, and layers; and how many proxies are told of.
fn cost_of_a_weight(services: usize) -> (usize, usize, usize) {
    let base = State::of(mesh(services));
    let object = meltemi_api::parse_all(&canary(7, 50)).unwrap().remove(0);
    let compared = Compared::of(&base, &[Event::Upsert(Arc::new(object))]).unwrap();
    let made = compared.engine.take_cost().made.values().sum();
    let report = Report::from(&base, &State::empty(), &compared).unwrap();
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.groups[0].changes[0].text, "all requests: v1 90 % -> 50 %, v2 10 % -> 50 %");
    assert_eq!(report.changed_proxies, report.proxies);
    (made, compared.engine.layer_count(), report.proxies)
}

#[test]
fn a_weight_costs_the_same_in_a_mesh_of_a_hundred_services_and_of_a_thousand() {
    let (made, layers, proxies) = cost_of_a_weight(100);
    assert_eq!(cost_of_a_weight(1000), (made, layers, 10 + 2000));
    assert_eq!(proxies, 10 + 200);
    assert!(made < 5000 && layers < 100, "{made} answers, {layers} layers");
}

proptest! {
    // The same meshes every time: to look for others, write another seed, and more cases.
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn equal_meshes_differ_in_nothing(drawn in drawn(24)) {
        let objects = objects(&drawn);
        let state = State::of(objects.values().cloned().collect());
        let report = Report::of(&state, &state, state.events()).unwrap();
        prop_assert!(report.objects.is_empty() && report.groups.is_empty() && report.warnings.is_empty());
        prop_assert_eq!(report.changed_proxies, 0);
    }

    #[test]
    fn what_a_change_reaches_is_all_that_it_changes(before in drawn(30), change in drawn(4), gone in 0_usize..16) {
        let before = objects(&before);
        let mut events: Vec<Event> = objects(&change).into_values().collect();
        events.extend(before.keys().nth(gone).cloned().map(Event::Delete));
        let (base, with) = (State::of(before.values().cloned().collect()), State::of(events.clone()));
        let part = Report::of(&base, &with, &events).unwrap();
        let whole = Report::from(&base, &with, &Compared::whole(&base, &events).unwrap()).unwrap();
        prop_assert_eq!(serde_json::to_value(&part).unwrap(), serde_json::to_value(&whole).unwrap());
    }

    #[test]
    fn what_is_not_told_is_the_same_byte_for_byte(before in drawn(24), change in drawn(4), gone in 0_usize..8) {
        let before = objects(&before);
        let mut after = before.clone();
        let mut events: Vec<Event> = objects(&change).into_values().collect();
        after.extend(objects(&change));
        if let Some(key) = before.keys().nth(gone) {
            after.remove(key);
            events.push(Event::Delete(key.clone()));
        }
        let (base, with) = (State::of(before.values().cloned().collect()), State::of(events.clone()));
        let report = Report::of(&base, &with, &events).unwrap();
        let told: BTreeSet<String> = report
            .groups
            .iter()
            .flat_map(|group| &group.changes)
            .flat_map(|change| [change.host.clone(), Some(change.resource.clone())])
            .flatten()
            .collect();
        let (then, now) = (scratch(&before, &after), scratch(&after, &before));
        prop_assert_eq!(then.len(), now.len());
        let mut differ = 0;
        for (then, now) in then.iter().zip(&now) {
            let names: BTreeSet<_> = then.keys().chain(now.keys()).collect();
            let different: Vec<_> = names.into_iter().filter(|key| then.get(*key) != now.get(*key)).collect();
            differ += usize::from(!different.is_empty());
            for (type_url, name) in different {
                // A route configuration's head comes and goes with its virtual hosts, which are told.
                // So do the virtual hosts for all others, instead of which another one comes, or nothing is listened for.
                let is_rest = super::host::rest(name).is_some() && !now.contains_key(&(*type_url, name.clone()));
                // A listener goes with the last service of it, which is told.
                let goes_along = *type_url == TypeUrl::Listener && !now.contains_key(&(*type_url, name.clone()));
                let untold =
                    *type_url != TypeUrl::Route && !is_rest && !goes_along && !told.contains(&subject(*type_url, name));
                prop_assert!(!untold, "{type_url} {name} differs, and is not told: {told:?}");
            }
        }
        prop_assert_eq!(report.changed_proxies, differ, "{:?}", told);
    }
}
