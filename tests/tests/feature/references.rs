//! Routes and what they refer to: made before it is used, kept until it is unused, in whatever order the files are saved.

use std::time::Duration;

use anyhow::Result;
use meltemi_names::TypeUrl;
use meltemi_serve::Patience;
use meltemi_testkit::xds::{Form, Sidecar};
use meltemi_tests::control_plane::{ControlPlane, step, until};

use crate::reviews::{self, cluster, splits};

const BEFORE: &[(&str, u64)] = &[("v1", 100)];

/// With a subset v1 and a route to it, and a client of each form that holds them.
async fn mesh(holds: bool, patience: Patience) -> Result<(ControlPlane, [Sidecar; 2])> {
    let files = [
        ("app.yaml", [reviews::app(), reviews::service("other")].concat()),
        ("rule.yaml", reviews::rule(&["v1"])),
        ("route.yaml", reviews::route(BEFORE)),
    ];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let set = |config: &mut meltemi_serve::Config| {
        config.holds = holds;
        config.patience = patience;
    };
    let mesh = ControlPlane::start_with(&files, set).await?;
    let mut clients = [mesh.client(Form::Delta).await?, mesh.client(Form::Sotw).await?];
    for client in &mut clients {
        until(client, |held| splits(held, BEFORE)).await?;
    }
    Ok((mesh, clients))
}

/// Changes something else, and waits until a client has it: what was sent before that it has, too.
async fn catch_up(mesh: &mut ControlPlane, clients: &mut [Sidecar; 2], timeout: &str) -> Result<()> {
    mesh.save("timeout.yaml", &reviews::plain("other", timeout)).await?;
    for client in clients {
        until(client, |held| reviews::has_timeout(held, "other", timeout)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_route_before_its_subset_keeps_its_last_good_state_until_the_subset_is_there() -> Result<()> {
    let (mut mesh, mut clients) = mesh(true, Patience::default()).await?;
    let after = [("v1", 50), ("v2", 50)];
    // Not whole: it goes out when it is quiet, and is held.
    mesh.save("route.yaml", &reviews::route(&after)).await?;
    catch_up(&mut mesh, &mut clients, "7s").await?;
    for client in &clients {
        assert!(splits(client.held(), BEFORE));
    }
    mesh.save("rule.yaml", &reviews::rule(&["v1", "v2"])).await?;
    for client in &mut clients {
        while !splits(client.held(), &after) {
            step(client).await?;
            assert_eq!(
                client.held().missing_clusters()?,
                Default::default(),
                "never a route without its cluster"
            );
        }
        assert!(client.held().warming().is_empty(), "its endpoints came before the route");
    }
    Ok(())
}

#[tokio::test]
async fn without_holds_a_route_before_its_subset_goes_out_as_it_is() -> Result<()> {
    let (mut mesh, mut clients) = mesh(false, Patience::default()).await?;
    let after = [("v1", 50), ("v2", 50)];
    mesh.save("route.yaml", &reviews::route(&after)).await?;
    for client in &mut clients {
        until(client, |held| splits(held, &after)).await?;
        assert_eq!(client.held().missing_clusters()?, [cluster("v2")].into());
    }
    Ok(())
}

#[tokio::test]
async fn a_subset_removed_before_its_route_stays_until_no_route_names_it() -> Result<()> {
    let (mut mesh, mut clients) = mesh(true, Patience::default()).await?;
    mesh.save("rule.yaml", &reviews::rule(&["v2"])).await?;
    catch_up(&mut mesh, &mut clients, "7s").await?;
    for client in &clients {
        assert!(splits(client.held(), BEFORE));
        for kind in [TypeUrl::Cluster, TypeUrl::Endpoint] {
            assert!(client.held().resource(kind, &cluster("v1")).is_some(), "{kind} stays");
        }
    }
    let after = [("v2", 100)];
    mesh.save("route.yaml", &reviews::route(&after)).await?;
    for client in &mut clients {
        until(client, |held| {
            splits(held, &after) && held.resource(TypeUrl::Cluster, &cluster("v1")).is_none()
        })
        .await?;
        assert_eq!(client.held().missing_clusters()?, Default::default());
    }
    Ok(())
}

#[tokio::test]
async fn without_holds_a_subset_removed_before_its_route_is_gone() -> Result<()> {
    let (mut mesh, mut clients) = mesh(false, Patience::default()).await?;
    mesh.save("rule.yaml", &reviews::rule(&["v2"])).await?;
    for client in &mut clients {
        until(client, |held| held.resource(TypeUrl::Cluster, &cluster("v1")).is_none()).await?;
        assert!(splits(client.held(), BEFORE));
    }
    Ok(())
}

#[tokio::test]
async fn a_route_that_arrives_before_its_subset_waits_and_both_go_together() -> Result<()> {
    // Without holds, so that nothing but the wait can keep the route back; and it would wait for an hour.
    let hour = Duration::from_secs(3600);
    let (mut mesh, mut clients) = mesh(false, Patience { quiet: hour, limit: hour }).await?;
    let after = [("v1", 50), ("v2", 50)];
    let before = mesh.generation();
    mesh.write("route.yaml", &reviews::route(&after))?;
    mesh.until_a_change_waits().await?;
    assert_eq!(mesh.generation(), before);
    assert_eq!(
        mesh.save("rule.yaml", &reviews::rule(&["v1", "v2"])).await?,
        before + 1,
        "one state of the mesh"
    );
    for client in &mut clients {
        while !splits(client.held(), &after) {
            step(client).await?;
            assert_eq!(client.held().missing_clusters()?, Default::default());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_change_that_is_never_made_whole_goes_out_when_it_is_quiet() -> Result<()> {
    let patience = Patience { quiet: Duration::from_millis(1), limit: Duration::from_secs(3600) };
    let (mut mesh, mut clients) = mesh(false, patience).await?;
    let after = [("v9", 100)];
    mesh.save("route.yaml", &reviews::route(&after)).await?;
    for client in &mut clients {
        until(client, |held| splits(held, &after)).await?;
    }
    Ok(())
}
