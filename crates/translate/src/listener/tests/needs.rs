//! What listeners refer to is there: clusters and routes are made by others, from the same mesh.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::proxy::{Interception, IpFamily, Proxy, ProxyKind};
use meltemi_names::{Locality, TypeUrl};

use super::{Bench, service};
use crate::key::LayerKey;
use crate::layer::LayersOf;

/// Every protocol, with and without an address, headless, and several on one port.
fn varied() -> String {
    let protocols =
        ["http", "http2", "grpc", "grpc-web", "https", "tls", "tcp", "mongo", "redis", "mysql", "x"];
    let ports: Vec<String> = protocols
        .iter()
        .enumerate()
        .map(|(at, name)| format!("{{name: {name}, port: {}, targetPort: {}}}", 1000 + at, 2000 + at))
        .collect();
    let ports = ports.join(", ");
    let turned: Vec<String> = protocols
        .iter()
        .enumerate()
        .map(|(at, name)| format!("{{name: {name}, port: {}}}", 1000 + (at + 3) % protocols.len()))
        .collect();
    let dual = "---\napiVersion: v1\nkind: Service\nmetadata: {name: dual}\nspec:\n  clusterIPs: [10.96.0.2, 'fd00::2']\n  ports: [{name: x, port: 1010}, {name: tcp, port: 1006}]\n";
    let slices = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: c-1, labels: {kubernetes.io/service-name: c}}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]\nports: [{name: x, port: 2010}, {name: tcp, port: 2006}, {name: tls, port: 2005}]\n";
    [
        service("a", None, &ports),
        service("b", Some("10.96.0.1"), &ports),
        service("c", Some("None"), &ports),
        service("d", None, &turned.join(", ")),
        dual.to_owned(),
        slices.to_owned(),
    ]
    .concat()
}

#[test]
fn every_cluster_and_route_that_a_listener_needs_is_made() {
    let bench = Bench::of(&varied());
    for interception in [Interception::Redirect, Interception::Tproxy, Interception::None] {
        for (family, addresses) in [
            (IpFamily::V4, vec!["10.0.0.9"]),
            (IpFamily::V6, vec!["fd00::9"]),
            (IpFamily::Dual, vec!["10.0.0.9", "fd00::9"]),
        ] {
            let proxy = Arc::new(Proxy {
                has_certificates: false,
                id: "pod.default".into(),
                kind: ProxyKind::Sidecar,
                namespace: "default".into(),
                name: "pod".into(),
                workload: "pod".into(),
                labels: [("app", "a")].into_iter().collect(),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                named_ports: Default::default(),
                interception,
                dns_domain: "default.svc.cluster.local".into(),
                node_name: None,
                locality: Locality::default(),
                dns_capture: false,
                http10: false,
                access_log: false,
                metrics: false,
                cluster: "client.default".into(),
                unprivileged: false,
                secrets: meltemi_model::proxy::SecretAccess::None,
                topology: None,
                build: "envoy/1.40.0".into(),
                texts: Default::default(),
                takes_virtual_hosts: true,
            });
            assert_eq!(proxy.family(), family);
            let (_, layers) = bench.0.memo.observe(LayersOf { proxy, virtual_hosts: true }, bench.0.mesh());
            let made: Vec<_> = layers.iter().flat_map(|layer| resources(&bench, layer)).collect();
            let names: BTreeSet<_> = made.iter().map(|made| (made.type_url(), made.name().clone())).collect();
            let listeners: Vec<_> = made.iter().filter(|made| made.type_url() == TypeUrl::Listener).collect();
            assert!(listeners.len() >= 11, "{} listeners", listeners.len());
            for listener in listeners {
                assert!(!listener.needs().is_empty(), "{}", listener.name());
                for need in listener.needs() {
                    assert!(
                        names.contains(&(need.type_url, need.name.clone())),
                        "{interception:?} {family:?}: {} needs {} {}",
                        listener.name(),
                        need.type_url,
                        need.name
                    );
                }
            }
        }
    }
}

fn resources(bench: &Bench, layer: &LayerKey) -> Vec<Arc<meltemi_catalog::Resource>> {
    let (_, parts) = layer.observe(&bench.0.memo, bench.0.mesh());
    let members = parts.iter().flat_map(|part| {
        let (_, members) = part.observe(&bench.0.memo, bench.0.mesh());
        members.to_vec()
    });
    members.filter_map(|member| member.observe(&bench.0.memo, bench.0.mesh()).1).collect()
}
