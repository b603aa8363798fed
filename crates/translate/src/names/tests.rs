//! What an agent is told of each name.

use std::collections::BTreeMap;

use meltemi_model::proxy::IpFamily;
use meltemi_names::TypeUrl;
use meltemi_proto::istio::networking::nds::v1::NameTable;
use prost::Message as _;

use super::NamesKey;
use crate::fixture::Fixture;
use crate::key::PartKey;

/// By name: `registry short.namespace addresses`.
fn table(fixture: &Fixture, namespace: &str, family: IpFamily) -> BTreeMap<String, String> {
    let part = PartKey::Names(NamesKey { namespace: namespace.into(), family });
    let (_, members) = part.observe(&fixture.memo, fixture.mesh());
    let [member] = members.as_slice() else { panic!("{members:?}") };
    let made = member.observe(&fixture.memo, fixture.mesh()).1.unwrap();
    assert_eq!((made.type_url(), made.name().as_str()), (TypeUrl::NameTable, ""));
    let table = NameTable::decode(made.body().to_vec().as_slice()).unwrap().table;
    let line = |name: String, info: meltemi_proto::istio::networking::nds::v1::name_table::NameInfo| {
        let text = format!("{} {}.{} {}", info.registry, info.shortname, info.namespace, info.ips.join(" "));
        (name, text)
    };
    table.into_iter().map(|(name, info)| line(name, info)).collect()
}

fn lines(table: &BTreeMap<String, String>) -> Vec<String> {
    table.iter().map(|(name, info)| format!("{name}: {info}")).collect()
}

const SERVICES: &str = "
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, ports: [{name: tcp, port: 5432}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: tcp, port: 5432}]
endpoints:
- {addresses: [10.2.0.1], hostname: db-0, conditions: {ready: true}}
- {addresses: [10.2.0.2], hostname: db-1, conditions: {ready: true}}
- {addresses: [10.2.0.3], conditions: {ready: false, terminating: false}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias, namespace: shop}, spec: {type: ExternalName, externalName: api.example.com}}
---
{apiVersion: v1, kind: Service, metadata: {name: hidden, namespace: web, annotations: {networking.istio.io/exportTo: .}}, spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}}
---
";

fn entry(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, namespace: shop}}, spec: {{ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}}}\n"
    )
}

#[test]
fn services_of_kubernetes_are_told_with_their_short_names_and_headless_ones_by_their_endpoints() {
    let fixture = Fixture::new(SERVICES);
    let of_shop = table(&fixture, "shop", IpFamily::V4);
    assert_eq!(
        lines(&of_shop),
        [
            "cart.shop.svc.cluster.local: Kubernetes cart.shop 10.96.0.1",
            "db-0.db.shop.svc.cluster.local: Kubernetes db-0.db.shop 10.2.0.1",
            "db-1.db.shop.svc.cluster.local: Kubernetes db-1.db.shop 10.2.0.2",
            "db.shop.svc.cluster.local: Kubernetes db.shop 10.2.0.1 10.2.0.2",
        ]
    );
    assert!(table(&fixture, "web", IpFamily::V4).contains_key("hidden.web.svc.cluster.local"));
    let dual = table(&fixture, "shop", IpFamily::Dual);
    assert_eq!(dual["cart.shop.svc.cluster.local"], "Kubernetes cart.shop 10.96.0.1 fd00::1");
    assert_eq!(
        lines(&table(&fixture, "shop", IpFamily::V6)),
        ["cart.shop.svc.cluster.local: Kubernetes cart.shop fd00::1"]
    );
}

#[test]
fn hosts_of_entries_are_told_with_their_own_addresses_or_with_those_they_were_given() {
    let fixture = Fixture::new(&[
        entry("own", "hosts: [own.example.com], addresses: [192.0.2.1, 192.0.2.2, 10.0.0.0/8], resolution: STATIC, endpoints: [{address: 10.1.1.1}]"),
        entry("none", "hosts: [none.example.com]"),
        entry("wild", "hosts: ['*.wild.example.com'], resolution: STATIC, endpoints: [{address: 10.1.1.1}]"),
    ]
    .concat());
    assert_eq!(
        lines(&table(&fixture, "web", IpFamily::V4)),
        ["own.example.com: External . 192.0.2.1 192.0.2.2"],
        "what has no address is asked of the DNS that there is anyway"
    );
    let mut fixture = fixture;
    fixture.apply(&entry("given", "hosts: [given.example.com], resolution: DNS"));
    let given = table(&fixture, "web", IpFamily::V4)["given.example.com"].clone();
    assert!(given.starts_with("External . 240.240."), "{given}");
    assert!(table(&fixture, "web", IpFamily::V6)["given.example.com"].starts_with("External . 2001:2::"));
}

#[test]
fn a_service_that_changes_encodes_its_own_names_alone() {
    let many: String = (0..50)
        .map(|n| format!("---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{n}, namespace: shop}}, spec: {{clusterIP: 10.96.1.{n}, ports: [{{name: http, port: 80}}]}}}}\n"))
        .collect();
    let mut fixture = Fixture::new(&many);
    table(&fixture, "shop", IpFamily::V4);
    let cost = fixture.apply("{apiVersion: v1, kind: Service, metadata: {name: s7, namespace: shop}, spec: {clusterIP: 10.96.2.7, ports: [{name: http, port: 80}]}}");
    assert_eq!((cost.made("names of a service"), cost.made("table of names")), (1, 1));
    let cost = fixture.apply("{apiVersion: v1, kind: Service, metadata: {name: s7, namespace: shop}, spec: {clusterIP: 10.96.2.7, ports: [{name: http, port: 81}]}}");
    assert_eq!((cost.made("names of a service"), cost.made("table of names")), (1, 0), "names have no ports");
}
