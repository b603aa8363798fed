//! YAML as people write it, with the parts that differ filled in.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// A Service `name` in namespace `default` with one port, named `http`.
pub fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: {port}}}]
"
    )
}

/// A WorkloadEntry of `app` and `version` at `address`; `name` tells it from others.
pub fn workload(name: &str, app: &str, version: &str, address: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec:
  address: {}
  ports: {{http: {}}}
  labels: {{app: {app}, version: {version}}}
",
        address.ip(),
        address.port()
    )
}

/// A DestinationRule of `host` with a subset for each version. `policy` is more of its spec, in flow style, or nothing.
pub fn rule(host: &str, versions: &[&str], policy: &str) -> String {
    let mut text = format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: default}}
spec:
  host: {host}
"
    );
    if !policy.is_empty() {
        _ = writeln!(text, "  trafficPolicy: {policy}");
    }
    if !versions.is_empty() {
        text.push_str("  subsets:\n");
    }
    for version in versions {
        _ = writeln!(text, "  - {{name: {version}, labels: {{version: {version}}}}}");
    }
    text
}

/// A VirtualService of `host` that splits its requests over subsets by weight.
pub fn split(host: &str, weights: &[(&str, u32)]) -> String {
    let mut text = format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}, namespace: default}}
spec:
  hosts: [{host}]
  http:
  - route:
"
    );
    for (subset, weight) in weights {
        _ = writeln!(text, "    - {{destination: {{host: {host}, subset: {subset}}}, weight: {weight}}}");
    }
    text
}
