//! What a proxy would be sent, as far as the way of one request leads.
//!
//! Must not know the way: the walk names what it comes to, and is led on until it names nothing new.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::Resource;
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::proxy::{Proxy, SecretAccess};
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::Glimpse;
use meltemi_walk::{Action, Configuration, Handling, Request, Way, walk};
use prost::Message;
use serde_json::Value;

use super::explanation::clusters;

/// What a proxy would be sent, as far as anything asked for it.
#[derive(Default)]
pub(super) struct Sent {
    resources: Vec<Arc<Resource>>,
    configuration: Configuration,
}

impl Sent {
    /// As the walk reads it.
    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Those of a type.
    pub(super) fn of_type(&self, type_url: TypeUrl) -> impl Iterator<Item = &Resource> {
        self.resources.iter().map(|resource| &**resource).filter(move |found| found.type_url() == type_url)
    }

    /// The one of that name.
    pub(super) fn find(&self, type_url: TypeUrl, name: &str) -> Option<&Resource> {
        self.of_type(type_url).find(|resource| resource.name().as_str() == name)
    }

    /// The objects of that kind that a listener is made from.
    pub(super) fn made_from(&self, listener: &str, kind: Kind) -> Vec<ObjectKey> {
        let of = self.find(TypeUrl::Listener, listener).into_iter().flat_map(|found| found.origin().iter());
        of.filter(|object| object.kind == kind).cloned().collect()
    }

    fn add(&mut self, all: Vec<Arc<Resource>>) {
        for resource in &all {
            let body = Bytes::from(resource.body().to_vec());
            self.configuration.add(resource.type_url(), resource.name().as_str(), body);
        }
        self.resources.extend(all);
    }
}

/// The request's way through the proxy of that node, and what the proxy was sent for it.
pub(super) fn way(
    memo: &Memo<Mesh>,
    mesh: &Mesh,
    node: &Value,
    request: &Request,
) -> anyhow::Result<(Way, Sent)> {
    let glimpse = Glimpse::new(memo, mesh, proxy(node)?);
    let mut sent = Sent::default();
    sent.add(glimpse.ground());
    let mut known: BTreeSet<String> = BTreeSet::new();
    loop {
        let way = walk(sent.configuration(), request)?;
        let mut is_new = false;
        if let Some(Handling::Http(http)) = &way.handling
            && known.insert(format!("route {}", http.route_configuration))
        {
            sent.add(glimpse.route(&http.route_configuration, Some(&request.authority)));
            is_new = true;
        }
        for name in named(&way) {
            match name.split('|').nth(3) {
                Some(host) if known.insert(format!("host {host}")) => {
                    sent.add(glimpse.host(host));
                    is_new = true;
                }
                Some(_) => {}
                // A cluster that is called otherwise may be of any service.
                None if sent.find(TypeUrl::Cluster, name).is_none()
                    && known.insert("every host".to_owned()) =>
                {
                    sent.add(glimpse.hosts());
                    is_new = true;
                }
                None => {}
            }
        }
        if !is_new {
            return Ok((way, sent));
        }
    }
}

/// What the proxy of that node has for those who connect to its workload.
pub(super) fn inbound(memo: &Memo<Mesh>, mesh: &Mesh, node: &Value) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    sent.add(Glimpse::new(memo, mesh, proxy(node)?).inbound());
    Ok(sent)
}

/// The Gateways that the proxy of that node serves, and where it listens for them; none for a sidecar.
pub(super) fn gateways(memo: &Memo<Mesh>, mesh: &Mesh, node: &Value) -> anyhow::Result<Option<GatewaySet>> {
    Ok(Glimpse::new(memo, mesh, proxy(node)?).gateways().cloned())
}

/// A proxy as it introduces itself by that node. Its routes come whole, as people read them.
pub(super) fn proxy(node: &Value) -> anyhow::Result<Arc<Proxy>> {
    let node = meltemi_proto::json::from_json("envoy.config.core.v3.Node", node)?;
    let mut proxy = Proxy::parse(&Node::decode(node.as_slice())?, false)?;
    // Who has the mesh's certificate has an identity, and by that the Secrets of its namespace.
    proxy.secrets = if proxy.has_certificates { SecretAccess::All } else { SecretAccess::None };
    Ok(Arc::new(proxy))
}

/// Every cluster that the way leads to, copies among them.
fn named(way: &Way) -> Vec<&str> {
    let mut names: Vec<&str> = clusters(way).into_iter().map(|cluster| cluster.name.as_str()).collect();
    if let Some(Handling::Http(http)) = &way.handling
        && let Some(Action::Forward(forward)) = http.route.as_ref().map(|route| &route.action)
    {
        names.extend(forward.mirrors.iter().map(|mirror| mirror.cluster.name.as_str()));
    }
    names
}
