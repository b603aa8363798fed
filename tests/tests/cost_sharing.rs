//! What two proxies share exists once: the same pointer in every layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_catalog::ResourceName;
use meltemi_names::{TypeUrl, Version};
use meltemi_tests::mesh::{engine, large, proxy, route, upserts};
use meltemi_views::{Engine, Options, ProxyId};

/// How many resources the proxies have, and under how many pointers.
fn counted(engine: &Engine, proxies: &[ProxyId]) -> (usize, usize) {
    let mut pointers: BTreeMap<(TypeUrl, ResourceName, Version), BTreeSet<usize>> = BTreeMap::new();
    for proxy in proxies {
        let view = engine.view(*proxy);
        for live in TypeUrl::ALL.into_iter().flat_map(|type_url| view.all(type_url)) {
            let resource = &live.resource;
            let key = (resource.type_url(), resource.name().clone(), resource.version());
            pointers.entry(key).or_default().insert(Arc::as_ptr(resource).addr());
        }
    }
    (pointers.len(), pointers.values().map(BTreeSet::len).sum())
}

#[test]
fn equal_resources_of_many_namespaces_and_both_spellings_exist_once() {
    let mut engine = engine(Options::default(), &large(50));
    let proxies: Vec<ProxyId> = (0..20)
        .map(|index| {
            let namespace = if index < 4 { "shop".to_owned() } else { format!("n{index}") };
            engine.connect(proxy(&format!("p{index}.{namespace}"), &[], "REDIRECT", index % 2 == 0))
        })
        .collect();
    let (resources, pointers) = counted(&engine, &proxies);
    assert!(resources > 200 && pointers == resources, "{resources} resources under {pointers} pointers");
    engine.apply(upserts(&route(7, 50)));
    let (resources, pointers) = counted(&engine, &proxies);
    assert_eq!(pointers, resources, "after a change, too");
}

#[test]
fn what_counts_traffic_tells_no_two_callers_apart() {
    let mut engine = engine(Options::default(), &large(10));
    let one = engine.connect(proxy("a-1.shop", &[("app", "a"), ("version", "v1")], "REDIRECT", true));
    let other = engine.connect(proxy("b-1.shop", &[("app", "b"), ("version", "v2")], "REDIRECT", true));
    let listener = |proxy: ProxyId, name: &str| {
        let view = engine.view(proxy);
        let live = view.find(TypeUrl::Listener, name)?;
        let text = String::from_utf8_lossy(&live.resource.body().to_vec()).into_owned();
        assert!(text.contains("istio_requests_total") || name == "virtualOutbound", "{name} does not count");
        Some(Arc::as_ptr(&live.resource).addr())
    };
    for name in ["0.0.0.0_80", "virtualOutbound"] {
        assert!(listener(one, name).is_some(), "{name}");
        assert_eq!(listener(one, name), listener(other, name), "{name}");
    }
    // Who is called is part of the inbound listener.
    assert_ne!(listener(one, "virtualInbound"), listener(other, "virtualInbound"));
}
