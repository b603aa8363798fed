//! What holds in any mesh.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Routes, RoutesKey, aged, caller, decoded, destination_rule, mesh_config, object, virtual_service,
};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

fn services() -> impl Strategy<Value = Event> {
    let address = prop_oneof![Just("None"), Just(""), Just("10.0.0.1"), Just("10.0.0.2")];
    let port = (
        prop_oneof![Just(80_u16), Just(8080)],
        prop_oneof![Just("http"), Just("grpc"), Just("tcp"), Just("what")],
    );
    (0..3_usize, 0..3_u8, address, port, 0..9_i64, any::<bool>()).prop_map(
        |(namespace, name, ip, (port, protocol), age, alias)| {
            let place = format!("{}/s{name}", NAMESPACES[namespace]);
            let spec = if alias && age == 0 {
                json!({"type": "ExternalName", "externalName": "s0.a.svc.cluster.local"})
            } else {
                json!({"clusterIP": ip, "ports": [{"name": protocol, "port": port}]})
            };
            aged(age, object(Kind::Service, &place, spec))
        },
    )
}

fn rules() -> impl Strategy<Value = Event> {
    let host = prop_oneof![
        Just("s0"),
        Just("s1.b"),
        Just("s2.c.svc"),
        Just("s1.a.svc.cluster.local"),
        Just("*.svc.cluster.local"),
        Just("*.b.svc.cluster.local"),
        Just("*.example.com"),
        Just("example.com"),
        Just("10.0.0.1"),
        Just("*"),
    ];
    let matching = prop_oneof![
        Just(json!([])),
        Just(json!([{"sourceNamespace": "a"}])),
        Just(json!([{"port": 80, "uri": {"prefix": "/x"}}]))
    ];
    let exports = prop_oneof![Just(json!([])), Just(json!(["."])), Just(json!(["a"])), Just(json!(["~"]))];
    (0..3_usize, 0..3_u8, proptest::collection::vec(host, 1..4), matching, exports, 0..9_i64).prop_map(
        |(namespace, name, hosts, matching, exports, age)| {
            let http: Value = json!([{"match": matching, "route": [{"destination": {"host": "s0"}}]}]);
            let spec = json!({"hosts": hosts, "exportTo": exports, "http": http});
            aged(age, virtual_service(&format!("{}/v{name}", NAMESPACES[namespace]), spec))
        },
    )
}

fn hashing() -> impl Strategy<Value = Event> {
    let hash = prop_oneof![
        Just(json!({})),
        Just(json!({"loadBalancer": {"consistentHash": {"useSourceIp": true}}}))
    ];
    let host = prop_oneof![Just("s0"), Just("s0.a.svc.cluster.local"), Just("*.svc.cluster.local")];
    (0..3_usize, 0..2_u8, host, hash).prop_map(|(namespace, name, host, policy)| {
        let spec = json!({"host": host, "trafficPolicy": policy});
        destination_rule(&format!("{}/d{name}", NAMESPACES[namespace]), spec)
    })
}

fn settings() -> impl Strategy<Value = Event> {
    prop_oneof![Just("ALLOW_ANY"), Just("REGISTRY_ONLY")]
        .prop_map(|mode| mesh_config(json!({"outboundTrafficPolicy": {"mode": mode}})))
}

fn deletions() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        Just((Kind::Service, 's')),
        Just((Kind::VirtualService, 'v')),
        Just((Kind::DestinationRule, 'd')),
    ];
    (kind, 0..3_usize, 0..3_u8).prop_map(|((kind, letter), namespace, name)| {
        Event::Delete(ObjectKey::new(kind, NAMESPACES[namespace], format!("{letter}{name}").as_str()))
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => services(),
        4 => rules(),
        1 => hashing(),
        1 => settings(),
        2 => deletions(),
    ];
    proptest::collection::vec(event, 0..20)
}

fn bytes(routes: &Routes) -> Vec<(String, Vec<u8>)> {
    routes
        .resources()
        .iter()
        .map(|resource| (resource.name().to_string(), resource.body().to_vec()))
        .collect()
}

proptest! {
    #[test]
    fn envoy_would_take_every_configuration(events in events(), namespace in 0..3_usize, virtual_hosts: bool) {
        let routes = Routes::of(RoutesKey { virtual_hosts, ..caller(NAMESPACES[namespace]) }, events);
        let mut names = BTreeSet::new();
        let mut domains: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut configs = BTreeSet::new();
        for resource in routes.resources() {
            prop_assert!(names.insert((resource.type_url(), resource.name().clone())), "{} stands twice", resource.name());
            let Some(parent) = resource.parent() else {
                configs.insert(resource.name().to_string());
                continue;
            };
            let host = decoded(&resource);
            let taken = domains.entry(parent.to_string()).or_default();
            for domain in host["domains"].as_array().expect("a virtual host has domains") {
                let domain = domain.as_str().unwrap().to_ascii_lowercase();
                prop_assert!(taken.insert(domain.clone()), "{domain} stands twice in {parent}");
            }
            prop_assert!(!host["routes"].as_array().expect("a virtual host has routes").is_empty());
        }
        let with_hosts: BTreeSet<String> = domains.keys().cloned().collect();
        prop_assert_eq!(configs, with_hosts, "each configuration has a virtual host, and each virtual host its configuration");
    }

    #[test]
    fn the_way_to_a_mesh_leaves_no_trace(before in events(), after in events(), namespace in 0..3_usize) {
        let key = caller(NAMESPACES[namespace]);
        let mut step_by_step = Routes::of(key.clone(), before.clone());
        for event in &after {
            step_by_step.apply([event.clone()]);
        }
        let at_once = Routes::of(key, before.into_iter().chain(after));
        prop_assert_eq!(bytes(&step_by_step), bytes(&at_once));
    }
}
