//! Changes that come in any order break no working traffic: under load, every request is answered 200.

use anyhow::{Result, ensure};
use meltemi_testkit::http::App;
use meltemi_tests::live::{Form, World, rule, split};

/// A world with `myapp` in three versions, subsets v1 and v2, and all traffic on v1.
async fn three_versions(form: Form, holds: bool) -> Result<(World, [App; 3])> {
    let world = World::new(form)?;
    let mut world = if holds { world } else { world.without_holds() };
    let apps =
        [world.app("myapp", "v1").await?, world.app("myapp", "v2").await?, world.app("myapp", "v3").await?];
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], ""))?;
    world.write("route.yaml", &split("myapp", &[("v1", 100)]))?;
    world.start().await?;
    Ok((world, apps))
}

fn cluster(world: &World, subset: &str) -> String {
    format!("outbound|{}|{subset}|myapp.default.svc.cluster.local", world.port())
}

async fn a_subset_goes_before_its_route(form: Form) -> Result<()> {
    let (world, _apps) = three_versions(form, true).await?;
    let load = world.load("myapp").workers(2).start();
    world.save("rule.yaml", &rule("myapp", &["v2"], "")).await?;
    // The route still names v1: it goes on working, and the user is told.
    world.server()?.says(&["route.yaml", "subset", "`v1`"]).await?;
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    ensure!(world.clusters().await?.contains(&cluster(&world, "v1")));

    world.save("route.yaml", &split("myapp", &[("v2", 100)])).await?;
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_share("v2", 1.0)?;
    // Nothing names it any more: it goes.
    ensure!(!world.clusters().await?.contains(&cluster(&world, "v1")), "the cluster of v1 stays for ever");
    load.stop().await.expect_all(200)?;
    world.end().await
}

#[tokio::test]
async fn a_subset_removed_before_its_route_loses_no_request() -> Result<()> {
    a_subset_goes_before_its_route(Form::Delta).await
}

#[tokio::test]
async fn a_subset_removed_before_its_route_on_state_of_the_world_loses_no_request() -> Result<()> {
    a_subset_goes_before_its_route(Form::StateOfTheWorld).await
}

async fn a_route_comes_before_its_subset(form: Form) -> Result<()> {
    let (world, _apps) = three_versions(form, true).await?;
    let load = world.load("myapp").workers(2).start();
    world.save("route.yaml", &split("myapp", &[("v3", 100)])).await?;
    world.server()?.says(&["route.yaml", "subset", "`v3`"]).await?;
    // Its last good state stays in force until the subset is there.
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    world.save("rule.yaml", &rule("myapp", &["v1", "v2", "v3"], "")).await?;
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_share("v3", 1.0)?;
    load.stop().await.expect_all(200)?;
    world.end().await
}

#[tokio::test]
async fn a_route_saved_before_its_subset_loses_no_request() -> Result<()> {
    a_route_comes_before_its_subset(Form::Delta).await
}

#[tokio::test]
async fn a_route_saved_before_its_subset_on_state_of_the_world_loses_no_request() -> Result<()> {
    a_route_comes_before_its_subset(Form::StateOfTheWorld).await
}

/// The same two changes without holds, as in Istio: so the tests above can fail.
#[tokio::test]
async fn without_holds_both_orders_answer_503() -> Result<()> {
    let (world, _apps) = three_versions(Form::Delta, false).await?;
    world.save("rule.yaml", &rule("myapp", &["v2"], "")).await?;
    world.load("myapp").requests(50).run().await.expect_all(503)?;
    world.save("route.yaml", &split("myapp", &[("v2", 100)])).await?;
    world.load("myapp").requests(50).run().await.expect_all(200)?;
    world.save("route.yaml", &split("myapp", &[("v3", 100)])).await?;
    world.load("myapp").requests(50).run().await.expect_all(503)?;
    world.save("rule.yaml", &rule("myapp", &["v3"], "")).await?;
    world.load("myapp").requests(50).run().await.expect_all(200)?;
    world.end().await
}

/// Each switch removes the subset that it leaves, so that clusters come and go with the routes.
async fn blue_green(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_blue, _green) = (world.app("myapp", "blue").await?, world.app("myapp", "green").await?);
    let to = |colour: &str| format!("{}{}", rule("myapp", &[colour], ""), split("myapp", &[(colour, 100)]));
    world.write("routing.yaml", &to("blue"))?;
    world.start().await?;
    let load = world.load("myapp").workers(2).start();
    for switch in 0..50 {
        let colour = if switch % 2 == 0 { "green" } else { "blue" };
        world.save("routing.yaml", &to(colour)).await?;
        let answer = world.answer("myapp").await?;
        ensure!(answer == (200, Some(colour.to_owned())), "switch {switch} to {colour}: {answer:?}");
    }
    let tally = load.stop().await;
    tally.expect_all(200)?;
    ensure!(tally.total() >= 500, "a load of {} requests proves little", tally.total());
    world.end().await
}

#[tokio::test]
async fn fifty_switches_between_blue_and_green_lose_no_request() -> Result<()> {
    blue_green(Form::Delta).await
}

#[tokio::test]
async fn fifty_switches_on_state_of_the_world_lose_no_request() -> Result<()> {
    blue_green(Form::StateOfTheWorld).await
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_a_finding() -> Result<()> {
    let (world, _apps) = three_versions(Form::Delta, true).await?;
    let load = world.load("myapp").workers(2).start();
    let admin = world.envoy()?.admin();
    let updates = "(control_plane|cluster_manager\\.cds|listener_manager\\.lds|rds|vhds|;)\\.?.*update_(attempt|success)$";
    let before = admin.stats(updates).await?;
    ensure!(!before.is_empty(), "no update counters");
    let generation = world.server()?.generation().await?;

    let broken = split("myapp", &[("v2", 100)]).replace("  http:", "  http: [}");
    world.write("route.yaml", &broken)?;
    let finding = world.server()?.says(&["route.yaml:", "error"]).await?;
    let place = finding.split("route.yaml:").nth(1).unwrap_or_default();
    let mut numbers = place.split(':').map(str::parse::<u32>);
    ensure!(
        matches!((numbers.next(), numbers.next()), (Some(Ok(_)), Some(Ok(_)))),
        "no line and column: {finding}"
    );

    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_share("v1", 1.0)?;
    ensure!(world.server()?.generation().await? == generation, "a broken file made a generation");
    ensure!(admin.stats(updates).await? == before, "Envoy was sent something");

    // Mended, it takes effect.
    world.save("route.yaml", &split("myapp", &[("v2", 100)])).await?;
    world.load("myapp").requests(200).run().await.expect_share("v2", 1.0)?;
    load.stop().await.expect_all(200)?;
    world.end().await
}
