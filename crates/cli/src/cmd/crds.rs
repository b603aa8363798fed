//! `meltemi crds`: the CustomResourceDefinitions of the Istio kinds, as `kubectl apply --server-side -f -` takes them.

use std::process::ExitCode;

use meltemi_api::crd;
use serde_json::{Value, json};

use crate::args::{CrdsArgs, YamlOrJson};
use crate::render;

pub(crate) fn run(args: &CrdsArgs) -> anyhow::Result<ExitCode> {
    let chosen = crd::all().into_iter().filter(|crd| !args.exclude.contains(&crd.name()));
    let chosen: Vec<Value> = chosen.map(|crd| crd.to_value()).collect();
    match args.output {
        // One document each: a reader can cut the stream anywhere.
        YamlOrJson::Yaml => {
            let documents: Result<Vec<String>, _> = chosen.iter().map(serde_norway::to_string).collect();
            render::text_out(&documents?.join("---\n"))?;
        }
        YamlOrJson::Json => {
            render::value(&json!({"apiVersion": "v1", "kind": "List", "items": chosen}), args.output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that can be left out; a mistyped one would otherwise be installed in silence.
pub(crate) fn known_name(text: &str) -> Result<String, String> {
    let names: Vec<String> = crd::all().iter().map(crd::Crd::name).collect();
    if names.iter().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(format!("no such CustomResourceDefinition; there are {}", names.join(", ")))
}
