//! Meshes in, decoded route configurations and virtual hosts out. Expectations are written by hand from Istio's reference.

mod article;
mod cost;
mod destinations;
mod domains;
mod hashing;
mod properties;
mod rules;
mod which;

use std::sync::Arc;

use meltemi_api::{ConfigMap, DestinationRule, Meta, Object, Spec};
use meltemi_catalog::Resource;
use meltemi_memo::{Memo, NodeId};
use meltemi_model::proxy::IpFamily;
use meltemi_model::{Event, Mesh, Store};
use meltemi_names::{Kind, ObjectKey, Selector};
use serde_json::{Value, json};

use super::RoutesKey;
use crate::key::{PartKey, ResourceKey};

/// An object of `kind`, at `place` (`namespace/name`), with this spec.
pub(super) fn object(kind: Kind, place: &str, spec: Value) -> Event {
    let (namespace, name) = place.split_once('/').unwrap();
    let spec = match kind {
        Kind::Service => Spec::Service(serde_json::from_value(spec).unwrap()),
        Kind::VirtualService => Spec::VirtualService(serde_json::from_value(spec).unwrap()),
        Kind::DestinationRule => {
            Spec::DestinationRule(serde_json::from_value::<DestinationRule>(spec).unwrap())
        }
        Kind::ConfigMap => Spec::ConfigMap(ConfigMap { mesh: serde_json::from_value(spec).unwrap() }),
        other => panic!("no test needs a {other}"),
    };
    let meta = Meta::new(ObjectKey::new(kind, namespace, name));
    Event::Upsert(Arc::new(Object { meta, spec, text: meltemi_api::Text::default() }))
}

/// As [`object`], made at that second.
pub(super) fn aged(second: i64, event: Event) -> Event {
    let Event::Upsert(object) = event else { panic!("only objects have an age") };
    let mut object = (*object).clone();
    object.meta.created = Some(meltemi_api::value::Timestamp::of_seconds(second));
    Event::Upsert(Arc::new(object))
}

/// A service with one port, called so.
pub(super) fn service(place: &str, port: u16, port_name: &str) -> Event {
    object(Kind::Service, place, json!({"ports": [{"name": port_name, "port": port}]}))
}

pub(super) fn virtual_service(place: &str, spec: Value) -> Event {
    object(Kind::VirtualService, place, spec)
}

pub(super) fn destination_rule(place: &str, spec: Value) -> Event {
    object(Kind::DestinationRule, place, spec)
}

pub(super) fn mesh_config(spec: Value) -> Event {
    object(Kind::ConfigMap, "istio-system/istio", spec)
}

/// A caller of `namespace` that takes virtual hosts as resources.
pub(super) fn caller(namespace: &str) -> RoutesKey {
    RoutesKey {
        scope: None,
        namespace: namespace.into(),
        domain: Some("cluster.local".into()),
        family: IpFamily::V4,
        allocated: false,
        selectors: Arc::default(),
        virtual_hosts: true,
        http_proxy: false,
    }
}

pub(super) fn selector(label: &str, value: &str) -> Selector {
    Selector::new([(label, value)].into_iter().collect())
}

/// What a caller has, kept up to date.
pub(super) struct Routes {
    pub(super) store: Store,
    pub(super) memo: Memo<Mesh>,
    key: PartKey,
    part: NodeId,
    observed: Vec<(ResourceKey, NodeId)>,
}

impl Routes {
    pub(super) fn of(key: RoutesKey, events: impl IntoIterator<Item = Event>) -> Self {
        let mut store = Store::new();
        store.apply(events);
        let memo = Memo::new();
        let key = PartKey::Routes(key);
        let (part, _) = key.observe(&memo, store.mesh());
        let mut routes = Self { store, memo, key, part, observed: Vec::new() };
        routes.follow();
        routes
    }

    fn follow(&mut self) {
        let members = self.key.members(&self.memo, self.part).unwrap();
        let mut observed = Vec::new();
        for member in members.iter() {
            let (node, _) = member.observe(&self.memo, self.store.mesh());
            observed.push((member.clone(), node));
        }
        for (_, node) in std::mem::replace(&mut self.observed, observed) {
            self.memo.release(node);
        }
        self.memo.sweep();
    }

    pub(super) fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        let changes = self.store.apply(events);
        self.memo.apply(self.store.mesh(), changes.entries());
        self.follow();
    }

    pub(super) fn resources(&self) -> Vec<Arc<Resource>> {
        let made = self.observed.iter().map(|(key, node)| key.made(&self.memo, *node));
        made.flatten().collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.resources().iter().map(|resource| resource.name().to_string()).collect()
    }

    /// The names of the virtual hosts of one route configuration, without its own.
    pub(super) fn hosts_of(&self, config: &str) -> Vec<String> {
        let own =
            |resource: &&Arc<Resource>| resource.parent().is_some_and(|parent| parent.as_str() == config);
        let resources = self.resources();
        let names = resources.iter().filter(own).map(|resource| resource.name().to_string());
        names.map(|name| name.strip_prefix(&format!("{config}/")).unwrap().to_owned()).collect()
    }

    pub(super) fn resource(&self, name: &str) -> Arc<Resource> {
        let resources = self.resources();
        let found = resources.iter().find(|resource| resource.name().as_str() == name);
        Arc::clone(found.unwrap_or_else(|| panic!("no {name} among {:?}", self.names())))
    }

    /// A resource decoded.
    pub(super) fn json(&self, name: &str) -> Value {
        decoded(&self.resource(name))
    }

    pub(super) fn domains(&self, name: &str) -> Vec<String> {
        serde_json::from_value(self.json(name)["domains"].clone()).unwrap()
    }

    /// The routes of a virtual host.
    pub(super) fn routes(&self, name: &str) -> Vec<Value> {
        serde_json::from_value(self.json(name)["routes"].clone()).unwrap()
    }

    /// The only route of a virtual host.
    pub(super) fn route(&self, name: &str) -> Value {
        let [route] = &self.routes(name)[..] else { panic!("not one route: {:#?}", self.routes(name)) };
        route.clone()
    }
}

pub(super) fn decoded(resource: &Resource) -> Value {
    meltemi_proto::json::to_json(resource.type_url().as_str(), &resource.body().to_vec()).unwrap()
}

/// The virtual host of service `myapp` of namespace `default` on port 80, ruled by this VirtualService, as namespace `default` has it.
pub(super) fn myapp(http: Value) -> Routes {
    Routes::of(
        caller("default"),
        [
            service("default/myapp", 80, "http"),
            virtual_service("default/myapp", json!({"hosts": ["myapp"], "http": http})),
        ],
    )
}

pub(super) const MYAPP: &str = "80/myapp.default.svc.cluster.local";
