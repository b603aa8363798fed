//! Pods as network namespaces, with a sidecar on both sides: client → sidecar → sidecar → server, by iptables REDIRECT.
//!
//! Needs root. Without it, each test here is reported as ignored, says NOT RUN, and is not counted as passed.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Arguments;
use meltemi_testkit::envoy::Envoy;
use meltemi_testkit::netns::available;
use meltemi_tests::live::pods::{Mesh, SERVICE};
use meltemi_tests::live::split;
use meltemi_tests::not_run;

/// Requests on which a share is judged: 30 % ± 6.5 (4.5 standard deviations).
const SAMPLE: u64 = 1_000;

type Test = fn() -> Result<()>;

fn main() {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let tests: [(&str, Test); 3] = [
        ("a_canary_passes_the_sidecars_of_both_sides", || run(canary())),
        ("an_unknown_destination_is_passed_through_as_the_mesh_says", || run(unknown())),
        ("pods_of_a_headless_service_are_called_by_their_address", || run(headless())),
    ];
    let trials = tests.map(|(name, test)| not_run::trial(name, test, missing.is_some()));
    not_run::run(&Arguments::from_args(), trials.into(), missing.as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    not_run::within(Duration::from_secs(60), test)
}

/// The sum of the stats that match.
async fn sum(envoy: &Envoy, filter: &str) -> Result<u64> {
    Ok(envoy.admin().stats(filter).await?.iter().map(|(_, value)| value).sum())
}

async fn canary() -> Result<()> {
    let mesh = Mesh::start().await?;
    let tally = mesh.load().requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v2", 0.3)?;
    tally.expect_share("v1", 0.7)?;
    // Each request passed the inbound side of its server's sidecar, and nothing else did.
    for (sidecar, app) in mesh.servers.iter().zip([&mesh.v1, &mesh.v2]) {
        let inbound = sum(&sidecar.envoy, "^cluster\\.inbound\\|9080\\|[^.]*\\.upstream_rq_total$").await?;
        ensure!(inbound == app.total(), "{inbound} requests inbound, {} at the app", app.total());
    }
    ensure!(
        sum(&mesh.client.envoy, "^cluster\\.outbound\\|80\\|v[^;]*;\\.upstream_rq_total$").await? == SAMPLE
    );

    // A switch under load loses nothing.
    let load = mesh.load().start();
    for _ in 0..5 {
        mesh.save("route.yaml", &split("myapp", &[("v2", 100)])).await?;
        ensure!(mesh.get(SERVICE, "myapp").await?.version() == Some("v2"));
        mesh.save("route.yaml", &split("myapp", &[("v1", 100)])).await?;
        ensure!(mesh.get(SERVICE, "myapp").await?.version() == Some("v1"));
    }
    load.stop().await.expect_all(200)?;
    mesh.end().await
}

async fn unknown() -> Result<()> {
    let mesh = Mesh::start().await?;
    let stranger = mesh.stranger.address();
    let answer = mesh.get(stranger, "stranger.example").await?;
    ensure!(answer.status == 200 && answer.header("x-app-name") == Some("stranger"), "{answer:?}");
    let passed = sum(&mesh.client.envoy, "^cluster\\.PassthroughCluster.*upstream_cx_total$").await?;
    ensure!(passed > 0, "the request did not pass through the sidecar");

    // REGISTRY_ONLY: what the mesh does not know is not reached; what it knows is.
    mesh.save(
        "mesh.yaml",
        "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
",
    )
    .await?;
    mesh.stranger.forget();
    let answer = mesh.get(stranger, "stranger.example").await;
    ensure!(answer.as_ref().map_or(true, |answer| answer.status != 200), "{answer:?}");
    ensure!(mesh.stranger.total() == 0, "the stranger was reached");
    ensure!(mesh.get(SERVICE, "myapp").await?.status == 200);
    mesh.end().await
}

async fn headless() -> Result<()> {
    let mesh = Mesh::start().await?;
    for app in [&mesh.v1, &mesh.v2, &mesh.v1] {
        app.forget();
        let answer = mesh.get(app.address(), "pods").await?;
        ensure!(answer.status == 200 && app.total() == 1, "{} {:?}", answer.status, answer.version());
    }
    mesh.end().await
}
