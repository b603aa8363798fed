//! What of the request's way EnvoyFilters have patched: seen by comparing what is served with what it would be without them.

use std::collections::BTreeSet;

use meltemi_api::FieldPath;
use meltemi_catalog::{Resource, View};
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_sources::PlaceIndex;
use meltemi_walk::{Handling, Way};
use prost::Message;
use serde::Serialize;

use super::explanation::clusters;
use super::rule::Written;

/// A part of the way that EnvoyFilters have patched, or brought.
#[derive(Debug, Serialize)]
pub(crate) struct Patched {
    /// `listener`, `route configuration`, `virtual host` or `cluster`.
    pub(crate) what: &'static str,
    /// Its name.
    pub(crate) name: String,
    /// The EnvoyFilters.
    pub(crate) by: Vec<Written>,
}

/// What of the way is patched, in the order in which a request meets it.
pub(super) fn of_way(way: &Way, view: &View, places: &PlaceIndex) -> Vec<Patched> {
    let mut found = Vec::new();
    let mut note = |what: &'static str, name: &str, by: BTreeSet<&ObjectKey>| {
        if !by.is_empty() {
            let by =
                by.into_iter().map(|key| Written::new(key.clone(), &FieldPath::root(), places)).collect();
            found.push(Patched { what, name: name.to_owned(), by });
        }
    };
    let served = |type_url, name: &str| view.find(type_url, name).map(|live| &*live.resource);
    if let Some(listener) = &way.listener
        && let Some(resource) = served(TypeUrl::Listener, &listener.name)
    {
        note("listener", &listener.name, filters(resource));
    }
    if let Some(Handling::Http(http)) = &way.handling
        && let Some(resource) = served(TypeUrl::Route, &http.route_configuration)
    {
        let (now, before) = (decoded(resource), resource.instead().and_then(|instead| decoded(instead)));
        if let (Some(now), Some(before)) = (now, before) {
            let name = http.virtual_host.as_ref().map(|host| host.name.as_str()).unwrap_or_default();
            if host(&now, name) != host(&before, name) {
                note("virtual host", name, filters(resource));
            }
            let head = |config: &RouteConfiguration| RouteConfiguration {
                virtual_hosts: Vec::new(),
                ..config.clone()
            };
            if head(&now) != head(&before) {
                note("route configuration", &http.route_configuration, filters(resource));
            }
        }
    }
    for cluster in clusters(way) {
        if let Some(resource) = served(TypeUrl::Cluster, &cluster.name) {
            note("cluster", &cluster.name, filters(resource));
        }
    }
    found
}

/// The EnvoyFilters that the resource is made from.
fn filters(resource: &Resource) -> BTreeSet<&ObjectKey> {
    resource.origin().iter().filter(|object| object.kind == Kind::EnvoyFilter).collect()
}

fn decoded(resource: &Resource) -> Option<RouteConfiguration> {
    RouteConfiguration::decode(resource.body().to_vec().as_slice()).ok()
}

fn host<'a>(config: &'a RouteConfiguration, name: &str) -> Option<&'a VirtualHost> {
    config.virtual_hosts.iter().find(|host| host.name == name)
}
