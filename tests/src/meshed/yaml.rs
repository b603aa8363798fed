//! YAML as people write it, with the parts that differ filled in.

use std::net::SocketAddr;

/// A Service `name` in namespace `default`, at that address of its own, that leads to `target` of what has the label `app`.
pub fn service(name: &str, address: SocketAddr, app: &str, target: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  clusterIP: {}
  selector: {{app: {app}}}
  ports: [{{name: http, port: {}, targetPort: {target}}}]
",
        address.ip(),
        address.port()
    )
}

/// A WorkloadEntry of `app` and `version` at `address`, which runs as that account and speaks the mesh's TLS; `name` tells it from others.
pub fn entry(name: &str, app: &str, version: &str, account: &str, address: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: default}}
spec:
  address: {}
  ports: {{http: {}}}
  serviceAccount: {account}
  labels: {{app: {app}, version: {version}, security.istio.io/tlsMode: istio}}
",
        address.ip(),
        address.port()
    )
}

/// A PeerAuthentication for all of a namespace.
pub fn peer_authentication(namespace: &str, mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: {namespace}}}
spec:
  mtls: {{mode: {mode}}}
"
    )
}
