//! YAML as people and controllers write it, with the parts that differ filled in.

use std::fmt::Write as _;

/// A Service `name` that leads from `port`, named `http`, to port `target` of the pods with the label `app: name`.
pub fn service(namespace: &str, name: &str, port: u16, target: u16) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: {port}, targetPort: {target}}}]
"
    )
}

/// A Service without a selector and a slice of it, as somebody's own controller writes them, with these ready addresses.
pub fn slice(namespace: &str, name: &str, port: u16, addresses: &[&str]) -> String {
    let mut text = format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ports: [{{name: http, port: {port}, targetPort: 8080}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-own
  namespace: {namespace}
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
"
    );
    for address in addresses {
        _ = writeln!(text, "- {{addresses: [{address}], conditions: {{ready: true}}}}");
    }
    text
}

/// A DestinationRule of `host` with a subset for each version.
pub fn rule(namespace: &str, host: &str, versions: &[&str]) -> String {
    let mut text = format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}, namespace: {namespace}}}
spec:
  host: {host}
  subsets:
"
    );
    for version in versions {
        _ = writeln!(text, "  - {{name: {version}, labels: {{version: {version}}}}}");
    }
    text
}

/// A VirtualService of `host`, at that version of its kind, that splits requests over subsets by weight.
pub fn split(version: &str, namespace: &str, host: &str, weights: &[(&str, u32)]) -> String {
    let mut text = format!(
        "---
apiVersion: networking.istio.io/{version}
kind: VirtualService
metadata: {{name: {host}, namespace: {namespace}}}
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
