//! The configuration of one proxy: resources by type and name, decoded when the walk comes to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use meltemi_names::TypeUrl;
use meltemi_proto::any::unpack;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_proto::envoy::config::listener::v3::Listener;
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_proto::google::protobuf::Any;
use prost::{Message, Name};

use crate::request::Destination;

/// All that one proxy was sent.
#[derive(Clone, Debug, Default)]
pub struct Configuration(BTreeMap<(TypeUrl, String), Bytes>);

/// What one connection may lead to: the configuration, and the destination that the listener restored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) configuration: &'a Configuration,
    /// None where the client connected to the listener's own socket: nobody knows of another destination.
    pub(crate) restored: Option<Destination>,
    /// The name that the proxy looks up, if a filter does so; none: clusters that want one have no endpoint.
    pub(crate) called: Option<Called<'a>>,
}

/// A name that the request or connection itself says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called<'a> {
    /// The host, maybe with a port behind it.
    pub(crate) host: &'a str,
    /// The port, where the host says none; none: the usual one of what is spoken.
    pub(crate) port: Option<u32>,
}

/// Part of the configuration does not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is no valid {message}: {source}")]
pub struct Broken {
    /// Which part.
    pub what: String,
    /// What it should be.
    pub message: String,
    /// What the decoder said.
    pub source: prost::DecodeError,
}

impl Configuration {
    /// Adds a resource, or replaces the one of that type and name.
    pub fn add(&mut self, type_url: TypeUrl, name: impl Into<String>, body: impl Into<Bytes>) {
        self.0.insert((type_url, name.into()), body.into());
    }

    /// Every listener, by name.
    pub(crate) fn listeners(&self) -> Result<Vec<Listener>, Broken> {
        self.of(TypeUrl::Listener).map(|(name, body)| decode("listener", name, body)).collect()
    }

    pub(crate) fn cluster(&self, name: &str) -> Result<Option<Cluster>, Broken> {
        self.find(TypeUrl::Cluster, "cluster", name)
    }

    pub(crate) fn assignment(&self, name: &str) -> Result<Option<ClusterLoadAssignment>, Broken> {
        self.find(TypeUrl::Endpoint, "load assignment", name)
    }

    /// The route configuration, with the virtual hosts that came as resources of their own.
    pub(crate) fn route(&self, name: &str) -> Result<Option<RouteConfiguration>, Broken> {
        let Some(mut route) = self.find::<RouteConfiguration>(TypeUrl::Route, "route configuration", name)?
        else {
            return Ok(None);
        };
        let prefix = format!("{name}/");
        for (name, body) in self.of(TypeUrl::VirtualHost).filter(|(name, _)| name.starts_with(&prefix)) {
            route.virtual_hosts.push(decode::<VirtualHost>("virtual host", name, body)?);
        }
        Ok(Some(route))
    }

    fn of(&self, type_url: TypeUrl) -> impl Iterator<Item = (&str, &Bytes)> {
        let from = (type_url, String::new());
        let of_type = self.0.range(from..).take_while(move |((found, _), _)| *found == type_url);
        of_type.map(|((_, name), body)| (name.as_str(), body))
    }

    fn find<M: Message + Name + Default>(
        &self,
        type_url: TypeUrl,
        kind: &str,
        name: &str,
    ) -> Result<Option<M>, Broken> {
        let body = self.0.get(&(type_url, name.to_owned()));
        body.map(|body| decode(kind, name, body)).transpose()
    }
}

fn decode<M: Message + Name + Default>(kind: &str, name: &str, body: &Bytes) -> Result<M, Broken> {
    M::decode(body.clone()).map_err(|source| Broken {
        what: format!("{kind} {name}"),
        message: M::full_name(),
        source,
    })
}

/// What an `Any` holds, if it holds an `M`; `what` is the part of the configuration that it is in.
pub(crate) fn opened<M: Message + Name + Default>(
    any: Option<&Any>,
    what: impl FnOnce() -> String,
) -> Result<Option<M>, Broken> {
    match any {
        Some(any) if any.type_url == M::type_url() => match unpack(any) {
            Ok(message) => Ok(Some(message)),
            Err(source) => Err(Broken { what: what(), message: M::full_name(), source }),
        },
        _ => Ok(None),
    }
}
