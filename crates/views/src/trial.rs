//! Changes that are tried before they go into force.
//!
//! Invariant: what is tried is worked out once; it goes into force as it was tried.

use meltemi_model::{ChangeSet, Event, Mesh, Store};

/// The mesh as it would be: [`crate::Engine::attempt`] begins one, [`crate::Engine::adopt`] puts it into force. Shares with the mesh
/// in force all that is not changed.
#[derive(Clone, Debug)]
pub struct Trial {
    pub(crate) store: Store,
    pub(crate) changes: ChangeSet,
}

impl Trial {
    pub(crate) fn of(store: &Store) -> Self {
        Self { store: store.clone(), changes: ChangeSet::default() }
    }

    /// These, too.
    pub fn take(&mut self, batch: impl IntoIterator<Item = Event>) {
        self.changes.extend(self.store.apply(batch));
    }

    /// The mesh with all that was taken.
    pub fn mesh(&self) -> &Mesh {
        self.store.mesh()
    }

    /// What differs from the mesh in force; an entry that changed and was changed back is among it.
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use meltemi_catalog::View;
    use meltemi_model::Event;
    use meltemi_model::proxy::Proxy;
    use meltemi_names::TypeUrl;
    use meltemi_proto::envoy::config::core::v3::Node;

    use crate::{Engine, Options};

    fn events(text: &str) -> Vec<Event> {
        let objects = meltemi_api::parse_all(text).unwrap();
        objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect()
    }

    fn service(name: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}}}\n"
        )
    }

    fn pod(name: &str, app: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {app}}}}}, spec: {{containers: [{{name: app}}]}}, status: {{podIP: 10.1.0.1, podIPs: [{{ip: 10.1.0.1}}], phase: Running}}}}\n"
        )
    }

    fn route(to: &str) -> String {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: cart, namespace: shop}}, spec: {{hosts: [cart], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}}}\n"
        )
    }

    fn proxy(name: &str) -> Arc<Proxy> {
        let node =
            Node { id: format!("sidecar~10.1.0.1~{name}.shop~shop.svc.cluster.local"), ..Node::default() };
        Arc::new(Proxy { takes_virtual_hosts: true, ..Proxy::parse(&node, true).unwrap() })
    }

    fn served(view: &View) -> BTreeMap<(TypeUrl, String), Vec<u8>> {
        let all = TypeUrl::ALL.into_iter().flat_map(|type_url| view.all(type_url));
        all.map(|live| {
            ((live.resource.type_url(), live.resource.name().to_string()), live.resource.body().to_vec())
        })
        .collect()
    }

    #[test]
    fn what_was_tried_in_parts_is_what_is_applied_at_once() {
        let start = [service("cart"), service("web")].join("---\n");
        let (first, second) = (route("missing"), service("missing"));
        let mut tried = Engine::new(Options::default());
        let mut applied = Engine::new(Options::default());
        tried.apply(events(&start));
        applied.apply(events(&start));
        let (one, other) = (tried.connect(proxy("a")), applied.connect(proxy("a")));
        let before = served(&tried.view(one));

        let mut trial = tried.attempt();
        trial.take(events(&first));
        assert_eq!(served(&tried.view(one)), before, "what is tried is not in force");
        trial.take(events(&second));
        let done = tried.adopt(trial);
        let at_once = applied.apply(events(&[first, second].join("---\n")));
        assert_eq!((done.changes, done.proxies), (at_once.changes, at_once.proxies));
        assert_eq!(served(&tried.view(one)), served(&applied.view(other)));
        assert_ne!(served(&tried.view(one)), before);
    }

    #[test]
    fn a_proxy_that_moved_hears_of_what_it_had_before_and_after_alike() {
        let mut engine = Engine::new(Options::default());
        let parts = [service("cart"), service("web"), service("far"), pod("a", "cart"), pod("b", "web")];
        engine.apply(events(&parts.join("---\n")));
        let (a, b) = (engine.connect(proxy("a")), engine.connect(proxy("b")));
        // Another service's pod now: another inbound layer, and the same outbound one.
        let moved = engine.apply(events(&pod("a", "far")));
        assert!(moved.proxies.contains(&a));
        assert_eq!(engine.apply(events(&route("web"))).proxies, [a, b], "both see the route");
        engine.disconnect(a);
        assert_eq!(engine.apply(events(&route("far"))).proxies, [b], "one that is gone is told nothing");
        // The layer outlives the first proxy that it was made for, and no proxy at all.
        engine.disconnect(b);
        assert_eq!(engine.layer_count(), 0);
        assert!(engine.apply(events(&route("web"))).proxies.is_empty());
    }
}
