//! Who serves a service: facts of section 7, by hand.

use std::sync::Arc;

use crate::service::ServiceId;
use meltemi_api::parse_all;
use meltemi_memo::{Cost, Memo};
use meltemi_names::{Kind, ObjectKey, Selector};

use super::{AnyCarries, EndpointAddress, EndpointsOf, Families, FamiliesOf, Health, SelectedLabels};
use crate::{Event, Mesh, Store};

struct World {
    store: Store,
    memo: Memo<Mesh>,
}

fn service() -> ServiceId {
    ServiceId::of(&ObjectKey::new(Kind::Service, "shop", "cart"))
}

impl World {
    fn new(yaml: &str) -> Self {
        let mut world = Self { store: Store::new(), memo: Memo::new() };
        world.apply(yaml);
        world
    }

    fn apply(&mut self, yaml: &str) -> Cost {
        let objects = parse_all(yaml).unwrap();
        let changes = self.store.apply(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))));
        self.memo.take_cost();
        self.memo.apply(self.store.mesh(), changes.entries());
        self.memo.take_cost()
    }

    /// `locality address:port workload/app/version`, `!` before what is unhealthy, `~` before what drains; of port 80.
    fn endpoints(&self) -> Vec<String> {
        let (_, found) = self.memo.observe(EndpointsOf(service()), self.store.mesh());
        let mut lines = Vec::new();
        for (locality, endpoints) in found.iter() {
            for endpoint in endpoints.iter() {
                let address = match &endpoint.address {
                    EndpointAddress::Ip(ip) => ip.to_string(),
                    EndpointAddress::Name(path) | EndpointAddress::Unix(path) => path.to_string(),
                };
                let port = endpoint.ports.iter().find(|(port, _)| port.number() == 80);
                let port = port.map_or_else(|| "-".to_owned(), |(_, port)| port.to_string());
                let backend = &endpoint.backend;
                lines.push(format!(
                    "{}{locality} {address}:{port} {}/{}/{}",
                    match endpoint.health {
                        Health::Healthy => "",
                        Health::Unhealthy => "!",
                        Health::Draining => "~",
                    },
                    backend.workload,
                    backend.labels.value("app").unwrap_or(&backend.workload),
                    backend.labels.value("version").unwrap_or("latest"),
                ));
            }
        }
        lines
    }
}

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: web}]}
---
";

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-x, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.2.0.1], targetRef: {kind: Pod, name: cart-1, namespace: shop}, nodeName: n1}
---
";

/// A pod that listens on 8081 as `web`; `status` are fields of its status beside the address.
fn pod(name: &str, ip: &str, labels: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}\nspec: {{nodeName: n1, serviceAccountName: cart, containers: [{{name: c, ports: [{{name: web, containerPort: 8081}}]}}]}}\nstatus: {{podIP: {ip}{status}}}\n---\n"
    )
}

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1, topology.istio.io/subzone: rack}}
---
";

#[test]
fn a_slice_is_joined_with_its_pods_and_their_nodes() {
    let labels = "app: cart, version: v2";
    let world =
        World::new(&format!("{CART}{SLICE}{NODE}{}", pod("cart-1", "10.2.0.1", labels, ", phase: Running")));
    assert_eq!(world.endpoints(), ["eu/eu-1/rack 10.2.0.1:8080 cart-1/cart/v2"]);
    let own_place = format!("{labels}, istio-locality: us.us-1");
    let world = World::new(&format!("{CART}{SLICE}{NODE}{}", pod("cart-1", "10.2.0.1", &own_place, "")));
    assert_eq!(world.endpoints(), ["us/us-1 10.2.0.1:8080 cart-1/cart/v2"]);
}

#[test]
fn an_endpoint_waits_for_its_pod_unless_there_are_no_pods_at_all() {
    let mut world = World::new(&format!("{CART}{SLICE}"));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8080 //latest"], "in a folder nobody would write the pod");
    world.apply(&pod("other", "10.2.0.9", "app: other", ""));
    assert_eq!(world.endpoints(), Vec::<String>::new());
    world.apply(&pod("cart-1", "10.2.0.1", "app: cart", ""));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8080 cart-1/cart/latest"]);
}

#[test]
fn a_service_takes_workload_entries_beside_its_slices() {
    let entry = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, labels: {app: cart}}
spec: {address: 10.3.0.1, ports: {web: 7070}, locality: eu/eu-2}
---
";
    let world = World::new(&format!("{CART}{SLICE}{entry}"));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8080 //latest", "eu/eu-2 10.3.0.1:7070 vm/cart/latest"]);
    let elsewhere = World::new(&format!("{CART}{}", entry.replace("namespace: shop", "namespace: bank")));
    assert_eq!(elsewhere.endpoints(), Vec::<String>::new(), "only of the service's own namespace");
    let by_port = World::new(&format!("{CART}{}", entry.replace("{web: 7070}", "{http: 6060, web: 7070}")));
    assert_eq!(
        by_port.endpoints(),
        ["eu/eu-2 10.3.0.1:6060 vm/cart/latest"],
        "the service's port counts first"
    );
}

#[test]
fn where_nobody_makes_slices_the_selected_pods_count() {
    let mut world = World::new(&format!(
        "{CART}{}{}{}{}",
        pod("a", "10.2.0.1", "app: cart", ""),
        pod("b", "10.2.0.2", "app: other", ""),
        pod("c", "10.2.0.3", "app: cart", ", phase: Running, conditions: [{type: Ready, status: 'False'}]"),
        pod("d", "10.2.0.4", "app: cart", ", phase: Failed"),
    ));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8081 a/cart/latest", "! 10.2.0.3:8081 c/cart/latest"]);
    world.apply(&SLICE.replace("endpoints:\n- {addresses: [10.2.0.1], targetRef: {kind: Pod, name: cart-1, namespace: shop}, nodeName: n1}", "endpoints: []"));
    assert_eq!(world.endpoints(), Vec::<String>::new(), "a slice, even an empty one, says who serves");
}

#[test]
fn an_address_that_two_slices_name_counts_once_and_healthy() {
    let unready = SLICE
        .replace("cart-x", "cart-a")
        .replace("nodeName: n1", "nodeName: n1, conditions: {ready: false, terminating: false}");
    let world = World::new(&format!("{CART}{SLICE}{unready}"));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8080 //latest"]);
}

#[test]
fn a_pods_state_remakes_no_endpoints_of_its_slice() {
    let mut world =
        World::new(&format!("{CART}{SLICE}{}", pod("cart-1", "10.2.0.1", "app: cart", ", phase: Pending")));
    world.endpoints();
    let cost = world.apply(&pod("cart-1", "10.2.0.1", "app: cart", ", phase: Running"));
    assert_eq!(
        (cost.made("backend of a pod"), cost.made("endpoints of a slice"), cost.made("endpoints")),
        (1, 0, 0)
    );
}

#[test]
fn what_subsets_can_match_includes_pods_that_are_not_ready_yet() {
    let world =
        World::new(&format!("{CART}{}", pod("a", "10.2.0.1", "app: cart, version: v7", ", phase: Pending")));
    let (_, labels) = world.memo.observe(SelectedLabels(service()), world.store.mesh());
    let versions: Vec<_> = labels.iter().map(|labels| labels.value("version")).collect();
    assert_eq!(versions, [Some("v7")]);
}

/// A slice of cart; `endpoints` are written in full.
fn slice(name: &str, more: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: cart{more}}}}}\naddressType: IPv4\nports: [{ports}]\nendpoints: [{endpoints}]\n---\n"
    )
}

const HTTP: &str = "{name: http, port: 8080}";

#[test]
fn each_of_the_three_conditions_counts_as_in_istio() {
    let of = |service: &str, conditions: &str| {
        let endpoint = format!("{{addresses: [10.2.0.1], conditions: {{{conditions}}}}}");
        let world = World::new(&format!("{service}{}", slice("cart-x", "", HTTP, &endpoint)));
        world.endpoints().first().map_or("-", |line| &line[..1]).to_owned()
    };
    let drained = CART.replace(
        "name: cart, namespace: shop",
        "name: cart, namespace: shop, labels: {istio.io/persistent-session: cart}",
    );
    let by_header = CART.replace(
        "name: cart, namespace: shop",
        "name: cart, namespace: shop, labels: {istio.io/persistent-session-header: x-cart}",
    );
    for (conditions, usual, draining) in [
        ("", " ", " "),
        ("ready: true, terminating: true", " ", " "),
        ("ready: false", "-", "~"),
        ("ready: false, terminating: false", "!", "!"),
        ("ready: false, terminating: true", "-", "~"),
        ("ready: false, serving: true, terminating: true", "-", "~"),
        ("ready: false, serving: false, terminating: true", "-", "-"),
        ("ready: false, serving: false", "-", "-"),
    ] {
        assert_eq!(of(CART, conditions), usual, "{conditions}");
        assert_eq!(of(&drained, conditions), draining, "persistent session, {conditions}");
        assert_eq!(of(&by_header, conditions), draining, "persistent session by header, {conditions}");
    }
}

#[test]
fn a_workload_labelled_as_draining_gets_no_new_clients() {
    let labelled = pod("cart-1", "10.2.0.1", "app: cart, istio.io/draining: 'yes'", "");
    assert_eq!(World::new(&format!("{CART}{SLICE}{labelled}")).endpoints(), Vec::<String>::new());
    let drained = CART.replace(
        "name: cart, namespace: shop",
        "name: cart, namespace: shop, labels: {istio.io/persistent-session: cart}",
    );
    let world = World::new(&format!("{drained}{SLICE}{labelled}"));
    assert_eq!(world.endpoints(), ["~ 10.2.0.1:8080 cart-1/cart/latest"]);
}

#[test]
fn slices_of_several_clusters_and_of_names_are_skipped() {
    let world = World::new(&format!(
        "{CART}{}{}",
        slice("a", ", multicluster.kubernetes.io/service-name: cart", HTTP, "{addresses: [10.2.0.1]}"),
        slice("b", "", HTTP, "{addresses: [cart.example.com]}").replace("IPv4", "FQDN"),
    ));
    assert_eq!(world.endpoints(), Vec::<String>::new());
}

#[test]
fn an_endpoint_that_moves_between_slices_is_there_once_all_the_time() {
    let cart = CART.replace(
        "ports: [{name: http, port: 80, targetPort: web}]",
        "ports: [{name: http, port: 80}, {name: grpc, port: 81}]",
    );
    let before = slice("a", "", HTTP, "{addresses: [10.2.0.1]}");
    let after = slice(
        "b",
        "",
        "{name: http, port: 8080}, {name: grpc, port: 9090}",
        "{addresses: [10.2.0.1], zone: z1}",
    );
    let mut world = World::new(&format!("{cart}{before}"));
    let ports = |world: &World| {
        let (_, found) = world.memo.observe(EndpointsOf(service()), world.store.mesh());
        let mut ports: Vec<String> = found
            .values()
            .flat_map(|all| all.iter())
            .flat_map(|endpoint| endpoint.ports.iter().map(|(port, own)| format!("{port}->{own}")))
            .collect();
        ports.sort();
        ports
    };
    assert_eq!(ports(&world), ["80->8080"]);
    world.apply(&after);
    assert_eq!(
        ports(&world),
        ["80->8080", "81->9090"],
        "each port once, though both slices name the address"
    );
    world.apply(&slice("a", "", HTTP, ""));
    assert_eq!(ports(&world), ["80->8080", "81->9090"]);
}

#[test]
fn an_unnamed_port_is_the_unnamed_one_and_a_port_without_number_is_none() {
    let unnamed = CART.replace("{name: http, port: 80, targetPort: web}", "{port: 80, targetPort: 8080}");
    let world = World::new(&format!(
        "{unnamed}{}",
        slice("a", "", "{name: '', port: 8080}", "{addresses: [10.2.0.1]}")
    ));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8080 //latest"]);
    let world = World::new(&format!("{CART}{}", slice("a", "", "{name: http}", "{addresses: [10.2.0.1]}")));
    assert_eq!(world.endpoints(), [" 10.2.0.1:- //latest"]);
}

#[test]
fn a_slice_by_hand_takes_the_pod_at_its_address() {
    let other = pod("far", "10.2.0.1", "app: far", "").replace("namespace: shop", "namespace: bank");
    let bare =
        slice("a", "", HTTP, "{addresses: [10.2.0.1], nodeName: n1, zone: z9}, {addresses: [10.2.0.7]}");
    let mut world = World::new(&format!("{CART}{NODE}{bare}{other}"));
    let nobody = [" 10.2.0.1:8080 //latest", " 10.2.0.7:8080 //latest"];
    assert_eq!(
        world.endpoints(),
        nobody,
        "without a pod nothing is known, not even the place that the slice says"
    );
    world.apply(&pod("cart-9", "10.2.0.7", "app: cart, version: v9", ""));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8080 //latest", "eu/eu-1/rack 10.2.0.7:8080 cart-9/cart/v9"]);
    world.apply(&pod("cart-9", "10.2.0.7", "app: cart, version: v9", ", phase: Succeeded"));
    assert_eq!(world.endpoints(), nobody);
}

#[test]
fn a_pod_that_has_failed_serves_nobody_though_its_slice_names_it() {
    let mut world = World::new(&format!("{CART}{SLICE}{}", pod("cart-1", "10.2.0.1", "app: cart", "")));
    assert_eq!(world.endpoints().len(), 1);
    world.apply(&pod("cart-1", "10.2.0.1", "app: cart", ", phase: Failed"));
    assert_eq!(world.endpoints(), Vec::<String>::new());
}

#[test]
fn a_service_that_publishes_early_takes_pods_that_are_not_ready() {
    let early = CART.replace("spec: {", "spec: {publishNotReadyAddresses: true, ");
    let world = World::new(&format!("{early}{}", pod("a", "10.2.0.1", "app: cart", ", phase: Pending")));
    assert_eq!(world.endpoints(), [" 10.2.0.1:8081 a/cart/latest"]);
}

#[test]
fn the_second_address_of_a_pod_is_known_as_such() {
    let target = "targetRef: {kind: Pod, name: cart-1}";
    let v6 = slice("b", "", HTTP, &format!("{{addresses: ['fd00::1'], {target}}}")).replace("IPv4", "IPv6");
    let both = pod("cart-1", "10.2.0.1", "app: cart", ", podIPs: [{ip: 10.2.0.1}, {ip: 'fd00::1'}]");
    let twins = |world: &World| {
        let (_, families) = world.memo.observe(FamiliesOf(service()), world.store.mesh());
        let (_, found) = world.memo.observe(EndpointsOf(service()), world.store.mesh());
        let all = found.values().flat_map(|all| all.iter());
        (*families, all.map(|endpoint| endpoint.twin).collect::<Vec<_>>())
    };
    let world = World::new(&format!("{CART}{SLICE}{v6}{both}"));
    assert_eq!(twins(&world), (Families::Twins, vec![false, true]));
    assert_eq!(
        twins(&World::new(&format!("{CART}{both}"))),
        (Families::Twins, vec![false, true]),
        "without slices"
    );
    let other = v6.replace("cart-1", "cart-2");
    let world =
        World::new(&format!("{CART}{SLICE}{other}{both}{}", pod("cart-2", "'fd00::1'", "app: cart", "")));
    assert_eq!(twins(&world), (Families::Both, vec![false, false]), "another pod's");
    assert_eq!(twins(&World::new(&format!("{CART}{v6}{both}"))), (Families::One, vec![false]));
}

#[test]
fn the_newer_label_for_the_locality_counts_first() {
    let labels = "app: cart, istio-locality: us.us-1, topology.istio.io/locality: eu.west/b/r1";
    let world = World::new(&format!("{CART}{SLICE}{NODE}{}", pod("cart-1", "10.2.0.1", labels, "")));
    assert_eq!(world.endpoints(), ["eu.west/b/r1 10.2.0.1:8080 cart-1/cart/latest"]);
}

#[test]
fn a_node_may_have_the_older_labels() {
    let old = "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {failure-domain.beta.kubernetes.io/region: eu, failure-domain.beta.kubernetes.io/zone: eu-2}}}";
    let world = World::new(&format!("{CART}{SLICE}{}{old}", pod("cart-1", "10.2.0.1", "app: cart", "")));
    assert_eq!(world.endpoints(), ["eu/eu-2 10.2.0.1:8080 cart-1/cart/latest"]);
}

#[test]
fn endpoints_carry_the_labels_of_the_place_where_they_run() {
    let root = "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system, labels: {topology.istio.io/network: net-a}}}";
    let carries = |labels: &str, key: &str, value: &str| {
        let world =
            World::new(&format!("{CART}{SLICE}{NODE}{}{root}", pod("cart-1", "10.2.0.1", labels, "")));
        let labels = Selector::new([(key, value)].into_iter().collect());
        *world.memo.observe(AnyCarries { service: service(), labels }, world.store.mesh()).1
    };
    for (key, value) in [
        ("app", "cart"),
        ("topology.kubernetes.io/region", "eu"),
        ("topology.kubernetes.io/zone", "eu-1"),
        ("topology.istio.io/subzone", "rack"),
        ("topology.istio.io/cluster", "Kubernetes"),
        ("topology.istio.io/network", "net-a"),
        ("kubernetes.io/hostname", "n1"),
    ] {
        assert!(carries("app: cart", key, value), "{key}");
        assert!(!carries("app: cart", key, "other"), "{key}");
    }
    assert!(carries("app: cart, topology.istio.io/network: net-b", "topology.istio.io/network", "net-b"));
    assert!(
        carries("app: cart, topology.kubernetes.io/zone: mine", "topology.kubernetes.io/zone", "eu-1"),
        "what the node says is over what the pod says"
    );
}

#[test]
fn a_label_of_a_node_that_says_no_place_remakes_no_endpoints() {
    let mut world = World::new(&format!("{CART}{SLICE}{NODE}{}", pod("cart-1", "10.2.0.1", "app: cart", "")));
    world.endpoints();
    let cost = world.apply(&NODE.replace("subzone: rack", "subzone: rack, pool: blue"));
    assert_eq!((cost.made("locality of a node"), cost.made("endpoints of a slice")), (1, 0));
    let cost = world.apply(&NODE.replace("subzone: rack", "subzone: shelf"));
    assert_eq!((cost.made("endpoints of a slice"), cost.made("endpoints")), (1, 1));
}
