//! What a proxy would be sent, as far as the way of one request leads.
//!
//! Must not know the way: the walk names what it comes to, and is led on until it names nothing new.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::Resource;
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::proxy::Proxy;
use meltemi_proto::envoy::config::core::v3::Node;
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
            if let Some(host) = name.split('|').nth(3)
                && known.insert(format!("host {host}"))
            {
                add(&mut configuration, &glimpse.host(host));
                is_new = true;
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

/// A proxy as it introduces itself by that node. Its routes come whole, as people read them.
fn proxy(node: &Value) -> anyhow::Result<Arc<Proxy>> {
    let node = meltemi_proto::json::from_json("envoy.config.core.v3.Node", node)?;
    Ok(Arc::new(Proxy::parse(&Node::decode(node.as_slice())?, false)?))
}

fn add(configuration: &mut Configuration, all: &[Arc<Resource>]) {
    for resource in all {
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
