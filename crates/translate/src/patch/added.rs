//! Resources that are a patch's value: clusters, listeners, extensions and virtual hosts that are added.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::envoy_filter::ApplyTo;
use meltemi_catalog::{Need, Resource, ResourceName};
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_proto::envoy::config::listener::v3::Listener;
use meltemi_proto::envoy::config::route::v3::VirtualHost;
use prost::Message;

use super::routes::{self, clusters};
use super::written::{PatchOf, Written};
use super::{Patches, of_value};
use crate::key::{Made, Members, ResourceKey};
use crate::resource_names::{BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH};
use crate::route::RouteKey;

/// What patches add to a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddedPartKey(pub(super) Patches);

/// A resource that is a patch's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddedKey {
    patch: PatchOf,
    /// Of a virtual host, the route configuration that it is added to.
    route: Option<RouteKey>,
}

impl AddedKey {
    /// Of a virtual host, the route configuration that it is added to.
    pub fn route_configuration(&self) -> Option<ResourceName> {
        self.route.as_ref().map(|route| route.config.resource_name())
    }
}

impl Question for AddedPartKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: added";

    fn answer(&self, read: &Read<'_>) -> Members {
        let mut taken: BTreeSet<(TypeUrl, String)> = BTreeSet::new();
        let mut members = Members::new();
        for patch in self.0.each() {
            let written = read.ask(patch.clone());
            let Some((type_url, name)) = written.as_ref().as_ref().and_then(|written| named(written)) else {
                continue;
            };
            // A name stands for one resource: the first patch has it, and what the mesh makes itself stays.
            if !is_reserved(type_url, &name) && taken.insert((type_url, name)) {
                members.push(AddedKey { patch, route: None }.into());
            }
        }
        members
    }
}

fn named(patch: &Written) -> Option<(TypeUrl, String)> {
    let (type_url, name) = match patch.apply_to {
        ApplyTo::Cluster => (TypeUrl::Cluster, patch.message::<Cluster>()?.name),
        ApplyTo::Listener => (TypeUrl::Listener, patch.message::<Listener>()?.name),
        ApplyTo::ExtensionConfig => (TypeUrl::ExtensionConfig, patch.message::<TypedExtensionConfig>()?.name),
        _ => return None,
    };
    (!name.is_empty()).then_some((type_url, name))
}

/// Whether what is made of the mesh may be called so: nothing of that name is added.
pub fn is_reserved(type_url: TypeUrl, name: &str) -> bool {
    match type_url {
        TypeUrl::Cluster => {
            ["outbound|", "inbound|"].iter().any(|prefix| name.starts_with(prefix))
                || [BLACK_HOLE, PASSTHROUGH, INBOUND_PASSTHROUGH].contains(&name)
        }
        TypeUrl::Listener => {
            let of_address = || {
                let (address, port) = name.rsplit_once('_')?;
                address.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok()?;
                port.parse::<u16>().ok()
            };
            matches!(name, "virtualInbound" | "virtualOutbound") || of_address().is_some()
        }
        _ => false,
    }
}

/// The virtual hosts that patches add to a route configuration. A domain stands in one virtual host alone, or Envoy refuses them all:
/// what asks for one that another has, which is among `members` or was added before, is left out.
pub(super) fn virtual_hosts(
    read: &Read<'_>,
    patches: &Patches,
    route: &RouteKey,
    members: &[ResourceKey],
) -> Members {
    let name = route.config.resource_name();
    let config = routes::ConfigName { name: name.as_str(), traffic: patches.traffic };
    let mut added = Members::new();
    let mut taken: Option<BTreeSet<String>> = None;
    for patch in patches.each() {
        let written = read.ask(patch.clone());
        let Some(written) = written.as_ref().as_ref().filter(|written| config.is_meant(written)) else {
            continue;
        };
        let Some(host) = written.message::<VirtualHost>() else { continue };
        let taken = taken.get_or_insert_with(|| {
            let of_route = members.iter().filter(|member| is_in(member, route));
            of_route.flat_map(|member| (*read.ask(DomainsOf(member.clone()))).clone()).collect()
        });
        if host.domains.iter().all(|domain| !taken.contains(domain)) {
            taken.extend(host.domains);
            added.push(AddedKey { patch, route: Some(route.clone()) }.into());
        }
    }
    added
}

fn is_in(member: &ResourceKey, route: &RouteKey) -> bool {
    match member {
        ResourceKey::VirtualHost(host) => host.config == route.config,
        ResourceKey::Patched(patched) => is_in(patched.inner(), route),
        _ => false,
    }
}

/// The domains of a virtual host: a change of its routes ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct DomainsOf(ResourceKey);

impl Question for DomainsOf {
    type World = Mesh;
    type Answer = Vec<String>;
    const NAME: &'static str = "domains of a virtual host";

    fn answer(&self, read: &Read<'_>) -> Vec<String> {
        let made = self.0.ask(read);
        let bytes = made.as_ref().as_ref().map(|resource| resource.body().to_vec());
        let host = bytes.and_then(|bytes| VirtualHost::decode(bytes.as_slice()).ok());
        host.map(|host| host.domains).unwrap_or_default()
    }
}

impl Question for AddedKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "added resource";

    fn answer(&self, read: &Read<'_>) -> Made {
        let written = read.ask(self.patch.clone());
        let written = written.as_ref().as_ref()?;
        if let Some(route) = &self.route {
            return self.virtual_host(written, route);
        }
        Some(match named(written)? {
            (TypeUrl::Cluster, name) => {
                of_value(TypeUrl::Cluster, &name, &written.message::<Cluster>()?, written)
            }
            (TypeUrl::Listener, name) => {
                of_value(TypeUrl::Listener, &name, &written.message::<Listener>()?, written)
            }
            (type_url, name) => {
                of_value(type_url, &name, &written.message::<TypedExtensionConfig>()?, written)
            }
        })
    }
}

impl AddedKey {
    /// As a resource it is called by its patch, too: of virtual hosts the name is the user's, and may be one of the mesh's.
    fn virtual_host(&self, written: &Written, route: &RouteKey) -> Made {
        let mut host: VirtualHost = written.message()?;
        let config = route.config.resource_name();
        let PatchOf { object, patch } = &self.patch;
        let called = format!("{config}/{}|{}.{}|{patch}", host.name, object.name, object.namespace);
        if route.virtual_hosts {
            host.name.clone_from(&called);
        }
        let needs: Vec<Need> = clusters(&host).collect();
        let bytes = host.encode_to_vec();
        let version = meltemi_names::Version::of(&bytes);
        let resource = Resource::new(TypeUrl::VirtualHost, called.as_str().into(), version, bytes.into())
            .needing(needs)
            .made_from(vec![object.clone()])
            .belonging_to(config);
        Some(Arc::new(resource))
    }
}
