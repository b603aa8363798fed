//! `meltemi translate`: what Envoy would be sent, as protobuf JSON.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use meltemi_catalog::View;
use meltemi_model::proxy::{Proxy, STATS_LOGGER};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::{Extension, Node};
use meltemi_views::Options;
use prost::Message;
use serde_json::{Map, Value};

use crate::args::TranslateArgs;
use crate::render;
use crate::state::{SourceArgs, State};

pub(crate) fn run(args: &TranslateArgs) -> anyhow::Result<ExitCode> {
    let source = SourceArgs {
        mesh_config: args.mesh_config.clone(),
        namespace: args.namespace.clone(),
        ..SourceArgs::default()
    };
    let state = State::folders(&args.config, &source)?;
    let mut node = args.proxy.node();
    node["metadata"]["MELTEMI_CERTIFICATES"] = args.certificates.to_string().into();
    let node = meltemi_proto::json::from_json("envoy.config.core.v3.Node", &node)?;
    let mut node = Node::decode(node.as_slice())?;
    // As an Envoy says itself when it connects: it counts traffic.
    node.extensions.push(Extension { name: STATS_LOGGER.to_owned(), ..Extension::default() });
    // Route configurations are shown whole, as a state-of-the-world client has them: that is how people read them.
    let proxy = Proxy::parse(&node, false)?;
    let mut engine = state.engine(Options { virtual_hosts: false, findings: false, ..Options::default() });
    let id = engine.connect(Arc::new(proxy));
    render::value(&shown(&engine.view(id))?, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// `{clusters, listeners, routes, endpoints}`, each sorted by name.
fn shown(view: &View) -> anyhow::Result<Value> {
    let mut all = Map::new();
    for (name, type_url) in [
        ("clusters", TypeUrl::Cluster),
        ("listeners", TypeUrl::Listener),
        ("routes", TypeUrl::Route),
        ("endpoints", TypeUrl::Endpoint),
    ] {
        let mut resources: Vec<_> = view.all(type_url).map(|live| &live.resource).collect();
        resources.sort_by(|a, b| a.name().cmp(b.name()));
        let decoded: anyhow::Result<Vec<Value>> = resources
            .into_iter()
            .map(|resource| {
                meltemi_proto::json::to_json(type_url.as_str(), &resource.body().to_vec())
                    .with_context(|| format!("{type_url} {}", resource.name()))
            })
            .collect();
        all.insert(name.to_owned(), Value::Array(decoded?));
    }
    Ok(Value::Object(all))
}
