//! Who serves a service: facts of section 7, by hand.

use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_memo::{Cost, Memo};
use meltemi_names::{Kind, ObjectKey};

use super::{EndpointAddress, EndpointsOf, Health, SelectedLabels};
use crate::{Event, Mesh, Store};

struct World {
    store: Store,
    memo: Memo<Mesh>,
}

fn service() -> ObjectKey {
    ObjectKey::new(Kind::Service, "shop", "cart")
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

    /// `locality address:port workload/canonical name/revision`, `!` before what is unhealthy; of port 80.
    fn endpoints(&self) -> Vec<String> {
        let (_, found) = self.memo.observe(EndpointsOf(service()), self.store.mesh());
        let mut lines = Vec::new();
        for (locality, endpoints) in found.iter() {
            for endpoint in endpoints.iter() {
                let address = match &endpoint.address {
                    EndpointAddress::Ip(ip) => ip.to_string(),
                    EndpointAddress::Unix(path) => path.to_string(),
                };
                let port = endpoint.ports.iter().find(|(port, _)| port.number() == 80);
                let port = port.map_or_else(|| "-".to_owned(), |(_, port)| port.to_string());
                let backend = &endpoint.backend;
                lines.push(format!(
                    "{}{locality} {address}:{port} {}/{}/{}",
                    if endpoint.health == Health::Unhealthy { "!" } else { "" },
                    backend.workload,
                    backend.canonical_name(),
                    backend.canonical_revision(),
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
