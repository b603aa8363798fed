//! What a view holds, in comparable form; each resource must decode as its type. Shared by the targets that translate.

use std::collections::BTreeMap;

use meltemi_catalog::View;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_proto::envoy::config::listener::v3::Listener;
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_proto::istio::networking::nds::v1::NameTable;
use prost::Message;

/// By type and name: the bytes.
pub(crate) type Served = BTreeMap<(TypeUrl, String), Vec<u8>>;

/// All that a view holds; panics when a resource does not decode or says another name.
pub(crate) fn served(view: &View) -> Served {
    let mut found = Served::new();
    for resource in
        TypeUrl::ALL.into_iter().flat_map(|type_url| view.all(type_url)).map(|live| &live.resource)
    {
        let bytes = resource.body().to_vec();
        let name = match resource.type_url() {
            TypeUrl::Cluster => Cluster::decode(&*bytes).map(|message| message.name),
            TypeUrl::Endpoint => ClusterLoadAssignment::decode(&*bytes).map(|message| message.cluster_name),
            TypeUrl::Listener => Listener::decode(&*bytes).map(|message| message.name),
            TypeUrl::Route => RouteConfiguration::decode(&*bytes).map(|message| message.name),
            TypeUrl::VirtualHost => VirtualHost::decode(&*bytes).map(|message| message.name),
            TypeUrl::ExtensionConfig => TypedExtensionConfig::decode(&*bytes).map(|message| message.name),
            TypeUrl::Secret => Secret::decode(&*bytes).map(|message| message.name),
            // A table is the only one of its type, and has no name.
            TypeUrl::NameTable => NameTable::decode(&*bytes).map(|_| String::new()),
        };
        assert_eq!(name.as_deref(), Ok(resource.name().as_str()), "a {}", resource.type_url());
        let twice = found.insert((resource.type_url(), resource.name().to_string()), bytes);
        assert!(twice.is_none(), "{} {} is in two layers", resource.type_url(), resource.name());
    }
    found
}

/// Panics with the first difference.
#[allow(dead_code, reason = "not every target compares")]
pub(crate) fn same(one: &Served, other: &Served) {
    for name in one.keys().chain(other.keys()) {
        assert!(
            one.get(name) == other.get(name),
            "{name:?} differs:\n{:?}\n{:?}",
            one.get(name),
            other.get(name)
        );
    }
}
