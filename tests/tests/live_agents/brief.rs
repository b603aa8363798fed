//! Certificates of seconds, under load: renewed, renewed late, and signed by another root.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::Connect;
use meltemi_tests::identity::forge::{self, Leaf};
use meltemi_tests::meshed::{LIMIT, MeshedPod, SERVICE, Use, Visitor, until, verified};
use serde_json::Value;

use crate::world::{APP, BRIEF, CLIENT, SNI, World};

/// Waits until the pod's Envoy shows another certificate than that.
async fn renewed_since(pod: &MeshedPod, serial: &str) -> Result<String> {
    until("the Envoy shows another certificate", async || {
        let now = pod.serial().await?;
        ensure!(now != serial, "it is still {now}");
        Ok(now)
    })
    .await
}

/// Each pod's certificate, by its serial number.
async fn serials(world: &World) -> Result<[String; 2]> {
    Ok([world.client.serial().await?, world.server.serial().await?])
}

/// Both sidecars show one new certificate after the other, and connections go on.
pub(crate) async fn renewed(world: &mut World) -> Result<()> {
    let (load, pids) = (world.client.load(SERVICE, APP).start(), (world.client.pids()?, world.server.pids()?));
    let [client, server] = serials(world).await?;
    renewed_since(&world.client, &client).await?;
    renewed_since(&world.server, &server).await?;
    // With the new ones, too.
    world.app.wait_for(world.app.total() + 20, LIMIT).await?;
    load.stop().await.expect_all(200)?;
    ensure!((world.client.pids()?, world.server.pids()?) == pids, "something was started anew");
    Ok(())
}

/// The control plane is away for longer than half a life: nobody notices, and what is late is renewed when it is back.
pub(crate) async fn outage(world: &mut World) -> Result<()> {
    // As young as can be: what is left of a life after the outage is left for a busy machine to come back in.
    let [client, server] = serials(world).await?;
    renewed_since(&world.client, &client).await?;
    renewed_since(&world.server, &server).await?;
    let pids = (world.client.pids()?, world.server.pids()?);
    let load = world.client.load(SERVICE, APP).start();
    let before = serials(world).await?;
    world.mesh.kill().await?;
    let killed = Instant::now();
    until("the control plane was away for more than half a life", async || {
        ensure!(killed.elapsed() > BRIEF / 2 + BRIEF / 40, "{:?}", killed.elapsed());
        Ok(())
    })
    .await?;
    // New connections, too: a handshake needs a certificate that is in force.
    world.call().await?;
    world.mesh.restart().await?;
    let [client, server] = &before;
    renewed_since(&world.client, client).await?;
    renewed_since(&world.server, server).await?;
    load.stop().await.expect_all(200)?;
    ensure!((world.client.pids()?, world.server.pids()?) == pids, "something was started anew");
    for pod in [&world.client, &world.server] {
        ensure!(pod.agent().log().contains("no new certificate"), "nobody tried to renew meanwhile");
    }
    Ok(())
}

/// What `meltemi ca status` says.
async fn status(world: &World) -> Result<Value> {
    let text = world.mesh.command(&["ca", "status", "--output", "json"]).await?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

/// Waits until a change of the root is so far.
async fn phase(world: &World, wanted: &str) -> Result<()> {
    until(wanted, async || {
        let status = status(world).await?;
        ensure!(status["phase"] == wanted, "{status}");
        Ok(())
    })
    .await
}

/// Waits until both pods have a certificate that they do not have now.
async fn both_renew(world: &World) -> Result<()> {
    let [client, server] = serials(world).await?;
    renewed_since(&world.client, &client).await?;
    renewed_since(&world.server, &server).await.map(drop)
}

/// `meltemi ca rotate` to its end. By itself it waits until all that was signed has ended by any clock, which takes minutes; the operator
/// of this mesh sees that everybody has renewed, and says so.
pub(crate) async fn rotated(world: &mut World) -> Result<()> {
    let (old, old_roots) = (world.mesh.stolen()?, world.mesh.roots()?);
    let old_trust = world.server.trusts().await?;
    ensure!(old_trust.len() == 1, "{old_trust:?}");
    let load = world.client.load(SERVICE, APP).start();

    // It is left, as its help says: the change goes on by itself.
    drop(world.mesh.command(&["ca", "rotate", "--timeout", "1s"]).await);
    phase(world, "renewing").await?;
    // The file is what the control plane is verified by; whoever renewed since knows both roots by that, too.
    let both = world.mesh.roots()?;
    ensure!(both.matches("BEGIN CERTIFICATE").count() == 2, "{both}");
    for pod in [&world.client, &world.server] {
        pod.deliver_roots(&both)?;
    }
    both_renew(world).await?;
    for pod in [&world.client, &world.server] {
        ensure!(pod.trusts().await?.len() == 2, "{:?}", pod.trusts().await?);
    }
    world.mesh.command(&["ca", "rotate", "--force"]).await?;
    phase(world, "retiring").await?;
    // Whoever renewed since has a certificate of the new root.
    both_renew(world).await?;
    world.mesh.command(&["ca", "rotate", "--force"]).await?;
    phase(world, "steady").await?;

    let roots = world.mesh.roots()?;
    ensure!(roots.matches("BEGIN CERTIFICATE").count() == 1 && roots != old_roots, "{roots}");
    for pod in [&world.client, &world.server] {
        pod.deliver_roots(&roots)?;
        until("the sidecar trusts the new root alone", async || {
            let trusts = pod.trusts().await?;
            ensure!(trusts.len() == 1 && trusts != old_trust, "{trusts:?}");
            Ok(())
        })
        .await?;
    }
    world.app.wait_for(world.app.total() + 20, LIMIT).await?;
    load.stop().await.expect_all(200)?;

    // Nobody trusts the old one; the new one is what the servers show.
    let shown = forge::signed(&old, &Leaf { names: &[CLIENT], hours: 1 })?;
    let visitor = Visitor::nobody(SNI).showing(&shown);
    for (place, answered) in [
        ("the workload", world.knock(visitor).await?),
        ("the control plane", visitor.begin(&Connect::default(), world.mesh.secure()).await?),
    ] {
        ensure!(answered.refusal().is_some_and(|why| why.contains("UnknownCA")), "{place}: {answered:?}");
    }
    let chain = Visitor::nobody(SNI).showing(&shown).chain(&world.strange(), world.inbound(), &["istio"]).await?;
    verified(&chain, &roots, Use::Server)?;
    ensure!(verified(&chain, &old_roots, Use::Server).is_err(), "the server's certificate is by the old root");
    world.call().await.map(drop)
}
