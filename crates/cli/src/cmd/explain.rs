//! `meltemi explain`: the way of one request, as a page to read or as JSON.
//!
//! Translates the folder for the sender, and for one proxy of each destination; the walk says what Envoy would do; [`page`] says it in
//! words. Must not know Envoy's rules.

mod explanation;
mod page;
mod patches;
mod request;
mod resolve;
mod rule;
pub(crate) mod workload;

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::View;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::proxy::Proxy;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_translate::key::LayerKey;
use meltemi_views::{Engine, ProxyId};
use meltemi_walk::Configuration;
use prost::Message;
use serde_json::Value;

use self::explanation::Explanation;
pub(crate) use self::request::{Url, header, method};
use crate::args::{ExplainArgs, TextOrJson, YamlOrJson};
use crate::render;
use crate::state::State;

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let state = State::read(&args.source)?;
    let explanation = Explanation::of(&state, args)?;
    match args.output {
        TextOrJson::Json => render::value(&explanation, YamlOrJson::Json)?,
        TextOrJson::Text => {
            render::text_out(&page::of(&explanation, render::coloured(args.color)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(engine: &mut Engine, node: &Value) -> anyhow::Result<ProxyId> {
    let node = meltemi_proto::json::from_json("envoy.config.core.v3.Node", node)?;
    let mut proxy = Proxy::parse(&Node::decode(node.as_slice())?, false)?;
    // Who has the mesh's certificate has an identity, and by that the Secrets of its namespace.
    proxy.reads_secrets = proxy.has_certificates;
    Ok(engine.connect(Arc::new(proxy)))
}

/// The Gateways that a proxy serves, and where it listens for them; none for a sidecar.
fn gateways(engine: &mut Engine, node: &Value) -> anyhow::Result<Option<GatewaySet>> {
    let id = connect(engine, node)?;
    let set = engine.layers(id).find_map(|layer| match layer {
        LayerKey::Gateway(key) => Some(key.set.clone()),
        _ => None,
    });
    Ok(set)
}

/// All that a proxy would be sent, secrets apart, and as what.
fn configuration(engine: &mut Engine, node: &Value) -> anyhow::Result<(Configuration, View)> {
    let id = connect(engine, node)?;
    let view = engine.view(id);
    let mut configuration = Configuration::default();
    for type_url in [TypeUrl::Listener, TypeUrl::Route, TypeUrl::Cluster, TypeUrl::Endpoint] {
        for live in view.all(type_url) {
            let resource = &live.resource;
            configuration.add(type_url, resource.name().as_str(), Bytes::from(resource.body().to_vec()));
        }
    }
    Ok((configuration, view))
}
