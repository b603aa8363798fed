//! The levels of PeerAuthentication, by hand after Istio's reference.

use std::sync::Arc;

use crate::service::ServiceId;
use meltemi_api::parse_all;
use meltemi_memo::{Cost, Memo};
use meltemi_names::{Kind, Labels, ObjectKey, Port};

use super::{Mode, ModesOf, NamespaceMode, TlsPorts, WorkloadPolicy};
use crate::endpoints::{IdentitiesOf, TakeTls, WhoTakesTls};
use crate::{Event, Mesh, Store};

struct World {
    store: Store,
    memo: Memo<Mesh>,
}

/// A policy `namespace/name`, created in that minute, that says `spec`.
fn policy(name: &str, minute: u32, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\n{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: {name}, namespace: {namespace}, \
         creationTimestamp: '2026-01-01T00:{minute:02}:00Z'}}, spec: {spec}}}\n"
    )
}

fn port(number: u32) -> Port {
    Port::new(number).unwrap()
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

    /// `rest port=mode... < policy policy` of the workload `app` in `namespace`.
    fn modes(&self, namespace: &str, app: &str) -> String {
        let labels: Labels = [("app", app)].into_iter().collect();
        let own = WorkloadPolicy { namespace: namespace.into(), labels };
        let (_, own) = self.memo.observe(own, self.store.mesh());
        let modes = ModesOf { namespace: namespace.into(), policy: (*own).clone() };
        let (_, modes) = self.memo.observe(modes, self.store.mesh());
        let mut words = vec![format!("{:?}", modes.modes.rest)];
        words.extend(modes.modes.ports.iter().map(|(port, mode)| format!("{port}={mode:?}")));
        if !modes.decided_by.is_empty() {
            words.push("<".to_owned());
        }
        words.extend(modes.decided_by.iter().map(|key| format!("{}/{}", key.namespace, key.name)));
        words.join(" ")
    }

    fn of_namespace(&self, namespace: &str) -> Mode {
        self.memo.observe(NamespaceMode(namespace.into()), self.store.mesh()).1.mode
    }
}

const CART: &str = "selector: {matchLabels: {app: cart}}";

#[test]
fn each_level_overrides_the_one_above_and_unset_inherits() {
    let mut world = World::new("");
    assert_eq!(world.modes("shop", "cart"), "Permissive", "nothing is written");
    world.apply(&policy("istio-system/mesh", 0, "{mtls: {mode: STRICT}}"));
    assert_eq!(world.modes("shop", "cart"), "Strict < istio-system/mesh");
    assert_eq!(world.modes("istio-system", "any"), "Strict < istio-system/mesh");
    world.apply(&policy("shop/all", 1, "{mtls: {mode: DISABLE}}"));
    assert_eq!(world.modes("shop", "cart"), "Disable < shop/all");
    assert_eq!(world.modes("web", "cart"), "Strict < istio-system/mesh");
    assert_eq!((world.of_namespace("shop"), world.of_namespace("web")), (Mode::Disable, Mode::Strict));
    world.apply(&policy("shop/cart", 2, &format!("{{{CART}, mtls: {{mode: PERMISSIVE}}}}")));
    assert_eq!(world.modes("shop", "cart"), "Permissive < shop/cart");
    assert_eq!(world.modes("shop", "other"), "Disable < shop/all");
    assert_eq!(world.of_namespace("shop"), Mode::Disable, "clients see the namespace's");
    world.apply(&policy("shop/cart", 2, &format!("{{{CART}, mtls: {{mode: UNSET}}}}")));
    assert_eq!(world.modes("shop", "cart"), "Disable < shop/all");
    world.apply(&policy("shop/all", 1, "{mtls: {}}"));
    assert_eq!(world.modes("shop", "cart"), "Strict < istio-system/mesh");
    world.apply(&policy("istio-system/mesh", 0, "{}"));
    assert_eq!(world.modes("shop", "cart"), "Permissive");
}

#[test]
fn ports_override_their_workload_and_those_that_do_not_are_not_listed() {
    let levels = format!(
        "{{{CART}, mtls: {{mode: STRICT}}, portLevelMtls: {{8080: {{mode: DISABLE}}, 8081: {{mode: STRICT}}, \
         '8082': {{mode: UNSET}}, 8083: {{mode: PERMISSIVE}}}}}}"
    );
    let world = World::new(&policy("shop/cart", 0, &levels));
    assert_eq!(world.modes("shop", "cart"), "Strict 8080=Disable 8083=Permissive < shop/cart");
    let inherits = format!("{{{CART}, portLevelMtls: {{8080: {{mode: DISABLE}}}}}}");
    let above = policy("shop/all", 0, "{mtls: {mode: STRICT}}");
    let world = World::new(&(above + &policy("shop/cart", 1, &inherits)));
    assert_eq!(world.modes("shop", "cart"), "Strict 8080=Disable < shop/all shop/cart");
}

#[test]
fn of_several_for_the_same_the_oldest_counts() {
    let second = format!("{{{CART}, mtls: {{mode: DISABLE}}}}");
    let first = format!("{{{CART}, mtls: {{mode: STRICT}}}}");
    let all = [
        policy("shop/b", 5, &first),
        policy("shop/a", 6, &second),
        policy("web/b", 3, "{mtls: {mode: DISABLE}}"),
        policy("web/a", 3, "{mtls: {mode: STRICT}}"),
    ];
    let world = World::new(&all.concat());
    assert_eq!(world.modes("shop", "cart"), "Strict < shop/b");
    assert_eq!(world.modes("web", "cart"), "Strict < web/a", "of the same age the first by name");
}

#[test]
fn a_selector_has_no_effect_in_the_root_namespace_and_none_is_for_all() {
    let selecting = format!("{{{CART}, mtls: {{mode: STRICT}}}}");
    let world = World::new(&policy("istio-system/cart", 0, &selecting));
    assert_eq!(world.modes("istio-system", "cart"), "Permissive");
    assert_eq!(world.modes("shop", "cart"), "Permissive");
    let world = World::new(&policy("shop/all", 0, "{selector: {matchLabels: {}}, mtls: {mode: STRICT}}"));
    assert_eq!(world.modes("shop", "cart"), "Strict < shop/all");
    let mesh = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, \
                data: {mesh: 'rootNamespace: shop'}}\n";
    let world = World::new(&(policy("shop/all", 0, "{mtls: {mode: STRICT}}") + mesh));
    assert_eq!(world.modes("web", "cart"), "Strict < shop/all", "the mesh's settings name the root");
}

#[test]
fn a_policy_for_some_workloads_is_read_for_those_alone() {
    let mut world = World::new("");
    for app in ["cart", "other"] {
        world.modes("shop", app);
    }
    let cost = world.apply(&policy("shop/cart", 0, &format!("{{{CART}, mtls: {{mode: STRICT}}}}")));
    assert_eq!(cost.made("policy of a workload"), 1, "{cost:?}");
    assert_eq!(cost.made("modes of a workload"), 0, "{cost:?}");
}

#[test]
fn tls_is_taken_where_the_mode_is_not_disable() {
    let levels = "{selector: {matchLabels: {app: cart}}, portLevelMtls: {8080: {mode: DISABLE}, 8081: {mode: STRICT}}}";
    let world = World::new(&policy("shop/cart", 0, levels));
    let of = |world: &World| {
        let own = Some(ObjectKey::new(Kind::PeerAuthentication, "shop", "cart"));
        let question = ModesOf { namespace: "shop".into(), policy: own };
        let ports = TlsPorts::of(&world.memo.observe(question, world.store.mesh()).1.modes);
        [8080, 8081, 9000].map(|number| ports.has(port(number)))
    };
    assert_eq!(of(&world), [false, true, true]);
    let mut world = world;
    world.apply(&policy("shop/all", 0, "{mtls: {mode: DISABLE}}"));
    assert_eq!(of(&world), [false, true, false]);
}

/// A pod of `cart`, with the label of injection or without, under that account.
fn pod(name: &str, ip: &str, injected: bool, account: &str) -> String {
    let label = if injected { ", security.istio.io/tlsMode: istio" } else { "" };
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: cart{label}}}}}, \
         spec: {{serviceAccountName: {account}, containers: []}}, status: {{phase: Running, podIP: {ip}}}}}\n"
    )
}

const SERVICE: &str = "---\n{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop, annotations: \
    {alpha.istio.io/kubernetes-serviceaccounts: 'vm', alpha.istio.io/canonical-serviceaccounts: 'spiffe://other/ns/a/sa/b'}}, \
    spec: {selector: {app: cart}, ports: [{port: 80, targetPort: 8080}]}}\n";

#[test]
fn an_endpoint_of_a_known_account_changes_no_identity() {
    let service = || ObjectKey::new(Kind::Service, "shop", "cart");
    let mut world = World::new(&(SERVICE.to_owned() + &pod("one", "10.0.0.1", true, "cart")));
    let identities = |world: &World| {
        let (_, found) = world.memo.observe(IdentitiesOf(ServiceId::of(&service())), world.store.mesh());
        let accounts = found.accounts.iter().map(|(namespace, name)| format!("{namespace}/{name}"));
        accounts.chain(found.written.iter().map(ToString::to_string)).collect::<Vec<_>>()
    };
    assert_eq!(identities(&world), ["shop/cart", "shop/vm", "spiffe://other/ns/a/sa/b"]);
    let cost = world.apply(&pod("two", "10.0.0.2", true, "cart"));
    assert_eq!((cost.made("identities of a service"), cost.changed("identities of a service")), (1, 0));
    world.apply(&pod("three", "10.0.0.3", false, "old"));
    assert_eq!(identities(&world), ["shop/cart", "shop/old", "shop/vm", "spiffe://other/ns/a/sa/b"]);
}

#[test]
fn all_take_tls_only_where_each_endpoint_does_on_its_port() {
    let question = || WhoTakesTls {
        service: ServiceId::of(&ObjectKey::new(Kind::Service, "shop", "cart")),
        port: port(80),
    };
    let mut world = World::new(SERVICE);
    let who = |world: &World| *world.memo.observe(question(), world.store.mesh()).1;
    assert_eq!(who(&world), TakeTls::Nobody);
    world.apply(&(pod("one", "10.0.0.1", true, "cart") + &pod("two", "10.0.0.2", true, "cart")));
    assert_eq!(who(&world), TakeTls::All);
    let disabled = format!("{{{CART}, portLevelMtls: {{8080: {{mode: DISABLE}}}}}}");
    world.apply(&policy("shop/cart", 0, &disabled));
    assert_eq!(who(&world), TakeTls::None, "the policy is about the pod's port");
    world.apply(&policy("shop/cart", 0, &disabled.replace("8080", "80")));
    assert_eq!(who(&world), TakeTls::All, "and not about the service's");
    world.apply(&pod("two", "10.0.0.2", false, "cart"));
    assert_eq!(who(&world), TakeTls::Some, "one of them has no proxy");
}
