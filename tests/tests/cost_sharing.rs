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

/// By how many bytes a listener grows because it counts.
fn grown_by(listener: &str) -> usize {
    let services = "{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: 10.99.0.1, selector: {app: db}, ports: [{name: tcp, port: 5432}]}}";
    let off = "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'defaultProviders: {metrics: []}'}}";
    let mut engine = engine(Options::default(), &format!("{}---\n{services}\n", large(2)));
    let client = engine.connect(proxy("a-1.shop", &[("app", "a")], "REDIRECT", true));
    let size = |engine: &Engine| {
        let view = engine.view(client);
        view.find(TypeUrl::Listener, listener).map_or(0, |live| live.resource.body().to_vec().len())
    };
    let counting = size(&engine);
    engine.apply(upserts(off));
    let silent = size(&engine);
    assert!(silent > 0 && counting > silent, "{listener}: {counting} and {silent} bytes");
    counting - silent
}

#[test]
fn a_chain_that_counts_is_two_kilobytes_larger() {
    // There is one for each TCP service, and in each sidecar: twice the tags would be twice that, 10,000 times. Beside HTTP there is a
    // chain for what is not, too.
    let (http, tcp) = (grown_by("0.0.0.0_80"), grown_by("10.99.0.1_5432"));
    assert!(http < 4_600 && tcp < 2_500, "{http} bytes for HTTP, {tcp} for TCP");
}
