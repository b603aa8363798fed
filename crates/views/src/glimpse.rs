//! What one proxy would be served, made as it is asked for: for who looks once, at little of it, and goes.
//!
//! Knows: which part of a layer may hold what. Must not know: what was in force before, who is connected.
//! Invariant: with nothing dangling, what is made here is what [`crate::Engine`] serves, byte for byte.

use std::sync::Arc;

use meltemi_catalog::Resource;
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::proxy::Proxy;
use meltemi_translate::key::{LayerKey, PartKey, ResourceKey};
use meltemi_translate::layer::LayersOf;

/// One proxy's configuration, of which nothing is made yet.
#[derive(Debug)]
pub struct Glimpse<'a> {
    memo: &'a Memo<Mesh>,
    mesh: &'a Mesh,
    layers: Vec<(LayerKey, Vec<PartKey>)>,
}

impl<'a> Glimpse<'a> {
    /// Of that proxy. The memo must have been asked of no other mesh.
    pub fn new(memo: &'a Memo<Mesh>, mesh: &'a Mesh, proxy: Arc<Proxy>) -> Self {
        let virtual_hosts = proxy.takes_virtual_hosts;
        let (_, layers) = memo.observe(LayersOf { proxy, virtual_hosts }, mesh);
        let parts = |layer: &LayerKey| (*layer.observe(memo, mesh).1).clone();
        Self { memo, mesh, layers: layers.iter().map(|layer| (layer.clone(), parts(layer))).collect() }
    }

    /// All but routes, secrets and the services' own clusters and assignments: listeners, and what stands for no
    /// service.
    pub fn ground(&self) -> Vec<Arc<Resource>> {
        // A certificate says nothing of a request's way, and is for its holder alone.
        let is_left_out = |part: &PartKey| {
            matches!(
                part,
                PartKey::Service(_)
                    | PartKey::Routes(_)
                    | PartKey::GatewayRoutes(_)
                    | PartKey::Secrets(_)
                    | PartKey::Names(_)
            )
        };
        self.made(|_, part| !is_left_out(part), |_| true)
    }

    /// What takes connections to the proxy's own workload.
    pub fn inbound(&self) -> Vec<Arc<Resource>> {
        self.made(|layer, _| matches!(layer, LayerKey::Inbound(_)), |_| true)
    }

    /// A route configuration, and of its virtual hosts as resources of their own those that may be for requests with that authority; none:
    /// all of them.
    pub fn route(&self, name: &str, authority: Option<&str>) -> Vec<Arc<Resource>> {
        let is_of_it = |key: &ResourceKey| {
            let in_it = key.route_configuration().is_none_or(|configuration| configuration.as_str() == name);
            in_it
                && match (key, authority) {
                    (ResourceKey::VirtualHost(key), Some(authority)) => {
                        key.may_take(authority, self.memo, self.mesh)
                    }
                    _ => true,
                }
        };
        self.made(|_, part| matches!(part, PartKey::Routes(_) | PartKey::GatewayRoutes(_)), is_of_it)
    }

    /// The clusters and the assignments of the services of that host.
    pub fn host(&self, host: &str) -> Vec<Arc<Resource>> {
        self.made(
            |_, part| matches!(part, PartKey::Service(key) if key.service.host.as_str() == host),
            |_| true,
        )
    }

    /// The same of all services.
    pub fn hosts(&self) -> Vec<Arc<Resource>> {
        self.made(|_, part| matches!(part, PartKey::Service(_)), |_| true)
    }

    /// The Gateways that it serves, and where it listens for them; none for a sidecar.
    pub fn gateways(&self) -> Option<&GatewaySet> {
        self.layers.iter().find_map(|(layer, _)| match layer {
            LayerKey::Gateway(key) => Some(&key.set),
            LayerKey::Outbound(_) | LayerKey::Inbound(_) => None,
        })
    }

    fn made(
        &self,
        takes: impl Fn(&LayerKey, &PartKey) -> bool,
        wants: impl Fn(&ResourceKey) -> bool,
    ) -> Vec<Arc<Resource>> {
        let mut all = Vec::new();
        for (layer, parts) in &self.layers {
            for part in parts.iter().filter(|part| takes(layer, part.unpatched())) {
                let (_, members) = part.observe(self.memo, self.mesh);
                let made = members.iter().filter(|key| wants(key));
                all.extend(made.filter_map(|key| key.observe(self.memo, self.mesh).1));
            }
        }
        all.sort_by(|one, other| (one.type_url(), one.name()).cmp(&(other.type_url(), other.name())));
        all.dedup_by(|one, other| (one.type_url(), one.name()) == (other.type_url(), other.name()));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use meltemi_catalog::Resource;
    use meltemi_memo::Memo;
    use meltemi_model::Event;
    use meltemi_model::proxy::Proxy;
    use meltemi_names::TypeUrl;
    use meltemi_proto::envoy::config::core::v3::Node;

    use super::Glimpse;
    use crate::{Engine, Options};

    const MESH: &str = "
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: 10.0.0.9, selector: {app: db}, ports: [{name: tcp, port: 3306}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: web}, spec: {selector: {app: web}, ports: [{name: http, port: 81}]}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: cart-1, namespace: shop}, spec: {address: 10.1.0.1, labels: {app: cart, version: v1}}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: cart, namespace: shop}, spec: {host: cart, subsets: [{name: v1, labels: {version: v1}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: cart, namespace: shop}, spec: {hosts: [cart], http: [{route: [{destination: {host: cart, subset: v1}}]}]}}
";

    #[test]
    fn the_parts_together_are_what_an_engine_serves() {
        let events: Vec<Event> = meltemi_api::parse_all(MESH)
            .unwrap()
            .into_iter()
            .map(|object| Event::Upsert(Arc::new(object)))
            .collect();
        let node =
            Node { id: "sidecar~10.1.0.1~cart-1.shop~shop.svc.cluster.local".to_owned(), ..Node::default() };
        let proxy = Proxy { takes_virtual_hosts: true, ..Proxy::parse(&node, true).unwrap() };
        let proxy = Arc::new(proxy);
        let mut engine = Engine::new(Options::default());
        engine.apply(events);
        let id = engine.connect(Arc::clone(&proxy));
        let view = engine.view(id);
        let served = TypeUrl::ALL.into_iter().flat_map(|type_url| view.all(type_url));
        let named = |resource: &Arc<Resource>| {
            ((resource.type_url(), resource.name().to_string()), resource.body().to_vec())
        };
        let served: BTreeMap<_, _> = served.map(|live| named(&live.resource)).collect();

        let memo = Memo::new();
        let glimpse = Glimpse::new(&memo, engine.mesh(), proxy);
        let hosts = ["cart.shop", "db.shop", "web.web"].map(|host| format!("{host}.svc.cluster.local"));
        let parts =
            [glimpse.ground(), glimpse.route("80", None), glimpse.route("81", None)].into_iter().flatten();
        let parts = parts.chain(hosts.iter().flat_map(|host| glimpse.host(host)));
        let made: BTreeMap<_, _> = parts.map(|resource| named(&resource)).collect();
        assert_eq!(made.keys().collect::<Vec<_>>(), served.keys().collect::<Vec<_>>());
        assert!(made == served);
        let names = |authority| {
            let made = glimpse.route("80", Some(authority));
            let hosts = made.iter().filter(|resource| resource.type_url() == TypeUrl::VirtualHost);
            hosts.map(|resource| resource.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names("CART:80"), ["80/allow_any", "80/cart.shop.svc.cluster.local"]);
        assert_eq!(names("cartridge"), ["80/allow_any"]);
        let inbound = glimpse.inbound();
        assert!(
            !inbound.is_empty() && inbound.iter().all(|resource| served.contains_key(&named(resource).0))
        );
    }
}
