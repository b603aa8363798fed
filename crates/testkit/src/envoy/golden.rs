//! A set of discovery resources as one static bootstrap, for Envoy's own validation of goldens.
//!
//! What would come over the wire is put where it is used: assignments into their clusters, route configurations and
//! virtual hosts into the connection managers that ask for them. All else stays as it is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// `resources` is what a golden case shows: `clusters`, `listeners`, `routes`, `endpoints`, `extensions` and, if there are any
/// apart, `virtual_hosts` (named `<route configuration>/<host>`), each a list (or an object, whose values count) of
/// messages in protobuf JSON with the field names of the .proto files.
pub fn bootstrap_of(resources: &Value) -> Value {
    let endpoints = by_name(&resources["endpoints"], "cluster_name");
    let mut routes = by_name(&resources["routes"], "name");
    for (name, host) in by_name(&resources["virtual_hosts"], "name") {
        let Some(configuration) = name.split_once('/').and_then(|(route, _)| routes.get_mut(route)) else {
            continue;
        };
        if !configuration["virtual_hosts"].is_array() {
            configuration["virtual_hosts"] = json!([]);
        }
        if let Value::Array(hosts) = &mut configuration["virtual_hosts"] {
            hosts.push(host);
        }
    }
    for configuration in routes.values_mut().filter_map(Value::as_object_mut) {
        configuration.remove("vhds");
    }
    let extensions = by_name(&resources["extensions"], "name");
    let clusters: Vec<Value> = messages(&resources["clusters"])
        .map(|cluster| {
            let mut cluster = with_endpoints(cluster.clone(), &endpoints);
            put_secrets(&mut cluster);
            cluster
        })
        .collect();
    let listeners: Vec<Value> = messages(&resources["listeners"])
        .map(|listener| {
            let mut listener = listener.clone();
            put_routes(&mut listener, &routes);
            put_extensions(&mut listener, &extensions);
            listener
        })
        .collect();
    json!({
        "node": {"id": "golden", "cluster": "golden"},
        "static_resources": {"clusters": clusters, "listeners": listeners},
    })
}

fn messages(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(list) => Box::new(list.iter()),
        Value::Object(named) => Box::new(named.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn by_name(value: &Value, field: &str) -> BTreeMap<String, Value> {
    messages(value)
        .map(|message| (message[field].as_str().unwrap_or_default().to_owned(), message.clone()))
        .collect()
}

/// An EDS cluster as a static one with the endpoints that it would get, or none.
fn with_endpoints(mut cluster: Value, endpoints: &BTreeMap<String, Value>) -> Value {
    if cluster["type"] != "EDS" {
        return cluster;
    }
    let service = cluster["eds_cluster_config"]["service_name"].as_str().filter(|name| !name.is_empty());
    let name = service.or(cluster["name"].as_str()).unwrap_or_default();
    let assignment = endpoints.get(name).cloned().unwrap_or_else(|| json!({"cluster_name": name}));
    if let Value::Object(fields) = &mut cluster {
        fields.remove("eds_cluster_config");
        fields.insert("type".to_owned(), "STATIC".into());
        fields.insert("load_assignment".to_owned(), assignment);
    }
    cluster
}

/// Secrets of a cluster that come by ADS come from where the proxy's own do: without a stream of its own Envoy validates no cluster that
/// asks it for some.
fn put_secrets(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(put_secrets),
        Value::Object(fields) => {
            if let Some(source) = fields.get_mut("sds_config").filter(|source| source["ads"].is_object()) {
                *source = json!({
                    "resource_api_version": "V3",
                    "api_config_source": {
                        "api_type": "GRPC",
                        "transport_api_version": "V3",
                        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
                    },
                });
            }
            fields.values_mut().for_each(put_secrets);
        }
        _ => {}
    }
}

/// Puts the route configuration in the place of each `rds`, however deep.
fn put_routes(value: &mut Value, routes: &BTreeMap<String, Value>) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| put_routes(value, routes)),
        Value::Object(fields) => {
            put_route(fields, routes);
            fields.values_mut().for_each(|value| put_routes(value, routes));
        }
        _ => {}
    }
}

/// Puts the extension in the place of each `config_discovery` that asks for it, however deep.
fn put_extensions(value: &mut Value, extensions: &BTreeMap<String, Value>) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| put_extensions(value, extensions)),
        Value::Object(fields) => {
            let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
            if let Some(found) = extensions.get(name).filter(|_| fields.contains_key("config_discovery")) {
                let config = found["typed_config"].clone();
                fields.remove("config_discovery");
                fields.insert("typed_config".to_owned(), config);
            }
            fields.values_mut().for_each(|value| put_extensions(value, extensions));
        }
        _ => {}
    }
}

fn put_route(fields: &mut Map<String, Value>, routes: &BTreeMap<String, Value>) {
    let Some(name) = fields.get("rds").and_then(|rds| rds["route_config_name"].as_str()) else { return };
    let configuration = routes.get(name).cloned().unwrap_or_else(|| json!({"name": name}));
    fields.remove("rds");
    fields.insert("route_config".to_owned(), configuration);
}
