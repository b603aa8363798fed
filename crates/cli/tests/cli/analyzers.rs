//! Codes of `meltemi analyze` that look at several kinds: each with an input that has it, its place, and the input put right.

use anyhow::{Context, Result};

use crate::program::{ended, text};
use crate::yaml::{APP, RULE, folder};

/// Code and line of what is told of this beside the app and its rule; what has no line is at 0.
async fn told(more: &str) -> Result<Vec<(String, u64)>> {
    let folder = folder(&[("app.yaml", APP), ("rule.yaml", RULE), ("more.yaml", more)])?;
    let report = ended(&["analyze", "--config", text(folder.path())?, "-o", "json"]).await?.json()?;
    let items = report["items"].as_array().context("items")?;
    let of = |item: &serde_json::Value| {
        let is_here = item["file"].as_str().is_some_and(|file| file.ends_with("more.yaml"));
        Some((item["code"].as_str()?.to_owned(), if is_here { item["line"].as_u64()? } else { 0 }))
    };
    Ok(items.iter().filter_map(of).collect())
}

/// A code, where it stands in the input, and what is written instead of what so that it goes.
struct Case {
    code: &'static str,
    lines: &'static [u64],
    input: &'static str,
    wrong: &'static str,
    right: &'static str,
}

async fn check(cases: &[Case]) -> Result<()> {
    for Case { code, lines, input, wrong, right } in cases {
        assert!(input.contains(wrong), "{code}: {wrong}");
        let of = |told: Vec<(String, u64)>| {
            let own = told.into_iter().filter(|(found, _)| found == code);
            own.map(|(_, line)| line).collect::<Vec<u64>>()
        };
        assert_eq!(of(told(input).await?), *lines, "{code} of\n{input}");
        let right = input.replacen(wrong, right, 1);
        assert_eq!(of(told(&right).await?), Vec::<u64>::new(), "{code} of\n{right}");
    }
    Ok(())
}

const INJECTED: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata:
  name: cart-1
  namespace: shop
  labels: {app: cart}
spec:
  containers: [{name: cart}]
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  annotations:
    proxy.istio.io/config: 'concurrency: 1'
spec:
  template:
    metadata:
      annotations:
        sidecar.istio.io/interceptionMode: redirect
    spec:
      containers:
      - name: cart
        securityContext:
          runAsUser: 1337
";

#[tokio::test]
async fn pods_and_deployments_are_looked_at() -> Result<()> {
    check(&[
        Case {
            code: "IST0103",
            lines: &[8],
            input: INJECTED,
            wrong: "{name: cart}]",
            right: "{name: istio-proxy}]",
        },
        Case { code: "IST0103", lines: &[8], input: INJECTED, wrong: "enabled", right: "disabled" },
        Case {
            code: "IST0103",
            lines: &[8],
            input: INJECTED,
            wrong: "labels: {app: cart}",
            right: "labels: {app: cart, sidecar.istio.io/inject: \"false\"}",
        },
        Case {
            code: "IST0144",
            lines: &[9],
            input: "apiVersion: v1
kind: Pod
metadata:
  name: cart-1
spec:
  containers:
  - name: cart
    securityContext:
      runAsUser: 1337
",
            wrong: "name: cart\n    s",
            right: "name: istio-proxy\n    s",
        },
        Case { code: "IST0144", lines: &[16], input: DEPLOYMENT, wrong: "1337", right: "1000" },
        Case {
            code: "IST0107",
            lines: &[6],
            input: DEPLOYMENT,
            wrong: "proxy.istio.io/config: 'concurrency: 1'",
            right: "example.com/note: none",
        },
        Case {
            code: "IST0107",
            lines: &[4],
            input: "apiVersion: v1
kind: Service
metadata:
  annotations: {sidecar.istio.io/inject: \"true\"}
  name: cart
spec: {ports: [{name: http, port: 80}]}
",
            wrong: "sidecar.istio.io/inject: \"true\"",
            right: "networking.istio.io/exportTo: \".\"",
        },
        Case {
            code: "IST0135",
            lines: &[5],
            input: "apiVersion: v1
kind: Pod
metadata:
  name: cart-1
  annotations: {sidecar.istio.io/inject: \"true\"}
spec: {containers: []}
",
            wrong: "spec:",
            right: "  labels: {sidecar.istio.io/inject: \"true\"}\nspec:",
        },
        Case { code: "IST0125", lines: &[11], input: DEPLOYMENT, wrong: "redirect", right: "REDIRECT" },
        Case {
            code: "IST0108",
            lines: &[4],
            input: "apiVersion: v1
kind: Namespace
metadata:
  annotations: {networking.istio.io/trafficDistribution: PreferClose}
  name: shop
",
            wrong: "trafficDistribution",
            right: "traffic-distribution",
        },
    ])
    .await
}

/// A Deployment in a namespace that says nothing of injection, behind two Services.
const DEPLOYED: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: web}
spec: {template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: web}
spec: {selector: {app: web}, ports: [{name: http, port: 81, targetPort: 8080}]}
";

#[tokio::test]
async fn deployments_count_as_the_pods_that_they_make() -> Result<()> {
    check(&[
        Case { code: "IST0137", lines: &[7], input: DEPLOYED, wrong: "port: 81", right: "port: 80" },
        Case {
            code: "IST0102",
            lines: &[3],
            input: DEPLOYED,
            wrong: "{name: web}",
            right: "{name: web, labels: {istio-injection: disabled}}",
        },
        Case {
            code: "IST0102",
            lines: &[3],
            input: DEPLOYED,
            wrong: "namespace: web",
            right: "namespace: other",
        },
    ])
    .await
}

#[tokio::test]
async fn a_deployment_is_named_and_may_say_what_is_not_to_be_told() -> Result<()> {
    let folder = folder(&[("app.yaml", APP), ("rule.yaml", RULE), ("more.yaml", DEPLOYMENT)])?;
    let path = text(folder.path())?;
    let page = ended(&["analyze", "--config", path]).await?.stdout;
    let line =
        format!("warning [IST0107 MisplacedAnnotation] {path}/more.yaml:6:28: Deployment default/cart: ");
    assert!(
        page.contains(&line) && page.contains("put it into spec.template.metadata.annotations"),
        "{page}"
    );
    let page = ended(&["analyze", "--config", path, "-S", "IST0107=Deployment cart.default"]).await?.stdout;
    assert!(!page.contains("IST0107") && page.contains("IST0144"), "{page}");
    let own =
        DEPLOYMENT.replacen("annotations:", "annotations:\n    galley.istio.io/analyze-suppress: IST0107", 1);
    std::fs::write(folder.path().join("more.yaml"), own)?;
    let page = ended(&["analyze", "--config", path]).await?.stdout;
    assert!(!page.contains("IST0107") && page.contains("IST0144"), "{page}");
    Ok(())
}

const ENTRY: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  resolution: DNS
  location: MESH_EXTERNAL
  ports:
  - {number: 5432, name: tcp, protocol: TCP}
";

const TWO_ENTRIES: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec:
  hosts: [api.example.com]
  resolution: DNS
  ports: [{number: 443, name: https, protocol: HTTPS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two}
spec:
  hosts: [api.example.com]
  exportTo: [.]
  resolution: DNS
  ports: [{number: 443, name: http, protocol: HTTP}]
";

const CAPTURED: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig:
      proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}
";

#[tokio::test]
async fn entries_are_looked_at() -> Result<()> {
    check(&[
        Case {
            code: "IST0134",
            lines: &[9],
            input: ENTRY,
            wrong: "  ports:",
            right: "  addresses: [240.1.2.3]\n  ports:",
        },
        Case { code: "IST0134", lines: &[9], input: ENTRY, wrong: "protocol: TCP", right: "protocol: TLS" },
        Case { code: "IST0177", lines: &[7, 16], input: TWO_ENTRIES, wrong: "HTTPS}", right: "HTTP}" },
        Case {
            code: "IST0177",
            lines: &[7, 16],
            input: TWO_ENTRIES,
            wrong: "  resolution: DNS\n",
            right: "  exportTo: [elsewhere]\n  resolution: DNS\n",
        },
        Case {
            code: "IST0171",
            lines: &[8],
            input: "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec: {address: 10.0.0.7}
status:
  conditions:
  # Istio's ambient mesh says this.
  - {type: istio.io/WaypointBound, status: \"False\", reason: NoWaypoint, message: none of that name}
",
            wrong: "\"False\"",
            right: "\"True\"",
        },
    ])
    .await?;
    let captured = told(&format!("{ENTRY}{CAPTURED}")).await?;
    assert!(captured.iter().all(|(code, _)| code != "IST0134"), "{captured:?}");
    Ok(())
}

const FILTER: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.buffer
        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 5000}
";

const VERSIONED: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: a-old}
spec:
  priority: 1
  configPatches:
  - applyTo: HTTP_FILTER
    match: {proxy: {proxyVersion: '^1\\.29'}, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}
    patch:
      operation: INSERT_BEFORE
      value: &buffer
        name: envoy.filters.http.buffer
        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 5000}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: b-new}
spec:
  priority: 0
  configPatches:
  - applyTo: HTTP_FILTER
    match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.buffer
        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 9000}
";

const ROUTES: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: routes}
spec:
  configPatches:
  - applyTo: ROUTE_CONFIGURATION
    match: {routeConfiguration: {name: \"9080\"}}
    patch:
      operation: ADD
      value: {name: other}
";

#[tokio::test]
async fn patches_are_looked_at() -> Result<()> {
    check(&[
        Case {
            code: "IST0151",
            lines: &[9],
            input: FILTER,
            wrong: "spec:\n",
            right: "spec:\n  priority: 10\n",
        },
        Case { code: "IST0151", lines: &[9], input: FILTER, wrong: "INSERT_BEFORE", right: "INSERT_FIRST" },
        Case { code: "IST0155", lines: &[24], input: VERSIONED, wrong: "priority: 0", right: "priority: 2" },
        Case {
            code: "IST0155",
            lines: &[24],
            input: VERSIONED,
            wrong: "{proxy: {proxyVersion: '^1\\.29'}, ",
            right: "{",
        },
        Case { code: "IST0153", lines: &[9], input: ROUTES, wrong: "ADD", right: "MERGE" },
        Case {
            code: "IST0154",
            lines: &[9],
            input: "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: routes}
spec:
  configPatches:
  - applyTo: ROUTE_CONFIGURATION
    match: {routeConfiguration: {name: \"9080\"}}
    patch:
      operation: REMOVE
",
            wrong: "- applyTo: ROUTE_CONFIGURATION",
            right: "- applyTo: HTTP_ROUTE",
        },
        Case {
            code: "IST0152",
            lines: &[9],
            input: "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: clusters}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {cluster: {service: reviews.default.svc.cluster.local}}
    patch:
      operation: REPLACE
      value: {connect_timeout: 1s}
",
            wrong: "REPLACE",
            right: "MERGE",
        },
    ])
    .await?;
    // Told once, by Istio's code alone.
    let all = told(ROUTES).await?;
    assert_eq!(all, [("IST0153".to_owned(), 9)]);
    Ok(())
}

const EDGE: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: edge-1, labels: {istio: edge}}
spec: {containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.0.0.8, podIPs: [{ip: 10.0.0.8}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  selector: {istio: edge}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: edge}
  servers:
  - hosts: [shop.example.com]
    port: {number: 8443, name: http, protocol: HTTP}
";

const TWO_GATEWAYS: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  selector: {istio: edge}
  servers:
  - hosts: [one.example.com]
    port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: wild}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {istio: edge}
  servers:
  - hosts: [two.example.com]
    port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: wild}
";

#[tokio::test]
async fn gateways_are_looked_at() -> Result<()> {
    check(&[
        Case { code: "IST0162", lines: &[21], input: EDGE, wrong: "8443", right: "8080" },
        Case { code: "IST0162", lines: &[21], input: EDGE, wrong: "8443", right: "80" },
        Case {
            code: "IST0101",
            lines: &[14],
            input: "apiVersion: v1
kind: Pod
metadata: {name: edge-1, labels: {istio: other}}
spec: {containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.0.0.8, podIPs: [{ip: 10.0.0.8}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - hosts: [shop.example.com]
    port: {number: 8080, name: http, protocol: HTTP}
  selector: {istio: edge}
",
            wrong: "{istio: other}",
            right: "{istio: edge}",
        },
        Case {
            code: "IST0138",
            lines: &[9, 19],
            input: TWO_GATEWAYS,
            wrong: "credentialName: wild",
            right: "credentialName: own",
        },
    ])
    .await
}

const TWO_TELEMETRIES: &str = "\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: one}
spec:
  selector: {matchLabels: {app: reviews}}
  accessLogging: [{providers: [{name: envoy}]}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: two}
spec:
  selector: {matchLabels: {version: v1}}
  accessLogging: [{disabled: true}]
";

const TO_NOBODY: &str = "\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs}
spec:
  accessLogging:
  - filter: {expression: response.code >= 500}
";

const ABOVE: &str = "---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
";

#[tokio::test]
async fn telemetries_are_looked_at() -> Result<()> {
    check(&[
        Case {
            code: "IST0159",
            lines: &[5, 12],
            input: TWO_TELEMETRIES,
            wrong: "version: v1",
            right: "app: other",
        },
        Case {
            code: "IST0101",
            lines: &[6],
            input: "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: one}
spec:
  accessLogging: [{providers: [{name: envoy}]}]
  selector: {matchLabels: {app: nobody}}
",
            wrong: "app: nobody",
            right: "app: reviews",
        },
        Case {
            code: "IST0157",
            lines: &[6],
            input: TO_NOBODY,
            wrong: "- filter:",
            right: "- providers: [{name: envoy}]\n    filter:",
        },
        Case {
            code: "IST0157",
            lines: &[6],
            input: TO_NOBODY,
            wrong: "- filter:",
            right: "- disabled: true\n    filter:",
        },
    ])
    .await?;
    let named_above = told(&format!("{TO_NOBODY}{ABOVE}")).await?;
    assert!(named_above.iter().all(|(code, _)| code != "IST0157"), "{named_above:?}");
    Ok(())
}
