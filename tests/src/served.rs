//! What a proxy is served, in comparable and readable form.

use std::collections::BTreeMap;

use meltemi_catalog::{Need, View};
use meltemi_names::TypeUrl;
use serde_json::Value;

/// By type and name: the bytes and what they need.
pub type Served = BTreeMap<(TypeUrl, String), (Vec<u8>, Vec<Need>)>;

/// All that a view holds.
pub fn served(view: &View) -> Served {
    TypeUrl::ALL
        .into_iter()
        .flat_map(|type_url| view.all(type_url))
        .map(|live| {
            let resource = &live.resource;
            (
                (resource.type_url(), resource.name().to_string()),
                (resource.body().to_vec(), resource.needs().to_vec()),
            )
        })
        .collect()
}

/// One resource as protobuf JSON; panics if it is not there or does not decode.
#[allow(clippy::panic, reason = "a test asks for what must be there")]
pub fn decoded(view: &View, type_url: TypeUrl, name: &str) -> Value {
    let Some(live) = view.find(type_url, name) else {
        let names: Vec<&str> = view.all(type_url).map(|live| live.resource.name().as_str()).collect();
        panic!("no {type_url} `{name}`; there are {names:?}")
    };
    match meltemi_proto::json::to_json(type_url.as_str(), &live.resource.body().to_vec()) {
        Ok(json) => json,
        Err(error) => panic!("{type_url} `{name}` does not decode: {error}"),
    }
}

/// The names of a type, sorted.
pub fn names(view: &View, type_url: TypeUrl) -> Vec<String> {
    let mut names: Vec<String> = view.all(type_url).map(|live| live.resource.name().to_string()).collect();
    names.sort();
    names
}
