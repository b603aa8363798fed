//! Hosts that come, change and go while a proxy lives, as virtual hosts of their own and in whole route configurations.

use anyhow::{Result, ensure};
use meltemi_testkit::http::App;
use meltemi_tests::live::{Form, World, rule, service, split, workload};

/// A VirtualService `name` that leads `hosts` to the service `to`.
fn leads(name: &str, hosts: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{hosts}]
  http: [{{route: [{{destination: {{host: {to}}}}}]}}]
"
    )
}

fn answered(version: &str) -> (u16, Option<String>) {
    (200, Some(version.to_owned()))
}

async fn come_change_and_go(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let _one = world.app("one", "one").await?;
    world.start().await?;
    ensure!(world.answer("one").await? == answered("one"));
    let load = world.load("one").workers(2).start();

    // A host is added: the endpoint, then the service.
    ensure!(world.get("two").await?.status != 200, "`two` answers before it exists");
    let two = App::start("two", "two").await?;
    world.save("two-two.yaml", &workload("two-two", "two", "two", two.address())).await?;
    world.save("two.yaml", &service("two", world.port())).await?;
    ensure!(world.answer("two").await? == answered("two"));
    ensure!(world.answer("two.default").await? == answered("two"));
    ensure!(world.answer("two.default.svc.cluster.local").await? == answered("two"));

    // It is changed,
    world.save("route.yaml", &leads("two", "two", "one")).await?;
    ensure!(world.answer("two").await? == answered("one"));
    // renamed,
    world.save("two.yaml", &service("two", world.port()).replace("{name: two,", "{name: three,")).await?;
    ensure!(world.answer("three").await? == answered("two"));
    world.remove("route.yaml").await?;
    ensure!(world.get("two").await?.status != 200, "`two` answers after it was renamed");
    // and removed.
    world.remove("two.yaml").await?;
    ensure!(world.get("three").await?.status != 200, "`three` answers after it was removed");

    load.stop().await.expect_all(200)?;
    world.end().await
}

#[tokio::test]
async fn hosts_come_change_and_go_while_others_are_served() -> Result<()> {
    come_change_and_go(Form::Delta).await
}

#[tokio::test]
async fn hosts_come_change_and_go_on_state_of_the_world() -> Result<()> {
    come_change_and_go(Form::StateOfTheWorld).await
}

/// A domain leaves one virtual host and joins another in one save, twenty times there and back.
async fn a_domain_moves(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_one, _two) = (world.app("one", "one").await?, world.app("two", "two").await?);
    let (with, without) = ("one, moving.example", "one");
    let (with_two, without_two) = ("two, moving.example", "two");
    let there = format!("{}---\n{}", leads("a", with, "one"), leads("b", without_two, "two"));
    let here = format!("{}---\n{}", leads("a", without, "one"), leads("b", with_two, "two"));
    world.write("route.yaml", &there)?;
    world.start().await?;
    // Hosts that no service has are served on HTTP ports, by Istio's rule.
    ensure!(world.answer("moving.example").await? == answered("one"));
    let load = world.load("moving.example").workers(2).start();
    for _ in 0..10 {
        world.save("route.yaml", &here).await?;
        ensure!(world.answer("moving.example").await? == answered("two"));
        world.save("route.yaml", &there).await?;
        ensure!(world.answer("moving.example").await? == answered("one"));
    }
    let tally = load.stop().await;
    tally.expect_all(200)?;
    ensure!(tally.version("one") > 0 && tally.version("two") > 0, "{tally}");
    ensure!(world.answer("one").await? == answered("one"));
    ensure!(world.answer("two").await? == answered("two"));
    world.end().await
}

#[tokio::test]
async fn a_domain_moves_between_two_hosts_and_no_request_is_lost() -> Result<()> {
    a_domain_moves(Form::Delta).await
}

#[tokio::test]
async fn a_domain_moves_on_state_of_the_world_and_no_request_is_lost() -> Result<()> {
    a_domain_moves(Form::StateOfTheWorld).await
}

#[tokio::test]
async fn a_weight_travels_as_one_virtual_host_and_nothing_else() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (_one, _two) = (world.app("one", "one").await?, world.app("two", "two").await?);
    world.write("rule.yaml", &rule("one", &["one"], ""))?;
    world.write("route.yaml", &leads("one", "one", "one"))?;
    world.start().await?;
    let server = world.server()?;
    let sent = server.metric("meltemi_xds_resources_sent_total").await?;
    let bytes = server.metric("meltemi_xds_sent_bytes_total").await?;
    world.save("route.yaml", &split("one", &[("one", 100)])).await?;
    ensure!(server.metric("meltemi_xds_resources_sent_total").await? == sent + 1);
    let bytes = server.metric("meltemi_xds_sent_bytes_total").await? - bytes;
    ensure!(bytes < 1_500, "one virtual host took {bytes} bytes");
    world.end().await
}

/// Nothing is redirected to this proxy, so that a connection does not tell which endpoint it was for: any will do.
#[tokio::test]
async fn a_headless_service_is_reached_where_nothing_is_redirected() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let _one = world.app("one", "one").await?;
    let headless = service("one", world.port()).replace("spec:", "spec:\n  clusterIP: None");
    world.write("one.yaml", &headless)?;
    world.start().await?;
    ensure!(world.answer("one").await? == answered("one"));
    world.save("rule.yaml", &rule("one", &["one"], "")).await?;
    world.save("route.yaml", &split("one", &[("one", 100)])).await?;
    ensure!(world.answer("one").await? == answered("one"));
    // `simple: PASSTHROUGH` says the same of a service with an address.
    world.remove("route.yaml").await?;
    world.save("one.yaml", &service("one", world.port())).await?;
    world.save("rule.yaml", &rule("one", &[], "{loadBalancer: {simple: PASSTHROUGH}}")).await?;
    ensure!(world.answer("one").await? == answered("one"));
    world.end().await
}
