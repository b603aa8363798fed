//! What of the request's way EnvoyFilters have patched: as each resource says from which objects it is made.

use std::collections::BTreeSet;

use meltemi_api::FieldPath;
use meltemi_catalog::{Resource, ResourceName};
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_proto::envoy::config::route::v3::VirtualHost;
use meltemi_sources::PlaceIndex;
use meltemi_walk::{Handling, Way};
use prost::Message;
use serde::Serialize;

use super::explanation::clusters;
use super::rule::Written;
use super::sent::Sent;

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
pub(super) fn of_way(way: &Way, sent: &Sent, places: &PlaceIndex) -> Vec<Patched> {
    let mut found = Vec::new();
    let mut note = |what: &'static str, name: &str, by: BTreeSet<&ObjectKey>| {
        if !by.is_empty() {
            let by =
                by.into_iter().map(|key| Written::new(key.clone(), &FieldPath::root(), places)).collect();
            found.push(Patched { what, name: name.to_owned(), by });
        }
    };
    if let Some(listener) = &way.listener
        && let Some(resource) = sent.find(TypeUrl::Listener, &listener.name)
    {
        note("listener", &listener.name, filters(resource));
    }
    if let Some(Handling::Http(http)) = &way.handling {
        let name = http.virtual_host.as_ref().map(|host| host.name.as_str()).unwrap_or_default();
        let hosts = sent.of_type(TypeUrl::VirtualHost).filter(|resource| {
            let parent = resource.parent().map(ResourceName::as_str);
            parent == Some(&http.route_configuration) && is_called(resource, name)
        });
        for host in hosts {
            note("virtual host", name, filters(host));
        }
        if let Some(resource) = sent.find(TypeUrl::Route, &http.route_configuration) {
            note("route configuration", &http.route_configuration, filters(resource));
        }
    }
    for cluster in clusters(way) {
        if let Some(resource) = sent.find(TypeUrl::Cluster, &cluster.name) {
            note("cluster", &cluster.name, filters(resource));
        }
    }
    found
}

/// The EnvoyFilters that the resource is made from.
fn filters(resource: &Resource) -> BTreeSet<&ObjectKey> {
    resource.origin().iter().filter(|object| object.kind == Kind::EnvoyFilter).collect()
}

fn is_called(resource: &Resource, name: &str) -> bool {
    VirtualHost::decode(resource.body().to_vec().as_slice()).is_ok_and(|host| host.name == name)
}
