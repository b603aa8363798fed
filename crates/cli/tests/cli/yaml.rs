//! The files that the tests serve, and folders of them.

use anyhow::Result;
use tempfile::TempDir;

/// A Service `reviews` on port 9080 with two workloads.
pub(crate) const APP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v2}
spec: {address: 10.0.0.2, labels: {app: reviews, version: v2}}
";

/// Its subsets v1 and v2.
pub(crate) const RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

/// Its route, 90 to v1 and 10 to v2.
pub(crate) const ROUTE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
      weight: 90
    - destination: {host: reviews, subset: v2}
      weight: 10
";

/// [`ROUTE`] with a weight, in line 9, that is no number.
pub(crate) fn broken_route() -> String {
    ROUTE.replace("weight: 90", "weight: most")
}

/// A folder of these files.
pub(crate) fn folder(files: &[(&str, &str)]) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("meltemi-cli-").tempdir()?;
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

/// The app with its rule and route.
pub(crate) fn reviews() -> Result<TempDir> {
    folder(&[("app.yaml", APP), ("route.yaml", ROUTE), ("rule.yaml", RULE)])
}
