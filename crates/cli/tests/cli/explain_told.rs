//! `meltemi explain`: what proxies tell of a request, which rule a connection follows, and what stands between: a Sidecar, an EnvoyFilter.

use anyhow::Result;
use tempfile::TempDir;

use crate::program::{ended, text};
use crate::yaml::folder;

const APP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.0.0.5
  selector: {app: cart}
  ports: [{name: http, port: 80}, {name: tcp, port: 3306}, {name: tls, port: 443}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, namespace: shop}
spec: {address: 10.1.0.1, serviceAccount: cart, labels: {app: cart, security.istio.io/tlsMode: istio}}
---
apiVersion: v1
kind: Service
metadata: {name: otel, namespace: observe}
spec: {clusterIP: 10.0.0.9, ports: [{name: grpc, port: 4317}]}
";

const TELEMETRY: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    extensionProviders:
    - name: spans
      opentelemetry: {service: otel.observe.svc.cluster.local, port: 4317}
    - name: lines
      envoyOtelAls: {service: otel.observe.svc.cluster.local, port: 4317}
    defaultConfig: {tracing: {sampling: 5}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec:
  tracing: [{providers: [{name: spans}]}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  accessLogging:
  - providers: [{name: envoy}, {name: lines}]
    filter: {expression: response.code >= 500}
  metrics:
  - overrides: [{match: {metric: REQUEST_SIZE}, disabled: true}]
  tracing: [{disableSpanReporting: true}]
";

const CONNECTIONS: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  tcp:
  - match: [{port: 3306, sourceLabels: {app: old}}]
    route: [{destination: {host: cart, port: {number: 80}}}]
  - match: [{port: 3307}, {port: 3306}]
    route: [{destination: {host: cart, port: {number: 3306}}}]
  tls:
  - match: [{port: 443, sniHosts: [cart]}]
    route: [{destination: {host: cart, port: {number: 443}}}]
";

const BETWEEN: &str = "\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: web, namespace: web}
spec: {egress: [{hosts: [shop/*]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: cart, namespace: shop}
spec: {workloadSelector: {labels: {app: cart}}, inboundConnectionPool: {http: {http1MaxPendingRequests: 10}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow, namespace: web}
spec:
  configPatches:
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: \"cart.shop.svc.cluster.local:80\"}}}
    patch: {operation: MERGE, value: {route: {timeout: 7s}}}
";

async fn explained(folder: &TempDir, more: &[&str]) -> Result<String> {
    let base = ["explain", "--config", text(folder.path())?];
    let ended = ended(&[base.as_slice(), more].concat()).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Ok(ended.stdout)
}

/// The page from a section on to another one.
fn part<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let from = page.find(&format!("\n{from}")).map_or(0, |at| at + 1);
    &page[from..page.find(&format!("\n{to}")).map_or(page.len(), |at| at + 1)]
}

#[tokio::test]
async fn logs_metrics_and_traces_are_told_for_both_sides_with_who_says_so() -> Result<()> {
    let folder = folder(&[("app.yaml", APP), ("telemetry.yaml", TELEMETRY)])?;
    let page = explained(&folder, &["--from", "web-1.web", "GET", "http://cart.shop/"]).await?;
    let expected = "\
Logs      sender: to /dev/stdout
            by the mesh's settings
          10.1.0.1:80: to /dev/stdout where response.code >= 500 and to otel.observe.svc.cluster.local by OpenTelemetry where response.code >= 500
            by Telemetry shop/cart, spec.accessLogging (FOLDER/telemetry.yaml:25)
Metrics   sender: counted
          10.1.0.1:80: counted, without istio_request_bytes
            by Telemetry shop/cart, spec.metrics (FOLDER/telemetry.yaml:28)
Traces    sender: 5 % of the requests that nobody has decided about, to otel.observe.svc.cluster.local by opentelemetry
            by Telemetry istio-system/mesh, spec.tracing (FOLDER/telemetry.yaml:18)
          10.1.0.1:80: none
            by Telemetry istio-system/mesh, spec.tracing (FOLDER/telemetry.yaml:18) and Telemetry shop/cart, spec.tracing (FOLDER/telemetry.yaml:30)
";
    assert_eq!(part(&page, "Logs", "Sees"), expected.replace("FOLDER", text(folder.path())?), "{page}");

    let request = ["--from", "web-1.web", "-o", "json", "GET", "http://cart.shop/"];
    let all: serde_json::Value = serde_json::from_str(&explained(&folder, &request).await?)?;
    let reports = &all["way"]["reports"];
    assert_eq!(reports["logs"], serde_json::json!([{"kind": "file", "to": "/dev/stdout"}]));
    let to = "outbound|4317||otel.observe.svc.cluster.local";
    let tracing = serde_json::json!({"tracer": "envoy.tracers.opentelemetry", "cluster": to, "share": 5.0});
    assert_eq!(reports["tracing"], tracing);
    assert_eq!(all["telemetry"]["traces"][0]["name"], "mesh");
    let receiver = &all["receivers"][0];
    assert_eq!(receiver["way"]["reports"]["logs"][1]["only"], "response.code >= 500");
    assert_eq!(receiver["telemetry"]["logs"][0]["place"]["line"], 25);

    // A rule for the other side has no word in it.
    let for_callers =
        TELEMETRY.replace("tracing: [{providers", "tracing: [{match: {mode: SERVER}, providers");
    std::fs::write(folder.path().join("telemetry.yaml"), for_callers)?;
    let page = explained(&folder, &["--from", "web-1.web", "GET", "http://cart.shop/"]).await?;
    assert!(part(&page, "Traces", "Sees").starts_with("Traces    sender: none\n          10."), "{page}");
    Ok(())
}

#[tokio::test]
async fn metrics_that_nobody_asks_for_are_told() -> Result<()> {
    let off = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: \"defaultProviders: {metrics: []}\"}\n";
    let folder = folder(&[("app.yaml", &format!("{APP}{off}"))])?;
    let page = explained(&folder, &["--from", "web-1.web", "GET", "http://cart.shop/"]).await?;
    assert_eq!(part(&page, "Metrics", "Traces"), "Metrics   both sides: not counted\n", "{page}");
    Ok(())
}

#[tokio::test]
async fn the_rule_that_a_connection_follows_is_told_with_its_line() -> Result<()> {
    let folder = folder(&[("app.yaml", APP), ("rules.yaml", CONNECTIONS)])?;
    let file = text(folder.path())?;
    for (sender, url, rule) in [
        (&["--from", "web-1.web"][..], "tcp://cart.shop:3306", Some(("spec.tcp[1].match[1]", 9))),
        (
            &["--from", "web-1.web", "--label", "app=old"],
            "tcp://cart.shop:3306",
            Some(("spec.tcp[0].match[0]", 7)),
        ),
        (&["--from", "web-1.shop"], "https://cart/", Some(("spec.tls[0].match[0]", 12))),
        (&["--from", "web-1.web"], "https://cart.shop/", None),
        (&["--from", "web-1.web"], "http://cart.shop/", None),
    ] {
        let page = explained(&folder, &[sender, &["GET", url]].concat()).await?;
        let told: Vec<&str> = page.lines().filter(|line| line.starts_with("Rule ")).collect();
        let wanted = rule.map(|(field, line)| {
            format!("Rule      VirtualService shop/cart, {field} ({file}/rules.yaml:{line})")
        });
        assert_eq!(told, wanted.iter().map(String::as_str).collect::<Vec<_>>(), "{url}: {page}");
    }
    let request = ["--from", "web-1.web", "-o", "json", "GET", "tcp://cart.shop:3306"];
    let all: serde_json::Value = serde_json::from_str(&explained(&folder, &request).await?)?;
    let rule = &all["connection_rule"];
    assert_eq!((&rule["field"], &rule["place"]["line"]), (&"spec.tcp[1].match[1]".into(), &9.into()));
    Ok(())
}

#[tokio::test]
async fn a_sidecar_and_a_patch_on_the_way_are_told_on_both_sides() -> Result<()> {
    let folder = folder(&[("app.yaml", APP), ("between.yaml", BETWEEN)])?;
    let file = text(folder.path())?;
    let page = explained(&folder, &["--from", "web-1.web", "GET", "http://cart.shop/"]).await?;
    for line in [
        format!("          sees what Sidecar web/web ({file}/between.yaml:1) lists\n"),
        format!("            takes what Sidecar shop/cart ({file}/between.yaml:6) says\n"),
        "\nTimeout   7s for all tries together\n".to_owned(),
        format!(
            "\nPatched   virtual host cart.shop.svc.cluster.local:80, by EnvoyFilter web/slow ({file}/between.yaml:11)\n"
        ),
    ] {
        assert!(page.contains(&line), "{line}\n{page}");
    }
    // Whom neither is for has neither.
    let page = explained(&folder, &["--from", "other-1.other", "GET", "http://cart.shop/"]).await?;
    assert!(!page.contains("sees what") && !page.contains("Patched"), "{page}");
    assert!(page.contains("\nTimeout   none\n"), "{page}");
    let request = ["--from", "web-1.web", "-o", "json", "GET", "http://cart.shop/"];
    let all: serde_json::Value = serde_json::from_str(&explained(&folder, &request).await?)?;
    assert_eq!(all["sidecar"]["name"], "web");
    assert_eq!(all["receivers"][0]["sidecar"]["name"], "cart");
    assert_eq!(all["patched"][0]["by"][0]["name"], "slow");
    Ok(())
}
