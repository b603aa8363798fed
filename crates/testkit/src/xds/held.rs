//! What a client holds: the resources it accepted, and what it still waits for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use bytes::Bytes;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_proto::envoy::config::listener::v3::Listener;
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_proto::json;
use prost::Message;
use serde_json::Value;

use super::reference;

/// One accepted resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// As the server named it; in state-of-the-world form that of the whole response.
    pub version: String,
    /// The encoded message, out of its `Any`.
    pub body: Bytes,
}

/// All that a client accepted and was not told to drop.
#[derive(Clone, Debug, Default)]
pub struct Held {
    resources: BTreeMap<TypeUrl, BTreeMap<String, Resource>>,
    /// The assignment of each EDS cluster.
    assignments: BTreeMap<String, String>,
    /// EDS clusters that were added or changed, and whose assignment has not come since.
    warming: BTreeSet<String>,
    /// The route configurations that each listener waits for.
    routes: BTreeMap<String, BTreeSet<String>>,
    /// The route configurations whose virtual hosts come by VHDS.
    by_vhds: BTreeSet<String>,
}

impl Held {
    /// The names of the resources of that type, in order.
    pub fn names(&self, kind: TypeUrl) -> Vec<&str> {
        self.of(kind).map(|(name, _)| name).collect()
    }

    /// One resource.
    pub fn resource(&self, kind: TypeUrl, name: &str) -> Option<&Resource> {
        self.resources.get(&kind)?.get(name)
    }

    /// One resource in protobuf JSON.
    ///
    /// # Errors
    /// When there is none, or it is not what its type says.
    pub fn json(&self, kind: TypeUrl, name: &str) -> Result<Value> {
        let resource = self
            .resource(kind, name)
            .with_context(|| format!("{kind} has no `{name}`: {:?}", self.names(kind)))?;
        Ok(json::to_json(kind.as_str(), &resource.body)?)
    }

    /// All resources of that type in protobuf JSON, by name.
    ///
    /// # Errors
    /// When one is not what its type says.
    pub fn all_json(&self, kind: TypeUrl) -> Result<BTreeMap<String, Value>> {
        self.of(kind)
            .map(|(name, resource)| Ok((name.to_owned(), json::to_json(kind.as_str(), &resource.body)?)))
            .collect()
    }

    /// The resources of that type, in the order of their names.
    pub fn of(&self, kind: TypeUrl) -> impl Iterator<Item = (&str, &Resource)> {
        self.resources.get(&kind).into_iter().flatten().map(|(name, resource)| (name.as_str(), resource))
    }

    /// The EDS clusters that were added or changed and whose endpoints have not been sent since: Envoy goes on with the
    /// old version of each, and does not start its listeners before the first have come.
    pub fn warming(&self) -> &BTreeSet<String> {
        &self.warming
    }

    /// The clusters that a held route may choose or mirror to, and that are not held: a request to one is answered 503.
    ///
    /// # Errors
    /// When a held resource is not what its type says.
    pub fn missing_clusters(&self) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for (_, resource) in self.of(TypeUrl::Route) {
            let configuration = RouteConfiguration::decode(resource.body.clone())?;
            named.extend(configuration.virtual_hosts.iter().flat_map(reference::clusters));
        }
        for (_, resource) in self.of(TypeUrl::VirtualHost) {
            named.extend(reference::clusters(&VirtualHost::decode(resource.body.clone())?));
        }
        named.retain(|name| self.resource(TypeUrl::Cluster, name).is_none());
        Ok(named)
    }

    /// The assignments that Envoy subscribes to, for the clusters it holds.
    pub(super) fn wanted_assignments(&self) -> BTreeSet<String> {
        self.assignments.values().cloned().collect()
    }

    /// The route configurations that Envoy subscribes to, for the listeners it holds.
    pub(super) fn wanted_routes(&self) -> BTreeSet<String> {
        self.routes.values().flatten().cloned().collect()
    }

    /// Whether Envoy subscribes to virtual hosts.
    pub(super) fn wants_virtual_hosts(&self) -> bool {
        !self.by_vhds.is_empty()
    }

    /// The version of each resource of that type.
    pub(super) fn versions(&self, kind: TypeUrl) -> BTreeMap<String, String> {
        self.of(kind).map(|(name, resource)| (name.to_owned(), resource.version.clone())).collect()
    }

    /// Takes a resource; says whether it differs from what was held.
    pub(super) fn insert(&mut self, kind: TypeUrl, name: &str, resource: Resource) -> Result<bool> {
        let what = || format!("the {kind} resource `{name}`");
        let body = resource.body.clone();
        let changed = self.resource(kind, name).is_none_or(|held| held.body != body);
        match kind {
            TypeUrl::Cluster if changed => {
                let cluster = Cluster::decode(body).with_context(what)?;
                match reference::assignment(&cluster) {
                    Some(assignment) => {
                        self.assignments.insert(name.to_owned(), assignment.to_owned());
                        self.warming.insert(name.to_owned());
                    }
                    None => self.forget_cluster(name),
                }
            }
            TypeUrl::Endpoint => {
                let assignments = &self.assignments;
                self.warming.retain(|cluster| assignments.get(cluster).is_none_or(|wanted| wanted != name));
            }
            TypeUrl::Listener if changed => {
                let listener = Listener::decode(body).with_context(what)?;
                self.routes.insert(name.to_owned(), reference::route_configurations(&listener));
            }
            TypeUrl::Route if changed => {
                let configuration = RouteConfiguration::decode(body).with_context(what)?;
                if reference::wants_virtual_hosts(&configuration) {
                    self.by_vhds.insert(name.to_owned());
                } else {
                    self.by_vhds.remove(name);
                }
            }
            _ => {}
        }
        self.resources.entry(kind).or_default().insert(name.to_owned(), resource);
        Ok(changed)
    }

    pub(super) fn remove(&mut self, kind: TypeUrl, name: &str) {
        if let Some(resources) = self.resources.get_mut(&kind) {
            resources.remove(name);
        }
        match kind {
            TypeUrl::Cluster => self.forget_cluster(name),
            TypeUrl::Listener => {
                self.routes.remove(name);
            }
            TypeUrl::Route => {
                self.by_vhds.remove(name);
            }
            _ => {}
        }
    }

    /// Keeps of that type only the names given: those that a complete response has, or that are still subscribed.
    pub(super) fn retain(&mut self, kind: TypeUrl, is_kept: impl Fn(&str) -> bool) {
        let gone: Vec<String> =
            self.of(kind).map(|(name, _)| name).filter(|name| !is_kept(name)).map(str::to_owned).collect();
        for name in gone {
            self.remove(kind, &name);
        }
    }

    fn forget_cluster(&mut self, name: &str) {
        self.assignments.remove(name);
        self.warming.remove(name);
    }
}

/// The name that a resource gives itself, for forms of the protocol that do not name it beside.
pub(super) fn own_name(kind: TypeUrl, body: &Bytes) -> Result<String> {
    let body = body.clone();
    Ok(match kind {
        TypeUrl::Cluster => Cluster::decode(body)?.name,
        TypeUrl::Endpoint => ClusterLoadAssignment::decode(body)?.cluster_name,
        TypeUrl::Listener => Listener::decode(body)?.name,
        TypeUrl::Route => RouteConfiguration::decode(body)?.name,
        TypeUrl::VirtualHost => VirtualHost::decode(body)?.name,
        TypeUrl::Secret | TypeUrl::ExtensionConfig | TypeUrl::NameTable => {
            let json = json::to_json(kind.as_str(), &body)?;
            json["name"].as_str().unwrap_or_default().to_owned()
        }
    })
}
