//! Meshes for tests: YAML in, decoded resources out.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_memo::{Cost, Memo};
use meltemi_model::proxy::IpFamily;
use meltemi_model::service::ServiceId;
use meltemi_model::{Event, Mesh, Store};
use meltemi_names::{Kind, ObjectKey, Port, TypeUrl};
use serde_json::Value;

use crate::cluster::ServicePartKey;
use crate::key::{Members, PartKey, ResourceKey};

/// A store and a memo over it, and what is observed.
pub(crate) struct Fixture {
    store: Store,
    pub(crate) memo: Memo<Mesh>,
}

pub(crate) fn port(number: u32) -> Port {
    Port::new(number).unwrap()
}

pub(crate) fn key(kind: Kind, name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').unwrap();
    ObjectKey::new(kind, namespace, name)
}

pub(crate) fn service(name: &str) -> ObjectKey {
    key(Kind::Service, name)
}

impl Fixture {
    pub(crate) fn new(yaml: &str) -> Self {
        let mut fixture = Self { store: Store::new(), memo: Memo::new() };
        fixture.apply(yaml);
        fixture
    }

    /// A mesh of these events.
    pub(crate) fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut fixture = Self { store: Store::new(), memo: Memo::new() };
        fixture.change(events);
        fixture
    }

    pub(crate) fn mesh(&self) -> &Mesh {
        self.store.mesh()
    }

    /// Adds or changes objects; the work that this makes.
    pub(crate) fn apply(&mut self, yaml: &str) -> Cost {
        let objects = parse_all(yaml).unwrap();
        self.change(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))))
    }

    pub(crate) fn delete(&mut self, key: ObjectKey) -> Cost {
        self.change([Event::Delete(key)])
    }

    fn change(&mut self, events: impl IntoIterator<Item = Event>) -> Cost {
        let changes = self.store.apply(events);
        self.memo.take_cost();
        self.memo.apply(self.store.mesh(), changes.entries());
        self.memo.sweep();
        self.memo.take_cost()
    }

    /// The members of a service's part as a namespace without selectors has them; observed from now on.
    pub(crate) fn service(&self, viewer: &str, service: &str) -> Arc<Members> {
        let part = PartKey::Service(part(viewer, service));
        part.observe(&self.memo, self.mesh()).1
    }

    /// Clusters and assignments of a service, by type and name; observed from now on.
    pub(crate) fn resources(&self, viewer: &str, service: &str) -> BTreeMap<String, Value> {
        self.decoded(&self.service(viewer, service))
    }

    /// The resources of that keys by type and name; observed from now on.
    pub(crate) fn decoded(&self, members: &[ResourceKey]) -> BTreeMap<String, Value> {
        let made = members.iter().filter_map(|member| member.observe(&self.memo, self.mesh()).1);
        made.map(|resource| {
            let json = meltemi_proto::json::to_json(resource.type_url().as_str(), &resource.body().to_vec());
            (format!("{} {}", resource.type_url(), resource.name()), json.unwrap())
        })
        .collect()
    }

    /// One cluster of a service.
    pub(crate) fn cluster(&self, viewer: &str, service: &str, name: &str) -> Value {
        self.one(TypeUrl::Cluster, viewer, service, name)
    }

    /// One load assignment of a service.
    pub(crate) fn assignment(&self, viewer: &str, service: &str, name: &str) -> Value {
        self.one(TypeUrl::Endpoint, viewer, service, name)
    }

    fn one(&self, type_url: TypeUrl, viewer: &str, service: &str, name: &str) -> Value {
        let resources = self.resources(viewer, service);
        let name = format!("{type_url} {name}");
        resources.get(&name).unwrap_or_else(|| panic!("no {name} in {:?}", resources.keys())).clone()
    }
}

pub(crate) fn part(viewer: &str, name: &str) -> ServicePartKey {
    ServicePartKey {
        viewer: viewer.into(),
        service: ServiceId::of(&service(name)),
        ports: None,
        selectors: Arc::default(),
        locality: None,
        failover_labels: Arc::default(),
        node: None,
        family: IpFamily::V4,
        redirected: true,
        has_certificates: false,
        secrets: false,
    }
}
