//! Table tests of the walk, over configurations written by hand in the field names of Envoy's documentation.

mod actions;
mod conditions;
mod connections;
mod endpoints;
mod reports;
mod tls;

use meltemi_names::TypeUrl;
use serde_json::Value;

use crate::{Configuration, Destination, Handling, HttpWay, Request, Way, walk};

/// A configuration from YAML: `listeners`, `routes`, `clusters`, `endpoints`, each a list.
fn configuration(yaml: &str) -> Configuration {
    let all: Value = serde_norway::from_str(yaml).unwrap();
    let mut configuration = Configuration::default();
    for (field, type_url, name) in [
        ("listeners", TypeUrl::Listener, "name"),
        ("routes", TypeUrl::Route, "name"),
        ("virtual_hosts", TypeUrl::VirtualHost, "name"),
        ("clusters", TypeUrl::Cluster, "name"),
        ("endpoints", TypeUrl::Endpoint, "cluster_name"),
    ] {
        for message in all[field].as_array().into_iter().flatten() {
            let body = meltemi_proto::json::from_json(type_url.as_str(), message).unwrap();
            configuration.add(type_url, message[name].as_str().unwrap(), body);
        }
    }
    configuration
}

/// A listener on 127.0.0.1:80 that takes requests by the route configuration `80`, with the filters for faults and CORS.
const LISTENER: &str = "
listeners:
- name: here
  address: {socket_address: {address: 127.0.0.1, port_value: 80}}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: here
        rds: {route_config_name: '80'}
        normalize_path: true
        http_filters: [{name: envoy.filters.http.fault}, {name: envoy.filters.http.cors}, {name: envoy.filters.http.router}]
";

fn here() -> Destination {
    Destination { address: Some([127, 0, 0, 1].into()), port: 80 }
}

/// The way of a request by `LISTENER` and these other resources.
fn sent(resources: &str, request: &Request) -> Way {
    walk(&configuration(&format!("{LISTENER}{resources}")), request).unwrap()
}

fn get(host: &str, path: &str) -> Request {
    Request::new("GET", host, path, here())
}

fn http(way: &Way) -> &HttpWay {
    match &way.handling {
        Some(Handling::Http(http)) => http,
        other => panic!("not taken as HTTP: {other:?}"),
    }
}

/// What the client sees, as JSON without what does not matter here.
fn seen(way: &Way) -> Value {
    serde_json::to_value(&way.seen).unwrap()
}
