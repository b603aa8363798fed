//! Certificates of seconds, under load: renewed, renewed late, and signed by another root.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::Connect;
use meltemi_tests::identity::Holder;
use meltemi_tests::identity::forge::{self, Leaf};
use meltemi_tests::meshed::{MeshedPod, Use, Visitor, until, verified};
use serde_json::Value;

use crate::wire::HANDSHAKES;
use crate::world::{APP, BRIEF, CLIENT, SNI, World};

/// Connections that the client's sidecar made to the service to which one is kept.
const CONNECTIONS: &str = r"^cluster\.outbound\|80\|\|steady\..*upstream_cx_total$";

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
    until("each Envoy shows one certificate", async || {
        Ok([world.client.serial().await?, world.server.serial().await?])
    })
    .await
}

/// Both sidecars show one new certificate after the other; new connections succeed with it, and the old ones go on.
pub(crate) async fn renewed(world: &mut World) -> Result<()> {
    let (handshakes, pids) =
        (world.server.sum(HANDSHAKES).await?, (world.client.pids()?, world.server.pids()?));
    let loads = world.load();
    loads.more(20).await?;
    let connections = world.client.sum(CONNECTIONS).await?;
    ensure!(connections > 0, "no connection is kept");
    let [client, server] = serials(world).await?;
    renewed_since(&world.client, &client).await?;
    renewed_since(&world.server, &server).await?;
    loads.more(20).await?;
    ensure!(world.client.sum(CONNECTIONS).await? == connections, "a kept connection was cut");
    let each = loads.end().await?;
    let handshakes = world.server.sum(HANDSHAKES).await? - handshakes;
    ensure!(handshakes >= each, "{handshakes} handshakes for {each} requests");
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
    let loads = world.load();
    let before = serials(world).await?;
    world.mesh.kill().await?;
    let killed = Instant::now();
    until("the control plane was away for more than half a life", async || {
        ensure!(killed.elapsed() > BRIEF / 2 + BRIEF / 60, "{:?}", killed.elapsed());
        Ok(())
    })
    .await?;
    loads.more(20).await?;
    world.mesh.restart().await?;
    let [client, server] = &before;
    renewed_since(&world.client, client).await?;
    renewed_since(&world.server, server).await?;
    loads.more(20).await?;
    loads.end().await?;
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

/// Waits until both pods believe whoever shows that.
async fn both_believe(world: &World, shown: &Holder) -> Result<()> {
    for pod in [world.inbound(), world.client_inbound()] {
        until("a certificate of the new root is believed", async || {
            // Nothing listens in the client's pod: what is believed there gets no answer, but no alert either.
            let answered = Visitor::nobody(SNI).showing(shown).get(&world.strange(), pod, APP).await?;
            ensure!(answered.refusal().is_none_or(|why| !why.contains("alert")), "{pod}: {answered:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Waits until both pods show certificates of that root.
async fn both_show(world: &World, root: &str) -> Result<()> {
    for pod in [world.inbound(), world.client_inbound()] {
        until("a certificate of the new root is shown", async || {
            verified(&Visitor::nobody(SNI).chain(&world.strange(), pod, &["istio"]).await?, root, Use::Server)
        })
        .await?;
    }
    Ok(())
}

/// Gives both pods the roots of the state folder, as a kubelet does when the ConfigMap changes.
fn deliver(world: &World, roots: &str) -> Result<()> {
    world.client.deliver_roots(roots)?;
    world.server.deliver_roots(roots)
}

/// `meltemi ca rotate` to its end. By itself it waits until all that was signed has ended by any clock, which takes minutes; the operator
/// of this mesh sees that everybody has renewed, and says so.
pub(crate) async fn rotated(world: &mut World) -> Result<()> {
    let (old, old_roots) = (world.mesh.stolen()?, world.mesh.roots()?);
    let loads = world.load();

    // It is left, as its help says: the change goes on by itself.
    drop(world.mesh.command(&["ca", "rotate", "--timeout", "1s"]).await);
    phase(world, "renewing").await?;
    let both = world.mesh.roots()?;
    ensure!(both.matches("BEGIN CERTIFICATE").count() == 2, "{both}");
    // The file is what the control plane is verified by; what peers are verified by comes with the next certificate.
    deliver(world, &both)?;
    let signers = status(world).await?["signers"].as_array().cloned().unwrap_or_default();
    let new = signers.iter().find(|signer| signer["signs"] == false).and_then(|signer| signer["id"].as_str());
    let (new, new_root) = world.mesh.signer(new.with_context(|| format!("no new signer: {signers:?}"))?)?;
    let leaf = Leaf { names: &[CLIENT], hours: 1 };
    both_believe(world, &forge::signed(&new, &leaf)?).await?;
    world.mesh.command(&["ca", "rotate", "--force"]).await?;
    phase(world, "retiring").await?;
    both_show(world, &new_root).await?;
    world.mesh.command(&["ca", "rotate", "--force"]).await?;
    phase(world, "steady").await?;

    let roots = world.mesh.roots()?;
    ensure!(roots.matches("BEGIN CERTIFICATE").count() == 1 && roots != old_roots, "{roots}");
    deliver(world, &roots)?;
    // Nobody trusts the old one, once everybody has heard of it.
    let shown = forge::signed(&old, &leaf)?;
    let visitor = Visitor::nobody(SNI).showing(&shown);
    for pod in [world.inbound(), world.client_inbound()] {
        until("a certificate of the old root is refused", async || {
            let answered = visitor.get(&world.strange(), pod, APP).await?;
            ensure!(answered.refusal().is_some_and(|why| why.contains("UnknownCA")), "{pod}: {answered:?}");
            Ok(())
        })
        .await?;
    }
    let answered = visitor.begin(&Connect::default(), world.mesh.secure()).await?;
    ensure!(answered.refusal().is_some_and(|why| why.contains("UnknownCA")), "{answered:?}");
    let theirs = visitor.chain(&world.strange(), world.inbound(), &["istio"]).await?;
    verified(&theirs, &roots, Use::Server)?;
    ensure!(
        verified(&theirs, &old_roots, Use::Server).is_err(),
        "the server's certificate is by the old root"
    );
    loads.more(20).await?;
    loads.end().await.map(drop)
}
