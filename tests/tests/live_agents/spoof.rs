//! Who says to be somebody else: by node metadata, or by a token that is over.

use std::time::Duration;

use anyhow::{Result, ensure};
use meltemi_testkit::xds::Node;
use meltemi_tests::meshed::{refused, until};
use tonic::Code;

use crate::world::World;

/// A stream's node must be its caller's, whichever way the caller proved who it is.
pub(crate) async fn metadata(world: &mut World) -> Result<()> {
    let control_plane = world.mesh.control_plane()?;
    let own = world.certificate("client").await?;
    let token = world.mesh.token("default/client", Duration::from_secs(3600)).await?;
    let node = |namespace: &str, account: &str| Node::sidecar("spoof", namespace).metadata("SERVICE_ACCOUNT", account);

    for (proof, token, shown) in [("a certificate", None, Some(&own)), ("a token", Some(token.as_str()), None)] {
        let clusters = control_plane.clusters(&node("default", "client"), token, shown).await?;
        ensure!(clusters > 0, "no clusters for whom {proof} proves to be client");
        for (namespace, account) in [("payments", "client"), ("default", "server"), ("payments", "server")] {
            let status = refused(control_plane.clusters(&node(namespace, account), token, shown).await)?;
            ensure!(status.code() == Code::PermissionDenied, "by {proof} as {namespace}/{account}: {status:?}");
        }
    }
    let status = refused(control_plane.clusters(&node("default", "client"), None, None).await)?;
    ensure!(status.code() == Code::Unauthenticated, "{status:?}");
    // Both proofs on one connection: the certificate counts, and a token lends nobody a second name.
    let theirs = world.mesh.token("default/server", Duration::from_secs(3600)).await?;
    let status = refused(control_plane.clusters(&node("default", "server"), Some(&theirs), Some(&own)).await)?;
    ensure!(status.code() == Code::PermissionDenied, "{status:?}");
    Ok(())
}

/// A token is good again and again until it ends, and never after.
pub(crate) async fn replayed(world: &mut World) -> Result<()> {
    let control_plane = world.mesh.control_plane()?;
    let node = Node::sidecar("replay", "default").metadata("SERVICE_ACCOUNT", "client");
    let token = world.mesh.token("default/client", Duration::from_secs(10)).await?;
    for _ in 0..2 {
        control_plane.certificate(Some(&token), None, 0).await?;
    }
    control_plane.clusters(&node, Some(&token), None).await?;
    until("the token is over", async || refused(control_plane.certificate(Some(&token), None, 0).await)).await?;
    for outcome in [
        control_plane.certificate(Some(&token), None, 0).await.map(drop),
        control_plane.clusters(&node, Some(&token), None).await.map(drop),
    ] {
        let status = refused(outcome)?;
        ensure!(status.code() == Code::Unauthenticated, "{status:?}");
    }
    Ok(())
}
