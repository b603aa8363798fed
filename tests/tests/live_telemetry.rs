//! What proxies tell of the traffic, as Telemetries say: logs of one workload and not of another, traces that go through both sidecars of a
//! call, metrics and labels that are not counted. With real Envoys in pods; needs root.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use libtest_mimic::Arguments;
use meltemi_testkit::envoy::Envoy;
use meltemi_testkit::http::Request;
use meltemi_testkit::netns::available;
use meltemi_tests::live::pods::{Mesh, SERVICE};
use meltemi_tests::live::{eventually, rule};
use meltemi_tests::not_run;
use serde_json::Value;
use tokio::net::TcpListener;

fn main() {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let lacks = missing.is_some();
    let trials = vec![not_run::trial(
        "proxies_tell_of_traffic_what_telemetries_say",
        || not_run::within(Duration::from_secs(400), told()),
        lacks,
    )];
    not_run::run(&Arguments::from_args(), trials, missing.as_deref()).exit();
}

/// A collector of Zipkin's spans, on this machine.
struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    async fn start(address: std::net::IpAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let port = listener.local_addr()?.port();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let take = |State(spans): State<Arc<Mutex<Vec<Value>>>>, Json(came): Json<Vec<Value>>| async move {
            spans.lock().unwrap_or_else(PoisonError::into_inner).extend(came);
        };
        let router = Router::new().route("/api/v2/spans", post(take)).with_state(Arc::clone(&spans));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { port, spans })
    }

    /// The spans that have that tag, and all of their traces.
    fn traces_of(&self, user: &str) -> Vec<Value> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let traces: Vec<&Value> =
            spans.iter().filter(|span| span["tags"]["user"] == user).map(|span| &span["traceId"]).collect();
        spans.iter().filter(|span| traces.contains(&&span["traceId"])).cloned().collect()
    }
}

/// Settings whose providers are a log in JSON, and the collector.
fn settings(collector: &Collector, address: std::net::IpAddr) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: json
      envoyFileAccessLog: {{path: /dev/stdout, logFormat: {{labels: {{status: '%RESPONSE_CODE%', mark: '%REQ(X-MARK)%'}}}}}}
    - name: zipkin
      zipkin: {{service: collector.default.svc.cluster.local, port: 9411}}
---
apiVersion: v1
kind: Service
metadata: {{name: collector, namespace: default}}
spec: {{clusterIP: 10.96.0.20, selector: {{app: collector}}, ports: [{{name: http-zipkin, port: 9411}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: collector, namespace: default}}
spec: {{address: {address}, labels: {{app: collector}}, ports: {{http-zipkin: {}}}}}
",
        collector.port
    )
}

fn telemetry(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
    )
}

/// The objects of an Envoy's access log that are of such a mark.
fn logged(envoy: &Envoy, mark: &str) -> Vec<Value> {
    let log = envoy.access_log();
    let objects = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(|object| object["mark"] == mark).collect()
}

/// The series of a metric as the agent's page has them.
async fn series(envoy: &Envoy, metric: &str) -> Result<Vec<String>> {
    let text = meltemi_telemetry::spread(&envoy.admin().text("/stats/prometheus").await?);
    let lines = text.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    Ok(lines.filter(|line| line.contains("destination_service_name=\"myapp\"")).map(str::to_owned).collect())
}

fn sum(series: &[String]) -> Result<f64> {
    let values = series
        .iter()
        .map(|line| line.rsplit(' ').next().context("a value")?.parse::<f64>().context("a number"));
    values.sum()
}

async fn send(mesh: &Mesh, request: Request, status: u16) -> Result<()> {
    let answer = request.host("myapp").send_through(&mesh.client.pod.connector(), SERVICE).await?;
    ensure!(answer.status == status, "{answer:?}");
    Ok(())
}

async fn told() -> Result<()> {
    let mesh = Mesh::start().await?;
    let address = mesh.server.addresses().xds.ip();
    let collector = Collector::start(address).await?;
    mesh.save("mesh.yaml", &settings(&collector, address)).await?;
    // A connection between sidecars goes on as its listener was when it was made; so each request has one of its own.
    let policy = "{connectionPool: {http: {maxRequestsPerConnection: 1}}}";
    mesh.save("rule.yaml", &rule("myapp", &["v1", "v2"], policy)).await?;
    logs(&mesh).await.context("logs")?;
    traces(&mesh, &collector).await.context("traces")?;
    metrics(&mesh).await.context("metrics")?;
    mesh.end().await
}

/// The caller logs what failed, and nobody else anything.
async fn logs(mesh: &Mesh) -> Result<()> {
    let spec = "{selector: {matchLabels: {app: client}}, accessLogging: [{providers: [{name: json}], filter: {expression: 'response.code >= 500'}}]}";
    mesh.save("log.yaml", &telemetry("log", spec)).await?;
    let marked = |mark: &str| Request::get("/").header("x-mark", mark);
    for _ in 0..3 {
        send(mesh, marked("one"), 200).await?;
        send(mesh, marked("one").header("x-app-status", "503"), 503).await?;
    }
    eventually(async || {
        let lines = logged(&mesh.client.envoy, "one");
        ensure!(lines.len() == 3 && lines.iter().all(|line| line["status"] == 503), "{lines:?}");
        Ok(())
    })
    .await?;
    // Those of the other side had the same time, and their turn comes now: what they write of this comes after what they had written.
    let spec = "{selector: {matchLabels: {app: myapp}}, accessLogging: [{providers: [{name: json}], match: {mode: SERVER}}]}";
    mesh.save("log.yaml", &telemetry("log", spec)).await?;
    for _ in 0..20 {
        send(mesh, marked("two"), 200).await?;
    }
    eventually(async || {
        let of = |sidecar: usize| logged(&mesh.servers[sidecar].envoy, "two").len();
        ensure!(of(0) + of(1) == 20, "{} and {}", of(0), of(1));
        Ok(())
    })
    .await?;
    for sidecar in &mesh.servers {
        ensure!(logged(&sidecar.envoy, "one").is_empty(), "{}", sidecar.envoy.access_log());
    }
    ensure!(logged(&mesh.client.envoy, "two").is_empty(), "{}", mesh.client.envoy.access_log());
    Ok(())
}

/// A trace goes through both sidecars, with Istio's tags and one of a header; and none is begun where none is to be.
async fn traces(mesh: &Mesh, collector: &Collector) -> Result<()> {
    let of = |share: u32| {
        let spec = format!(
            "{{tracing: [{{providers: [{{name: zipkin}}], randomSamplingPercentage: {share}, customTags: {{user: {{header: {{name: x-user}}}}}}}}]}}"
        );
        telemetry("trace", &spec)
    };
    let by = |user: &str| Request::get("/").header("x-user", user);
    mesh.save("trace.yaml", &of(100)).await?;
    send(mesh, by("ann"), 200).await?;
    eventually(async || {
        let spans = collector.traces_of("ann");
        let kind = |kind: &str| {
            spans.iter().find(|span| span["kind"] == kind).with_context(|| format!("{kind}: {spans:?}"))
        };
        let (client, server) = (kind("CLIENT")?, kind("SERVER")?);
        ensure!(client["traceId"] == server["traceId"], "{spans:?}");
        ensure!(server["parentId"] == client["id"], "{spans:?}");
        ensure!(
            client["localEndpoint"]["serviceName"].as_str().is_some_and(|name| !name.is_empty()),
            "{client}"
        );
        for span in [client, server] {
            let tags = &span["tags"];
            ensure!(tags["user"] == "ann" && tags["istio.namespace"] == "default", "{span}");
            ensure!(tags["istio.canonical_revision"] == "latest", "{span}");
            ensure!(tags["istio.mesh_id"] == "unknown", "{span}");
        }
        Ok(())
    })
    .await?;
    mesh.save("trace.yaml", &of(0)).await?;
    for _ in 0..20 {
        send(mesh, by("bob"), 200).await?;
    }
    mesh.save("trace.yaml", &of(100)).await?;
    send(mesh, by("eve"), 200).await?;
    eventually(async || {
        let spans = collector.traces_of("eve");
        ensure!(spans.len() >= 2, "{spans:?}");
        Ok(())
    })
    .await?;
    let spans = collector.traces_of("bob");
    ensure!(spans.is_empty(), "{spans:?}");
    Ok(())
}

/// A metric of the caller is not counted, labels are not there or are set, and the other side counts as before.
async fn metrics(mesh: &Mesh) -> Result<()> {
    let spec = "{metrics: [{providers: [{name: prometheus}], overrides: [\
        {match: {mode: CLIENT, metric: REQUEST_COUNT}, disabled: true}, \
        {match: {mode: SERVER, metric: REQUEST_COUNT}, tagOverrides: {destination_app: {operation: REMOVE}, response_flags: {operation: REMOVE}, way: {value: request.method}}}]}]}";
    // One counts for all of a namespace: this takes the place of the one before.
    mesh.save("trace.yaml", &telemetry("trace", spec)).await?;
    let before = sum(&series(&mesh.client.envoy, "istio_requests_total").await?)?;
    for _ in 0..30 {
        send(mesh, Request::get("/"), 200).await?;
    }
    eventually(async || {
        let mut of_way = 0.0;
        for sidecar in &mesh.servers {
            let series = series(&sidecar.envoy, "istio_requests_total").await?;
            let with: Vec<String> = series.into_iter().filter(|line| line.contains("way=\"GET\"")).collect();
            for line in &with {
                for gone in ["destination_app=", "response_flags=", "istio_"] {
                    let labels = line.split_once('{').map_or("", |(_, labels)| labels);
                    ensure!(!labels.contains(gone), "{gone} in {line}");
                }
                ensure!(
                    line.contains("destination_version=") && line.contains("response_code=\"200\""),
                    "{line}"
                );
            }
            of_way += sum(&with)?;
        }
        ensure!(of_way >= 30.0, "{of_way} requests were counted by the label");
        Ok(())
    })
    .await?;
    let after = sum(&series(&mesh.client.envoy, "istio_requests_total").await?)?;
    // What was on its way while that came into force may count.
    ensure!(after - before < 30.0, "{before} before, {after} after");
    let durations = series(&mesh.client.envoy, "istio_request_bytes_count").await?;
    ensure!(!durations.is_empty(), "others are counted as before");
    Ok(())
}
