//! Services of ServiceEntries: which there are, who sees which of one host, which addresses they are given, who serves them.

use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_memo::{Cost, Memo};
use meltemi_names::{Host, Kind, ObjectKey};

use super::{ServiceByHost, ServiceId, ServiceOf, ServiceShape, VisibleServices};
use crate::endpoints::{EndpointAddress, EndpointsOf};
use crate::{Event, Mesh, Store};

struct World {
    store: Store,
    memo: Memo<Mesh>,
}

fn entry(place: &str, more: &str, spec: &str) -> String {
    let (namespace, name) = place.split_once('/').unwrap();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}{more}}}\nspec: {{{spec}}}\n"
    )
}

const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

impl World {
    fn new(yaml: &str) -> Self {
        let mut world = Self { store: Store::new(), memo: Memo::new() };
        world.apply(yaml);
        world
    }

    fn change(&mut self, events: Vec<Event>) -> Cost {
        let changes = self.store.apply(events);
        self.memo.take_cost();
        self.memo.apply(self.store.mesh(), changes.entries());
        self.memo.take_cost()
    }

    fn apply(&mut self, yaml: &str) -> Cost {
        let objects = parse_all(yaml).unwrap();
        self.change(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect())
    }

    fn visible(&self, viewer: &str) -> Vec<String> {
        let (_, found) = self.memo.observe(VisibleServices(viewer.into()), self.store.mesh());
        found.iter().map(ToString::to_string).collect()
    }

    fn by_host(&self, viewer: &str, host: &str) -> Option<Arc<ServiceShape>> {
        let question = ServiceByHost { viewer: viewer.into(), host: Host::parse(host).unwrap() };
        (*self.memo.observe(question, self.store.mesh()).1).clone()
    }

    fn shape(&self, place: &str, host: &str) -> Option<Arc<ServiceShape>> {
        (*self.memo.observe(ServiceOf(id(place, host)), self.store.mesh()).1).clone()
    }

    /// `address service port>own port xweight workload locality`.
    fn endpoints(&self, place: &str, host: &str) -> Vec<String> {
        let (_, found) = self.memo.observe(EndpointsOf(id(place, host)), self.store.mesh());
        let all = found.iter().flat_map(|(place, all)| all.iter().map(move |endpoint| (place, endpoint)));
        let line = |(place, endpoint): (&meltemi_names::Locality, &Arc<crate::endpoints::Endpoint>)| {
            let address = match &endpoint.address {
                EndpointAddress::Ip(ip) => ip.to_string(),
                EndpointAddress::Name(name) => name.to_string(),
                EndpointAddress::Unix(path) => format!("unix {path}"),
            };
            let ports: Vec<String> =
                endpoint.ports.iter().map(|(port, own)| format!("{port}>{own}")).collect();
            format!(
                "{address} {} x{} {} {place}",
                ports.join(","),
                endpoint.weight,
                endpoint.backend.workload
            )
        };
        all.map(line).collect()
    }
}

fn id(place: &str, host: &str) -> ServiceId {
    let (namespace, name) = place.split_once('/').unwrap();
    let object = ObjectKey::new(Kind::ServiceEntry, namespace, name);
    ServiceId { object, host: Host::parse(host).unwrap() }
}

fn ports(shape: &ServiceShape) -> Vec<u16> {
    shape.ports.iter().map(|port| port.port.number()).collect()
}

#[test]
fn each_host_of_an_entry_is_a_service() {
    let world = World::new(&entry(
        "a/x",
        "",
        "hosts: [b.com, a.com, '*.c.com'], addresses: [10.0.0.1, 10.1.0.0/16], location: MESH_INTERNAL, ports: [{number: 443, name: tls, protocol: TLS}, {number: 53, name: dns, protocol: UDP}]",
    ));
    let all = ["*.c.com of ServiceEntry a/x", "a.com of ServiceEntry a/x", "b.com of ServiceEntry a/x"];
    assert_eq!(world.visible("z"), all);
    let shape = world.shape("a/x", "a.com").unwrap();
    assert_eq!(ports(&shape), [443], "UDP is not the mesh's");
    assert_eq!(shape.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(shape.blocks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.0/16"]);
    assert!(!shape.external);
    assert!(world.shape("a/x", "other.com").is_none());
}

#[test]
fn entries_of_one_host_and_namespace_that_agree_are_one_service() {
    let ported = |number: u32| {
        format!(
            "hosts: [a.com], resolution: STATIC, ports: [{{number: {number}, name: p{number}, protocol: HTTP}}], endpoints: [{{address: 10.0.0.{number}}}]"
        )
    };
    let mut world =
        World::new(&format!("{}{}", entry("a/x", "", &ported(80)), entry("a/y", "", &ported(81))));
    assert_eq!(world.visible("z"), ["a.com of ServiceEntry a/x"]);
    assert_eq!(ports(&world.shape("a/x", "a.com").unwrap()), [80, 81]);
    assert!(world.shape("a/y", "a.com").is_none());
    assert_eq!(world.endpoints("a/x", "a.com"), ["10.0.0.80 80>80 x1 x-0 ", "10.0.0.81 81>81 x1 y-0 "]);
    // One that does not agree is hidden by the older one.
    world.apply(&entry("a/y", ", labels: {team: b}", &ported(81)));
    assert_eq!(world.visible("z"), ["a.com of ServiceEntry a/x"]);
    assert_eq!(ports(&world.shape("a/x", "a.com").unwrap()), [80]);
    assert_eq!(world.endpoints("a/x", "a.com"), ["10.0.0.80 80>80 x1 x-0 "]);
}

#[test]
fn of_services_of_one_host_a_namespace_sees_its_own_then_kubernetes_then_the_oldest() {
    let host = "hosts: [cart.shop.svc.cluster.local], resolution: STATIC";
    let service = "---\n{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop, creationTimestamp: '2024-01-01T00:00:00Z'}, spec: {ports: [{port: 80}]}}\n";
    let mut world = World::new(&format!(
        "{service}{}{}",
        entry("b/x", "", &format!("{host}, {HTTP}")),
        entry("c/x", ", creationTimestamp: '2024-02-01T00:00:00Z'", &format!("{host}, {HTTP}"))
    ));
    let cart = "cart.shop.svc.cluster.local";
    let chosen = |world: &World, viewer: &str| {
        let by_host = world.by_host(viewer, cart).map(|shape| shape.id.object.to_string());
        let listed = world.visible(viewer);
        assert_eq!(listed.len(), 1, "{listed:?}");
        let listed = listed[0].trim_start_matches("cart.shop.svc.cluster.local of ").to_owned();
        assert_eq!(by_host.as_deref(), Some(&*listed));
        listed
    };
    assert_eq!(chosen(&world, "z"), "Service shop/cart");
    assert_eq!(chosen(&world, "b"), "ServiceEntry b/x");
    assert_eq!(chosen(&world, "c"), "ServiceEntry c/x");
    world.change(vec![Event::Delete(ObjectKey::new(Kind::Service, "shop", "cart"))]);
    assert_eq!(chosen(&world, "z"), "ServiceEntry b/x", "one without a time of creation is the oldest");
    // One that only `z` and its own namespace see comes first there.
    world.apply(&entry("d/x", "", &format!("{host}, {HTTP}, exportTo: ['.', z]")));
    assert_eq!(chosen(&world, "z"), "ServiceEntry d/x");
    assert_eq!(chosen(&world, "y"), "ServiceEntry b/x");
}

#[test]
fn an_entry_for_nobody_is_seen_by_nobody() {
    let world = World::new(&entry("a/x", "", &format!("hosts: [a.com], exportTo: ['~'], {HTTP}")));
    assert_eq!(world.visible("a"), [""; 0]);
    assert!(world.by_host("a", "a.com").is_none());
}

#[test]
fn hosts_without_addresses_are_given_some_and_keep_them() {
    let dns =
        |place: &str, host: &str| entry(place, "", &format!("hosts: [{host}], resolution: DNS, {HTTP}"));
    let given = |world: &World, place: &str, host: &str| {
        let shape = world.shape(place, host).unwrap();
        shape.allocated.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut world = World::new(&dns("a/x", "a.com"));
    let first = given(&world, "a/x", "a.com");
    let [v4, v6] = first.as_slice() else { panic!("{first:?}") };
    assert!(v4.starts_with("240.240.") && v6.starts_with("2001:2::f0f0:"), "{first:?}");
    assert_eq!(world.shape("a/x", "a.com").unwrap().addresses(true).len(), 2);
    assert_eq!(world.shape("a/x", "a.com").unwrap().addresses(false).len(), 0);
    // 300 others never move it, and all have their own.
    let others: String = (0..300).map(|n| dns(&format!("b/z{n}"), &format!("z{n}.com"))).collect();
    world.apply(&others);
    assert_eq!(given(&world, "a/x", "a.com"), first);
    let all: std::collections::BTreeSet<String> = (0..300)
        .flat_map(|n| given(&world, &format!("b/z{n}"), &format!("z{n}.com")))
        .chain(first.clone())
        .collect();
    assert_eq!(all.len(), 602);
    // What Istio wrote counts, and what has an address, a wildcard, no resolution or the label gets none.
    world.apply(&format!(
        "{}status: {{addresses: [{{host: s.com, value: 240.240.9.9}}]}}\n",
        entry("a/s", "", &format!("hosts: [s.com], resolution: STATIC, {HTTP}"))
    ));
    assert_eq!(given(&world, "a/s", "s.com"), ["240.240.9.9"]);
    for (spec, more) in [
        ("addresses: [10.0.0.1], resolution: STATIC", ""),
        ("resolution: NONE", ""),
        ("resolution: STATIC", ", labels: {networking.istio.io/enable-autoallocate-ip: 'false'}"),
    ] {
        world.apply(&entry("a/n", more, &format!("hosts: [n.com], {spec}, {HTTP}")));
        assert_eq!(given(&world, "a/n", "n.com"), [""; 0], "{spec}");
    }
    world.apply(&entry("a/n", "", &format!("hosts: ['*.n.com'], resolution: STATIC, {HTTP}")));
    assert_eq!(given(&world, "a/n", "*.n.com"), [""; 0]);
}

#[test]
fn addresses_are_the_same_in_whatever_order_entries_come() {
    let dns = |n: u32| entry(&format!("b/z{n}"), "", &format!("hosts: [z{n}.com], resolution: DNS, {HTTP}"));
    let given = |order: &mut dyn Iterator<Item = u32>| {
        let mut world = World::new("");
        for n in order {
            world.apply(&dns(n));
        }
        (0..40)
            .map(|n| world.shape(&format!("b/z{n}"), &format!("z{n}.com")).unwrap().allocated.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(given(&mut (0..40)), given(&mut (0..40).rev()));
}

#[test]
fn endpoints_are_those_that_the_resolution_says() {
    let two = "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 81, name: other, protocol: HTTP}]";
    let of = |spec: &str| {
        World::new(&entry("a/x", "", &format!("hosts: [a.com], {two}, {spec}"))).endpoints("a/x", "a.com")
    };
    assert_eq!(
        of(
            "resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 9}, weight: 3, locality: eu/b}, {address: 10.0.0.2}]"
        ),
        ["10.0.0.2 80>8080,81>81 x1 x-1 ", "10.0.0.1 80>9,81>81 x3 x-0 eu/b"]
    );
    assert_eq!(of("resolution: DNS"), ["a.com 80>8080,81>81 x1 x "], "the host itself");
    assert_eq!(of("resolution: DNS_ROUND_ROBIN"), ["a.com 80>8080,81>81 x1 x "]);
    assert_eq!(of("resolution: DNS, endpoints: [{address: b.com}, {address: 10.0.0.1}]").len(), 2);
    assert_eq!(of("resolution: NONE"), [""; 0]);
    assert_eq!(of("resolution: STATIC"), [""; 0]);
    let one = World::new(&entry(
        "a/x",
        "",
        "hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 'unix:///s'}]",
    ));
    assert_eq!(one.endpoints("a/x", "a.com"), ["unix /s 80>80 x1 x-0 "]);
}

#[test]
fn a_selector_picks_workload_entries_and_pods_of_its_namespace() {
    let spec = |resolution: &str| {
        format!(
            "hosts: [a.com], ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 8080}}], resolution: {resolution}, workloadSelector: {{labels: {{app: a}}}}"
        )
    };
    let workload = |namespace: &str, name: &str, address: &str, more: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}{more}}}\nspec: {{address: {address}, labels: {{app: a}}}}\n"
        )
    };
    let checked = ", annotations: {proxy.istio.io/health-checks-enabled: 'true'}";
    let pod = "---\n{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: a, labels: {app: a}}, spec: {containers: [{name: c, ports: [{name: http, containerPort: 7070}]}]}, status: {podIP: 10.0.1.1}}\n";
    let others = [
        workload("a", "one", "10.0.0.1", ""),
        workload("a", "named", "db.com", ""),
        workload("a", "unwell", "10.0.0.3", checked),
        format!(
            "{}status: {{conditions: [{{type: Healthy, status: 'True'}}]}}\n",
            workload("a", "well", "10.0.0.4", checked)
        ),
        workload("b", "elsewhere", "10.0.0.5", ""),
        pod.to_owned(),
    ]
    .concat();
    let world = World::new(&format!("{}{others}", entry("a/x", "", &spec("STATIC"))));
    assert_eq!(
        world.endpoints("a/x", "a.com"),
        ["10.0.0.1 80>8080 x1 one ", "10.0.0.4 80>8080 x1 well ", "10.0.1.1 80>7070 x1 p "]
    );
    let world = World::new(&format!("{}{others}", entry("a/x", "", &spec("DNS"))));
    assert_eq!(world.endpoints("a/x", "a.com").len(), 4, "a name too");
}

#[test]
fn one_entry_that_changes_remakes_its_own_services() {
    let many: String = (0..50)
        .map(|n| entry(&format!("b/z{n}"), "", &format!("hosts: [z{n}.com], resolution: DNS, {HTTP}")))
        .collect();
    let mut world = World::new(&many);
    world.visible("a");
    let cost = world.apply(&entry(
        "b/z7",
        "",
        "hosts: [z7.com], resolution: DNS, ports: [{number: 81, name: http, protocol: HTTP}]",
    ));
    assert_eq!((cost.made("service"), cost.made("allocated addresses")), (1, 0));
}
