//! The metrics of traffic, from real Envoys on both sides of a call, counted against what the apps counted; and a real Prometheus that
//! answers what people ask it before they go on with a release.
//!
//! Needs root, and for the second test Prometheus. What is missing is reported as ignored, says NOT RUN, and is not counted as passed.

#[path = "live_metrics/dashboards.rs"]
mod dashboards;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Arguments;
use meltemi_testkit::envoy::{Admin, Envoy};
use meltemi_testkit::http::{App, Request};
use meltemi_testkit::netns::available;
use meltemi_tests::live::eventually;
use meltemi_tests::live::pods::{Mesh, TARGET};
use meltemi_tests::live::prometheus::{Door, Prometheus, program};
use meltemi_tests::not_run;

/// A service that is called without anyone knowing what it speaks.
const RAW: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11)), 9000);

type Test = fn() -> Result<()>;

fn main() {
    let network = available().err().map(|missing| format!("{missing:#}"));
    let prometheus = match program() {
        Some(_) => None,
        None => Some("there is no Prometheus: install `prometheus`, or set PROMETHEUS_BIN".to_owned()),
    };
    let tests: [(&str, Test, bool); 2] = [
        ("both_sides_count_what_the_apps_counted", || run(counted()), network.is_some()),
        (
            "prometheus_answers_what_a_release_is_judged_by",
            || run(asked()),
            network.is_some() || prometheus.is_some(),
        ),
    ];
    let trials = tests.map(|(name, test, lacks)| not_run::trial(name, test, lacks));
    not_run::run(&Arguments::from_args(), trials.into(), network.or(prometheus).as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    not_run::within(Duration::from_secs(400), test)
}

/// The sum of a counter's series in Envoy that have these labels, as they stand there.
async fn sum(envoy: &Envoy, metric: &str, labels: &[&str]) -> Result<u64> {
    let text = envoy.admin().text("/stats/prometheus").await?;
    let mut sum = 0;
    for line in text.lines().filter(|line| line.starts_with(&format!("envoy_{metric}{{"))) {
        if labels.iter().all(|label| line.contains(label)) {
            let value = line.rsplit(' ').next().context("a value")?;
            sum += value.parse::<u64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(sum)
}

/// How many requests an app saw that asked for that status.
fn seen(app: &App, status: &str) -> u64 {
    let asked = |request: &meltemi_testkit::http::Seen| {
        request.headers.get("x-app-status").map_or("200", String::as_str) == status
    };
    app.count(asked) as u64
}

async fn counted() -> Result<()> {
    let mesh = Mesh::start().await?;
    let failing = || Request::get("/").header("x-app-status", "500");
    mesh.load().requests(200).run().await.expect_all(200)?;
    mesh.load_of(failing()).requests(100).run().await.expect_all(500)?;
    let agree = async |mesh: &Mesh| -> Result<()> {
        for (name, app, sidecar) in [("v1", &mesh.v1, &mesh.servers[0]), ("v2", &mesh.v2, &mesh.servers[1])] {
            let who = format!("istio_destination=\"{name};default;myapp;{name};Kubernetes\"");
            let service = "istio_service=\"myapp.default.svc.cluster.local;myapp;default\"";
            ensure!(
                app.total() == seen(app, "200") + seen(app, "500"),
                "the app has seen too much to remember"
            );
            for code in ["200", "500"] {
                let expected = seen(app, code);
                ensure!(expected > 0, "{name} never answered {code}");
                let code = format!("response_code=\"{code}\"");
                let client = "istio_source=\"client;default;client;;Kubernetes\"";
                let labels = ["reporter=\"source\"", client, &who, service, &code, "response_flags=\"-\""];
                let source = sum(&mesh.client.envoy, "istio_requests_total", &labels).await?;
                let security = "connection_security_policy=\"none\"";
                let labels = ["reporter=\"destination\"", &who, service, &code, security];
                let destination = sum(&sidecar.envoy, "istio_requests_total", &labels).await?;
                ensure!(
                    source == expected && destination == expected,
                    "{name} {code}: {expected} at the app, {source} at the caller, {destination} at the callee"
                );
            }
        }
        Ok(())
    };
    eventually(|| agree(&mesh)).await?;

    // A listener that is replaced goes on counting where it stood.
    let settings = |mesh: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {mesh}\n"
        )
    };
    mesh.save("mesh.yaml", &settings("{accessLogFile: /dev/stdout, accessLogEncoding: JSON}")).await?;
    mesh.load().requests(50).run().await.expect_all(200)?;
    eventually(|| agree(&mesh)).await?;

    // Who is not known is so called; what a stranger says of itself is no label.
    let answer = mesh.get(mesh.stranger.address(), "stranger.example").await?;
    ensure!(answer.status == 200, "{answer:?}");
    eventually(async || {
        let labels = ["istio_service=\";PassthroughCluster;\""];
        let passed = sum(&mesh.client.envoy, "istio_requests_total", &labels).await?;
        ensure!(passed == 1, "{passed} requests to a stranger were counted");
        Ok(())
    })
    .await?;
    let text = mesh.client.envoy.admin().text("/stats/prometheus").await?;
    let named = text.lines().find(|line| line.contains("istio_") && line.contains("stranger.example"));
    ensure!(named.is_none(), "{named:?}");

    // Switched off: what is counted after this is no more than what was on its way while that came into force.
    let all = ["istio_service=\"myapp.default.svc.cluster.local;myapp;default\""];
    let before = mesh.v1.total() + mesh.v2.total();
    mesh.save("mesh.yaml", &settings("defaultProviders: {metrics: []}")).await?;
    let meanwhile = mesh.v1.total() + mesh.v2.total();
    mesh.load().requests(50).run().await.expect_all(200)?;
    let after = sum(&mesh.client.envoy, "istio_requests_total", &all).await?;
    ensure!(after <= meanwhile, "{before} requests, {meanwhile} until it was in force, and {after} counted");
    mesh.end().await
}

/// The configuration of a Prometheus that scrapes sidecars twice: as they are, with the rules for that, and spread by Meltemi.
fn config(door: SocketAddr, monitoring: SocketAddr) -> Result<String> {
    let rules =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/relabel.yaml"))?;
    let rules: String = rules.lines().map(|line| format!("  {line}\n")).collect();
    let targets = |form: &str| -> String {
        let target = |name: &str| {
            format!(
                "  - {{targets: ['{door}'], labels: {{__metrics_path__: /{form}/{name}, pod: {name}}}}}\n"
            )
        };
        ["client", "v1", "v2"].into_iter().map(target).collect()
    };
    Ok(format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
- job_name: raw
  static_configs:
{}  metric_relabel_configs:
{rules}- job_name: merged
  static_configs:
{}- job_name: meltemi
  static_configs: [{{targets: ['{monitoring}']}}]
",
        targets("raw"),
        targets("merged")
    ))
}

async fn asked() -> Result<()> {
    let mesh = Mesh::start().await?;
    mesh.save(
        "raw.yaml",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: raw, namespace: default}}\nspec:\n  clusterIP: {}\n  selector: {{app: myapp}}\n  ports: [{{name: tcp, port: {}, targetPort: {TARGET}}}]\n",
            RAW.ip(),
            RAW.port()
        ),
    )
    .await?;
    let sidecars = [("client", &mesh.client), ("v1", &mesh.servers[0]), ("v2", &mesh.servers[1])];
    let sidecars = sidecars.map(|(name, sidecar)| {
        (name.to_owned(), Admin::new(sidecar.envoy.admin().address(), sidecar.pod.connector()))
    });
    let door = Door::open(sidecars.into()).await?;
    let prometheus = Prometheus::start(&config(door.address, mesh.server.addresses().monitoring)?).await?;

    // A series that begins beside its first scrape begins with what it has then, for Prometheus: so each one is there first. With
    // enough in it that no rate is cut where the series would be at zero: that is done for each series apart, and bends a quotient.
    let failing = || Request::get("/").header("x-app-status", "500");
    let slow = || Request::get("/").header("x-app-delay-ms", "400");
    mesh.load().requests(300).run().await.expect_all(200)?;
    mesh.load_of(failing()).requests(120).run().await.expect_all(500)?;
    in_step(&prometheus, &mesh).await?;
    let first = [mesh.v1.total(), mesh.v2.total()];
    let first_failed = [seen(&mesh.v1, "500"), seen(&mesh.v2, "500")];
    let since = now()?;
    prometheus.until("min(timestamp(up)) and on() (min(up) == 1)", |scraped| scraped > since).await?;

    let mut longest = Duration::ZERO;
    for (load, status) in [
        (mesh.load().requests(400), 200),
        (mesh.load_of(failing()).requests(100), 500),
        (mesh.load_of(slow()).requests(80), 200),
    ] {
        let tally = load.run().await;
        tally.expect_all(status)?;
        longest = longest.max(tally.percentile(1.0));
    }
    in_step(&prometheus, &mesh).await?;

    let end = now()?;
    exact(&prometheus, &mesh).await?;
    same_by_both_ways(&prometheus).await?;

    // From before the load to its end: a scrape lies between `since` and the load, and one between the load and `end`.
    let window = format!("{:.0}ms", (end - since) * 1_000.0);
    let number = async |query: String| -> Result<Option<f64>> {
        let samples = prometheus.query_at(&query, end).await?;
        ensure!(samples.len() <= 1, "{query}: {samples:?}");
        Ok(samples.first().map(|(_, value)| *value))
    };
    let share = |version: usize| {
        let app = [&mesh.v1, &mesh.v2][version];
        let failed = seen(app, "500") - first_failed[version];
        failed as f64 / (app.total() - first[version]) as f64
    };
    for job in ["raw", "merged"] {
        // The article's: the share of errors of v2, and how long the slowest 1 % of its requests take.
        let of_v2 = format!(
            "job=\"{job}\",reporter=\"source\",destination_service=\"myapp.default.svc.cluster.local\",destination_version=\"v2\""
        );
        let errors = number(format!(
                "sum(rate(istio_requests_total{{{of_v2},response_code=~\"5.*\"}}[{window}])) / sum(rate(istio_requests_total{{{of_v2}}}[{window}]))"
            ))
            .await?;
        is_near(errors, share(1), "errors of v2")?;
        let p99 = number(format!(
                "histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{{{of_v2}}}[{window}])))"
            ))
            .await?;
        is_between(p99, longest, "p99 of v2")?;
        // Flagger's own, for both versions: request-success-rate and request-duration.
        for (index, workload) in ["v1", "v2"].into_iter().enumerate() {
            let of_it = format!(
                "job=\"{job}\",reporter=\"destination\",destination_workload_namespace=\"default\",destination_workload=~\"{workload}\""
            );
            let success = number(format!(
                    "sum(rate(istio_requests_total{{{of_it},response_code!~\"5.*\"}}[{window}])) / sum(rate(istio_requests_total{{{of_it}}}[{window}])) * 100"
                ))
                .await?;
            is_near(success, 100.0 * (1.0 - share(index)), "request-success-rate")?;
            let duration = number(format!(
                    "histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{{{of_it}}}[{window}])) by (le))"
                ))
                .await?;
            is_between(duration, longest, "request-duration")?;
        }
    }
    connections(&prometheus, &mesh).await?;
    dashboards::answer(&prometheus).await?;
    mesh.end().await
}

/// Seconds since 1970.
fn now() -> Result<f64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64())
}

/// Waits until Prometheus has seen all that the apps have, on both sides and by both ways, with how long it took.
async fn in_step(prometheus: &Prometheus, mesh: &Mesh) -> Result<()> {
    let total = (mesh.v1.total() + mesh.v2.total()) as f64;
    for job in ["raw", "merged"] {
        for reporter in ["source", "destination"] {
            let labels = format!("job=\"{job}\",reporter=\"{reporter}\",destination_service_name=\"myapp\"");
            for metric in ["istio_requests_total", "istio_request_duration_milliseconds_count"] {
                prometheus.until(&format!("sum({metric}{{{labels}}})"), |counted| counted == total).await?;
            }
        }
    }
    Ok(())
}

/// Counts by version and status are those of the apps.
async fn exact(prometheus: &Prometheus, mesh: &Mesh) -> Result<()> {
    for job in ["raw", "merged"] {
        for reporter in ["source", "destination"] {
            for (app, version) in [(&mesh.v1, "v1"), (&mesh.v2, "v2")] {
                for code in ["200", "500"] {
                    let counted = prometheus
                        .number(&format!(
                            "sum(istio_requests_total{{job=\"{job}\",reporter=\"{reporter}\",destination_version=\"{version}\",response_code=\"{code}\"}})"
                        ))
                        .await?;
                    let expected = seen(app, code) as f64;
                    ensure!(
                        counted == Some(expected),
                        "{job} {reporter} {version} {code}: {counted:?}, {expected} at the app"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Two connections that reach the app, as the caller's proxy counts them.
async fn connections(prometheus: &Prometheus, mesh: &Mesh) -> Result<()> {
    for _ in 0..2 {
        let answer = mesh.get(RAW, "anything").await?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    let labels = "job=\"merged\",reporter=\"source\",request_protocol=\"tcp\",destination_service=\"raw.default.svc.cluster.local\",destination_app=\"myapp\",source_app=\"client\"";
    for metric in ["istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"] {
        prometheus.until(&format!("sum({metric}{{{labels}}})"), |counted| counted == 2.0).await?;
    }
    for metric in ["istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"] {
        prometheus.until(&format!("sum({metric}{{{labels}}})"), |bytes| bytes > 50.0).await?;
    }
    Ok(())
}

/// Prometheus' own relabelling and Meltemi's spreading give the same series with the same values.
async fn same_by_both_ways(prometheus: &Prometheus) -> Result<()> {
    let series = async |job: &str| -> Result<BTreeMap<BTreeMap<String, String>, u64>> {
        let found = prometheus.query(&format!("{{job=\"{job}\",__name__=~\"istio_.+\"}}")).await?;
        let found = found.into_iter().map(|(mut labels, value)| {
            labels.remove("job");
            (labels, value.to_bits())
        });
        Ok(found.collect())
    };
    let mut differing = BTreeSet::new();
    // The two are scraped one after the other; once nothing happens any more, they agree.
    for _ in 0..200 {
        let (raw, merged) = (series("raw").await?, series("merged").await?);
        if raw == merged && raw.len() > 100 {
            return Ok(());
        }
        let keys = raw.keys().chain(merged.keys());
        differing = keys.filter(|key| raw.get(*key) != merged.get(*key)).cloned().collect();
        let scraped = prometheus.number("max(timestamp(up))").await?.context("nothing is scraped")?;
        prometheus.until("min(timestamp(up))", |next| next > scraped).await?;
    }
    bail!("{} series differ, as {:?}", differing.len(), differing.first())
}

/// A rate is extrapolated to the window's ends, by the same factor for series that are scraped together: that leaves the quotient.
fn is_near(found: Option<f64>, expected: f64, what: &str) -> Result<()> {
    let found = found.with_context(|| format!("{what}: no answer"))?;
    ensure!(
        (found - expected).abs() <= 0.05 * expected,
        "{what}: {found}, by the app's own count {expected}"
    );
    Ok(())
}

/// A tenth of the requests took 400 ms or more, and none longer than the client saw one take; buckets end at twice and more of that.
fn is_between(found: Option<f64>, longest: Duration, what: &str) -> Result<()> {
    let found = found.with_context(|| format!("{what}: no answer"))?;
    let longest = longest.as_secs_f64() * 1_000.0;
    ensure!(
        found > 250.0 && found <= 2.5 * longest.max(400.0),
        "{what}: {found} ms; the longest took {longest} ms"
    );
    Ok(())
}
