//! Traffic that prefers endpoints near the caller, on live traffic, and what becomes of it when those fail.

use anyhow::{Result, ensure};
use meltemi_tests::live::{Form, World, rule, service, workload};

/// Requests on which a share is judged; see `live_strategies`.
const SAMPLE: u64 = 2_000;

/// The pod of the client, which runs in zone eu-1.
const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, labels: {app: client}}
spec: {nodeName: n1, containers: []}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}
";

async fn failover(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (near, far) = (world.app("myapp", "near").await?, world.app("myapp", "far").await?);
    for (app, version, locality) in [(&near, "near", "eu/eu-1"), (&far, "far", "eu/eu-2")] {
        let name = format!("myapp-{version}");
        let entry = workload(&name, "myapp", version, app.address());
        world.write(&format!("{name}.yaml"), &format!("{entry}  locality: {locality}\n"))?;
    }
    world.write("client.yaml", CLIENT)?;
    world.start().await?;
    let tally = world.load("myapp").requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("near", 0.5)?;

    let preferring =
        service("myapp", world.port()).replace("spec:", "spec:\n  trafficDistribution: PreferSameZone");
    world.save("myapp.yaml", &preferring).await?;
    let tally = world.load("myapp").requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("near", 1.0)?;

    // The near one fails: the far one takes over.
    let policy = "{outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 300s, maxEjectionPercent: 100}}";
    world.save("rule.yaml", &rule("myapp", &[], policy)).await?;
    near.answer_with(Some(500));
    let load = world.load("myapp").workers(1).start();
    let cluster = format!("cluster.outbound|{}||myapp.default.svc.cluster.local", world.port());
    world.stat_reaches(&format!("{cluster};.outlier_detection.ejections_active"), 1).await?;
    load.stop().await;
    world.settle().await;
    near.forget();
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_all(200)?;
    tally.expect_share("far", 1.0)?;
    ensure!(near.total() == 0, "an ejected endpoint got {} requests", near.total());

    // The client moves to the other zone: now that one is near, failed or not.
    world.save("client.yaml", &CLIENT.replace("zone: eu-1", "zone: eu-2")).await?;
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_all(200)?;
    tally.expect_share("far", 1.0)?;
    world.end().await
}

#[tokio::test]
async fn requests_stay_in_the_zone_until_its_endpoints_fail() -> Result<()> {
    failover(Form::Delta).await
}

#[tokio::test]
async fn requests_stay_in_the_zone_on_state_of_the_world_too() -> Result<()> {
    failover(Form::StateOfTheWorld).await
}
