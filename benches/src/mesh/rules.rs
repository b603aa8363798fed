//! What stands beside the services, as text: Sidecars, or policies and patches everywhere.
//!
//! Knows: how a user writes them. Must not know: files.

use super::{Mesh, name, team};

/// A Sidecar that imports its own namespace and two services of another one.
pub(super) fn scope(mesh: &Mesh, namespace: usize) -> String {
    let imports = mesh.imports(namespace).map(|service| {
        let of = mesh.namespace(service);
        format!(", {of}/{}.{of}.svc.cluster.local", name(service))
    });
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {}}}
spec:
  egress:
  - hosts: [./*{}]
",
        team(namespace),
        imports.collect::<String>()
    )
}

/// Of a DestinationRule, for all callers.
pub(super) const TRAFFIC_POLICY: &str = "  exportTo: ['*']
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 200, connectTimeout: 2s}
      http: {http1MaxPendingRequests: 100, http2MaxRequests: 500, maxRequestsPerConnection: 50, maxRetries: 5}
    outlierDetection: {consecutive5xxErrors: 7, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 50}
";

/// What a team patches: its clusters, its inbound HTTP, its outbound virtual hosts. No two teams write the same, so that their
/// sidecars share none of it.
pub(super) fn patches(namespace: usize) -> String {
    let team = team(namespace);
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {team}, namespace: {team}}}
spec:
  priority: 10
  configPatches:
  - applyTo: CLUSTER
    match: {{context: SIDECAR_OUTBOUND}}
    patch: {{operation: MERGE, value: {{per_connection_buffer_limit_bytes: {}}}}}
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain:
          filter: {{name: envoy.filters.network.http_connection_manager, subFilter: {{name: envoy.filters.http.router}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: team
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
          mutations: {{response_mutations: [{{append: {{header: {{key: x-served-by, value: {team}}}}}}}]}}
  - applyTo: VIRTUAL_HOST
    match: {{context: SIDECAR_OUTBOUND}}
    patch: {{operation: MERGE, value: {{request_headers_to_add: [{{header: {{key: x-called-by, value: {team}}}}}]}}}}
",
        32_768 + namespace
    )
}

/// What holds for the whole mesh.
pub(super) const MESH: &str = "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: mesh, namespace: istio-system}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    match: {context: ANY, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          common_http_protocol_options: {idle_timeout: 900s}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec:
  accessLogging:
  - providers: [{name: envoy}]
    filter: {expression: response.code >= 500}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mesh, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
";
