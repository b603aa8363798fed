//! The control plane dies and comes back: traffic goes on, and proxies that have everything are sent nothing.

use anyhow::{Result, ensure};
use meltemi_tests::live::{Form, World, rule, split};

async fn killed_and_restarted(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_v1, _v2) = (world.app("myapp", "v1").await?, world.app("myapp", "v2").await?);
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], ""))?;
    world.write("route.yaml", &split("myapp", &[("v1", 50), ("v2", 50)]))?;
    world.start().await?;
    let first = world.server()?.metric("meltemi_xds_resources_sent_total").await?;
    ensure!(first > 5, "only {first} resources were sent at the start");
    let load = world.load("myapp").workers(2).start();

    let gap = world.kill_server().await?;
    // Without a control plane, all goes on as it was.
    let tally = world.load("myapp").requests(500).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v2", 0.5)?;
    world.restart_server(gap).await?;

    if form == Form::Delta {
        // The proxy said which versions it holds.
        for metric in ["meltemi_xds_resources_sent_total", "meltemi_xds_resources_removed_total"] {
            let sent = world.server()?.metric(metric).await?;
            ensure!(sent == 0, "{metric} is {sent} after the reconnect");
        }
    }
    world.load("myapp").requests(200).run().await.expect_all(200)?;

    // The new process takes changes on.
    world.save("route.yaml", &split("myapp", &[("v2", 100)])).await?;
    world.load("myapp").requests(200).run().await.expect_share("v2", 1.0)?;

    // What changed while it was away comes with the reconnect, and only that.
    let gap = world.kill_server().await?;
    world.write("route.yaml", &split("myapp", &[("v1", 100)]))?;
    world.restart_server(gap).await?;
    world.load("myapp").requests(200).run().await.expect_share("v1", 1.0)?;
    if form == Form::Delta {
        let sent = world.server()?.metric("meltemi_xds_resources_sent_total").await?;
        ensure!(sent == 1, "{sent} resources were sent for one changed virtual host");
    }
    load.stop().await.expect_all(200)?;
    world.end().await
}

#[tokio::test]
async fn a_killed_control_plane_loses_no_request_and_sends_nothing_twice() -> Result<()> {
    killed_and_restarted(Form::Delta).await
}

#[tokio::test]
async fn a_killed_control_plane_on_state_of_the_world_loses_no_request() -> Result<()> {
    killed_and_restarted(Form::StateOfTheWorld).await
}
