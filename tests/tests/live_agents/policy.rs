//! What a PeerAuthentication does to connections.

use anyhow::{Result, ensure};
use meltemi_tests::meshed::{Visitor, until};

use crate::world::{SNI, World};

/// Plaintext of a pod without a sidecar: answered, refused, answered; and the mesh's own requests go on.
pub(crate) async fn plaintext(world: &mut World) -> Result<()> {
    world.until_plaintext(true).await?;
    let own = world.mesh.certificate("default/client").await?;

    world.mode("STRICT").await?;
    world.until_plaintext(false).await?;
    for _ in 0..10 {
        ensure!(!world.plaintext().await?, "plaintext was answered under STRICT");
        let seen = world.call().await?;
        ensure!(seen["headers"]["x-forwarded-client-cert"].is_string(), "no TLS under STRICT: {seen}");
    }
    let answered = world.knock(Visitor::nobody(SNI).showing(&own)).await?;
    ensure!(answered.is_status(200), "{answered:?}");

    // Without mutual TLS at the server, the mesh's own clients use none.
    world.mode("DISABLE").await?;
    world.until_plaintext(true).await?;
    until("the client's sidecar uses plaintext", async || {
        let seen = world.call().await?;
        ensure!(!seen["headers"]["x-forwarded-client-cert"].is_string(), "{seen}");
        Ok(())
    })
    .await?;

    world.mode("PERMISSIVE").await?;
    until("the client's sidecar uses TLS again", async || {
        let seen = world.call().await?;
        ensure!(seen["headers"]["x-forwarded-client-cert"].is_string(), "{seen}");
        Ok(())
    })
    .await?;
    world.until_plaintext(true).await
}

/// Under load, twice there and back; each state is reached before the next begins.
pub(crate) async fn migration(world: &mut World) -> Result<()> {
    let loads = world.load();
    for _ in 0..2 {
        world.mode("STRICT").await?;
        world.until_plaintext(false).await?;
        loads.more(20).await?;
        world.mode("PERMISSIVE").await?;
        world.until_plaintext(true).await?;
        loads.more(20).await?;
    }
    loads.end().await.map(drop)
}
