//! `meltemi wait` means what it says: after it, every request through a real Envoy goes where the waited-for file says.

use anyhow::Result;
use meltemi_tests::live::{Form, World, rule, split};

async fn every_step_is_in_force_when_it_was_waited_for(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_v1, _v2) = (world.app("myapp", "v1").await?, world.app("myapp", "v2").await?);
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], ""))?;
    world.write("route.yaml", &split("myapp", &[("v1", 100)]))?;
    world.start().await?;
    for step in 0..20 {
        let version = if step % 2 == 0 { "v2" } else { "v1" };
        world.write("route.yaml", &split("myapp", &[(version, 100)]))?;
        world.wait_for("route.yaml").await?;
        world.load("myapp").requests(20).run().await.expect_share(version, 1.0)?;
    }

    // A subset and its endpoints that are new, and the route to them.
    let _v3 = world.app("myapp", "v3").await?;
    world.write("rule.yaml", &rule("myapp", &["v1", "v2", "v3"], ""))?;
    world.write("route.yaml", &split("myapp", &[("v3", 100)]))?;
    world.wait_for("rule.yaml").await?;
    world.wait_for("route.yaml").await?;
    world.load("myapp").requests(20).run().await.expect_share("v3", 1.0)?;

    // What changed while no control plane was there.
    let gap = world.kill_server().await?;
    world.write("route.yaml", &split("myapp", &[("v1", 100)]))?;
    world.restart_server(gap).await?;
    world.wait_for("route.yaml").await?;
    world.load("myapp").requests(20).run().await.expect_share("v1", 1.0)?;
    world.end().await
}

#[tokio::test]
async fn a_file_that_was_waited_for_decides_every_request() -> Result<()> {
    every_step_is_in_force_when_it_was_waited_for(Form::Delta).await
}

#[tokio::test]
async fn a_file_that_was_waited_for_decides_every_request_on_state_of_the_world() -> Result<()> {
    every_step_is_in_force_when_it_was_waited_for(Form::StateOfTheWorld).await
}
