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
use meltemi_model::proxy::Proxy;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_translate::key::LayerKey;
use meltemi_views::Glimpse;
use meltemi_walk::{Action, Configuration, Handling, Request, Way, walk};
use prost::Message;
use serde_json::Value;

use super::explanation::clusters;

/// The request's way through the proxy of that node.
pub(super) fn way(memo: &Memo<Mesh>, mesh: &Mesh, node: &Value, request: &Request) -> anyhow::Result<Way> {
    let glimpse = Glimpse::new(memo, mesh, proxy(node)?);
    let mut configuration = Configuration::default();
    add(&mut configuration, &glimpse.ground());
    let mut known: BTreeSet<String> = BTreeSet::new();
    loop {
        let way = walk(&configuration, request)?;
        let mut is_new = false;
        if let Some(Handling::Http(http)) = &way.handling
            && known.insert(format!("route {}", http.route_configuration))
        {
            add(&mut configuration, &glimpse.route(&http.route_configuration));
            is_new = true;
        }
        for name in named(&way) {
            match name.split('|').nth(3) {
                Some(host) if known.insert(format!("host {host}")) => {
                    add(&mut configuration, &glimpse.host(host));
                    is_new = true;
                }
                Some(_) => {}
                // A cluster that is called otherwise may be of any service.
                None if known.insert("every host".to_owned()) => {
                    let is_there = glimpse.ground().iter().any(|found| found.name().as_str() == name);
                    if !is_there {
                        add(&mut configuration, &glimpse.hosts());
                        is_new = true;
                    }
                }
                None => {}
            }
        }
        if !is_new {
            return Ok(way);
        }
    }
}

/// What the proxy of that node has for those who connect to its workload.
pub(super) fn inbound(memo: &Memo<Mesh>, mesh: &Mesh, node: &Value) -> anyhow::Result<Configuration> {
    let mut configuration = Configuration::default();
    add(&mut configuration, &Glimpse::new(memo, mesh, proxy(node)?).inbound());
    Ok(configuration)
}

/// The Gateways that a proxy serves, and where it listens for them; none for a sidecar.
pub(super) fn gateways(memo: &Memo<Mesh>, mesh: &Mesh, node: &Value) -> anyhow::Result<Option<GatewaySet>> {
    let glimpse = Glimpse::new(memo, mesh, proxy(node)?);
    let set = glimpse.layers().find_map(|layer| match layer {
        LayerKey::Gateway(key) => Some(key.set.clone()),
        _ => None,
    });
    Ok(set)
}

/// A proxy as it introduces itself by that node. Its routes come whole, as people read them.
fn proxy(node: &Value) -> anyhow::Result<Arc<Proxy>> {
    let node = meltemi_proto::json::from_json("envoy.config.core.v3.Node", node)?;
    let mut proxy = Proxy::parse(&Node::decode(node.as_slice())?, false)?;
    // Who has the mesh's certificate has an identity, and by that the Secrets of its namespace.
    proxy.reads_secrets = proxy.has_certificates;
    Ok(Arc::new(proxy))
}

fn add(configuration: &mut Configuration, all: &[Arc<Resource>]) {
    for resource in all.iter().filter(|resource| resource.type_url() != TypeUrl::Secret) {
        let body = Bytes::from(resource.body().to_vec());
        configuration.add(resource.type_url(), resource.name().as_str(), body);
    }
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
