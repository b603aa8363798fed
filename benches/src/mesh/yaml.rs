//! The documents of a mesh, as text.
//!
//! Knows: how a user writes them. Must not know: files.

use std::fmt::Write;

use super::{Beside, Endpoints, Mesh, VERSIONS, name, rules};
use crate::node::Pod;

/// Everything of one service but its routing. `revision` stands in a label that nobody reads.
pub(super) fn service(mesh: &Mesh, service: usize, revision: usize) -> String {
    let pods: Vec<Pod> = (0..VERSIONS.len()).map(|version| mesh.pod(service, version)).collect();
    service_of(mesh, service, revision, &pods)
}

/// The same with these pods.
pub(super) fn service_of(mesh: &Mesh, service: usize, revision: usize, pods: &[Pod]) -> String {
    let (app, namespace) = (name(service), mesh.namespace(service));
    let (high, low) = (service / 250, service % 250 + 1);
    let mut out = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {app}, namespace: {namespace}}}
spec:
  clusterIP: 10.{block}.{third}.{low}
  selector: {{app: {app}}}
  ports:
  - {{name: http, port: {port}, targetPort: 8080, protocol: TCP}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {app}, namespace: {namespace}}}
spec:
  host: {app}.{namespace}.svc.cluster.local
{policy}  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
",
        block = 200 + high / 250,
        third = high % 250,
        port = mesh.shape().port,
        policy = if mesh.shape().beside == Beside::Policies { rules::TRAFFIC_POLICY } else { "" },
    );
    let mut addresses = String::new();
    for pod in pods {
        let version = &pod.labels["version"];
        let labels = format!("{{app: {app}, version: {version}, build: \"{revision}\"}}");
        let (name, ip) = (&pod.name, &pod.ip);
        // Writing to a String cannot fail.
        let _ = match mesh.shape().endpoints {
            Endpoints::Slices => {
                let _ = write!(
                    addresses,
                    "
- addresses: [{ip}]
  conditions: {{ready: true, serving: true, terminating: false}}
  targetRef: {{kind: Pod, name: {name}, namespace: {namespace}}}"
                );
                write!(
                    out,
                    "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}
spec:
  serviceAccountName: default
  containers:
  - {{name: app, image: app, ports: [{{containerPort: 8080}}]}}
status:
  phase: Running
  podIP: {ip}
  podIPs: [{{ip: {ip}}}]
  conditions: [{{type: Ready, status: \"True\"}}]
"
                )
            }
            Endpoints::WorkloadEntries => write!(
                out,
                "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}
spec:
  address: {ip}
  labels: {labels}
  serviceAccount: default
"
            ),
        };
    }
    if mesh.shape().endpoints == Endpoints::Slices {
        let _ = write!(
            out,
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {app}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {app}}}}}
addressType: IPv4
ports:
- {{name: http, port: 8080, protocol: TCP}}
endpoints:{addresses}
"
        );
    }
    out
}

/// The same documents, without the last endpoint of the slice that ends them.
pub(super) fn without_last_endpoint(text: &str) -> String {
    text.rsplit_once("\n- addresses:").map_or_else(|| text.to_owned(), |(before, _)| format!("{before}\n"))
}

/// The routing of one service: `percent` to its first version, the rest to the second.
pub(super) fn virtual_service(mesh: &Mesh, service: usize, percent: usize) -> String {
    let (app, namespace) = (name(service), mesh.namespace(service));
    let rest = 100 - percent;
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {app}, namespace: {namespace}}}
spec:
  hosts: [{app}.{namespace}.svc.cluster.local]
  http:
  - route:
    - destination: {{host: {app}.{namespace}.svc.cluster.local, subset: v1}}
      weight: {percent}
    - destination: {{host: {app}.{namespace}.svc.cluster.local, subset: v2}}
      weight: {rest}
"
    )
}

/// What people keep beside it, and no mesh reads.
pub(super) fn application(number: usize) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: team-0}}
data: {{colour: \"{number}\"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: application, namespace: team-0}}
spec: {{replicas: {number}}}
"
    )
}
