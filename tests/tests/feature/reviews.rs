//! The app that the features are about: `reviews` in namespace `default`, HTTP on port 9080, with workloads of versions v1, v2, v3.

use meltemi_testkit::xds::Held;
use meltemi_tests::control_plane::{split, virtual_host};

/// The route configuration of its port.
pub(crate) const CONFIGURATION: &str = "9080";

/// Its virtual host, for clients to which it is a resource of its own.
pub(crate) const VIRTUAL_HOST: &str = "9080/reviews.default.svc.cluster.local";

/// The Service and its workloads.
pub(crate) fn app() -> String {
    format!(
        "{}{}",
        service("reviews"),
        ["v1", "v2", "v3"].map(|version| workload("reviews", version)).concat()
    )
}

/// A Service on port 9080.
pub(crate) fn service(name: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 9080}}]
"
    )
}

/// A workload that the Service of that name selects.
pub(crate) fn workload(app: &str, version: &str) -> String {
    let last = version.trim_start_matches('v');
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {app}-{version}}}
spec: {{address: 10.0.0.{last}, labels: {{app: {app}, version: {version}}}}}
"
    )
}

/// The DestinationRule, with a subset for each of these versions.
pub(crate) fn rule(versions: &[&str]) -> String {
    let subsets: Vec<String> = versions
        .iter()
        .map(|version| format!("{{name: {version}, labels: {{version: {version}}}}}"))
        .collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews}}
spec:
  host: reviews
  subsets: [{}]
",
        subsets.join(", ")
    )
}

/// The VirtualService of a host: weights of subsets.
pub(crate) fn route_of(host: &str, weights: &[(&str, u64)]) -> String {
    let routes: Vec<String> = weights
        .iter()
        .map(|(subset, weight)| {
            format!("    - {{destination: {{host: {host}, subset: {subset}}}, weight: {weight}}}\n")
        })
        .collect();
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  http:
  - route:
{}",
        routes.concat()
    )
}

/// The VirtualService of `reviews`.
pub(crate) fn route(weights: &[(&str, u64)]) -> String {
    route_of("reviews", weights)
}

/// A VirtualService that sends all requests of a host to the Service itself, with that time limit.
pub(crate) fn plain(host: &str, timeout: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  http:
  - route: [{{destination: {{host: {host}}}}}]
    timeout: {timeout}
"
    )
}

/// Whether a client that holds this splits the requests of `reviews` so.
pub(crate) fn splits(held: &Held, weights: &[(&str, u64)]) -> bool {
    let wanted: Vec<(String, u64)> =
        weights.iter().map(|(subset, weight)| ((*subset).to_owned(), *weight)).collect();
    virtual_host(held, CONFIGURATION, "reviews").is_some_and(|host| split(&host) == wanted)
}

/// Whether a client that holds this gives requests of `host` that time limit.
pub(crate) fn has_timeout(held: &Held, host: &str, timeout: &str) -> bool {
    virtual_host(held, CONFIGURATION, host)
        .is_some_and(|found| found["routes"][0]["route"]["timeout"].as_str() == Some(timeout))
}

/// The name of the cluster of a subset of `reviews`.
pub(crate) fn cluster(subset: &str) -> String {
    format!("outbound|9080|{subset}|reviews.default.svc.cluster.local")
}
