//! What one proxy would be served, made as it is asked for: for who looks once, at little of it, and goes.
//!
//! Knows: which part of a layer may hold what. Must not know: what was in force before, who is connected.
//! Invariant: with nothing dangling, what is made here is what [`crate::Engine`] serves, byte for byte.

use std::sync::Arc;

use meltemi_catalog::Resource;
use meltemi_memo::Memo;
use meltemi_model::Mesh;
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

    /// All but routes and the services' own clusters and assignments: listeners, and what stands for no service.
    pub fn ground(&self) -> Vec<Arc<Resource>> {
        let is_of_one = |part: &PartKey| matches!(part, PartKey::Service(_) | PartKey::Routes(_));
        self.made(|_, part| !is_of_one(part), |_| true)
    }

    /// What takes connections to the proxy's own workload.
    pub fn inbound(&self) -> Vec<Arc<Resource>> {
        self.made(|layer, _| !matches!(layer, LayerKey::Outbound(_)), |_| true)
    }

    /// A route configuration, and its virtual hosts as resources of their own.
    pub fn route(&self, name: &str) -> Vec<Arc<Resource>> {
        let is_of_it = |key: &ResourceKey| match key {
            ResourceKey::Route(key) => key.config.resource_name().as_str() == name,
            ResourceKey::VirtualHost(key) => key.config.resource_name().as_str() == name,
            _ => true,
        };
        self.made(|_, part| matches!(part, PartKey::Routes(_)), is_of_it)
    }

    /// The clusters and the assignments of the services of that host.
    pub fn host(&self, host: &str) -> Vec<Arc<Resource>> {
        self.made(
            |_, part| matches!(part, PartKey::Service(key) if key.service.host.as_str() == host),
            |_| true,
        )
    }

    fn made(
        &self,
        takes: impl Fn(&LayerKey, &PartKey) -> bool,
        wants: impl Fn(&ResourceKey) -> bool,
    ) -> Vec<Arc<Resource>> {
        let mut all = Vec::new();
        for (layer, parts) in &self.layers {
            for part in parts.iter().filter(|part| takes(layer, part)) {
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
