//! The only way to read the mesh for an answer that is remembered: each read says which entry it read.

use std::sync::Arc;

use meltemi_api::{
    Credential, DestinationRule, EndpointSlice, EnvoyFilter, Gateway, Meta, Object, PeerAuthentication, Pod,
    Service, ServiceEntry, Spec, VirtualService, WorkloadEntry,
};
use meltemi_memo::Reader;
use meltemi_names::ObjectKey;

use crate::entry::{Entry, IndexKey};
use crate::mesh::Mesh;

/// What an answer reads with.
pub type Read<'a> = Reader<'a, Mesh>;

/// The object in force under `key`.
pub fn object<'a>(read: &Read<'a>, key: &ObjectKey) -> Option<&'a Arc<Object>> {
    read.world_at(Entry::Object(key.clone())).objects.get(key)
}

/// The objects filed under `key`, sorted.
pub fn filed<'a>(read: &Read<'a>, key: IndexKey) -> impl Iterator<Item = &'a ObjectKey> {
    let mesh = read.world_at(Entry::Index(key.clone()));
    mesh.index.get(&key).into_iter().flatten()
}

/// Whether nothing is filed under `key`.
pub fn none_filed(read: &Read<'_>, key: IndexKey) -> bool {
    read.world_at(Entry::Index(key.clone())).index.get(&key).is_none()
}

/// The Secret under `key`, as far as it is a certificate.
pub fn credential<'a>(read: &Read<'a>, key: &ObjectKey) -> Option<&'a Credential> {
    match &object(read, key)?.spec {
        Spec::Secret(credential) => Some(credential),
        _ => None,
    }
}

macro_rules! typed {
    ($(#[$doc:meta] $name:ident => $kind:ident),* $(,)?) => {$(
        #[$doc]
        pub fn $name<'a>(read: &Read<'a>, key: &ObjectKey) -> Option<(&'a Meta, &'a $kind)> {
            match &**object(read, key)? {
                Object { meta, spec: Spec::$kind(spec), .. } => Some((meta, spec)),
                _ => None,
            }
        }
    )*};
}

typed! {
    /// The Service under `key`.
    service => Service,
    /// The EndpointSlice under `key`.
    endpoint_slice => EndpointSlice,
    /// The Pod under `key`.
    pod => Pod,
    /// The VirtualService under `key`.
    virtual_service => VirtualService,
    /// The DestinationRule under `key`.
    destination_rule => DestinationRule,
    /// The Gateway under `key`.
    gateway => Gateway,
    /// The WorkloadEntry under `key`.
    workload_entry => WorkloadEntry,
    /// The ServiceEntry under `key`.
    service_entry => ServiceEntry,
    /// The EnvoyFilter under `key`.
    envoy_filter => EnvoyFilter,
    /// The PeerAuthentication under `key`.
    peer_authentication => PeerAuthentication,
}

/// What names the object under `key`, and its labels: all that is read of a Node or a Namespace.
pub fn meta<'a>(read: &Read<'a>, key: &ObjectKey) -> Option<&'a Meta> {
    object(read, key).map(|object| &object.meta)
}
