//! `meltemi explain`: the way of one request, as a page to read or as JSON.
//!
//! Translates the folder for the sender, and for one proxy of each destination; the walk says what Envoy would do; [`page`] says it in
//! words. Must not know Envoy's rules.

mod explanation;
mod page;
mod request;
mod resolve;
mod rule;
pub(crate) mod workload;

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_model::proxy::Proxy;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::Engine;
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

/// All that a proxy would be sent.
fn configuration(engine: &mut Engine, node: &Value) -> anyhow::Result<Configuration> {
    let node = meltemi_proto::json::from_json("envoy.config.core.v3.Node", node)?;
    let proxy = Proxy::parse(&Node::decode(node.as_slice())?, false)?;
    let id = engine.connect(Arc::new(proxy));
    let view = engine.view(id);
    let mut configuration = Configuration::default();
    for type_url in [TypeUrl::Listener, TypeUrl::Route, TypeUrl::Cluster, TypeUrl::Endpoint] {
        for live in view.all(type_url) {
            let resource = &live.resource;
            configuration.add(type_url, resource.name().as_str(), Bytes::from(resource.body().to_vec()));
        }
    }
    Ok(configuration)
}
