//! Certificates that are not to be believed: at a workload, and at the control plane.

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::Connect;
use meltemi_tests::meshed::{Peer, Signer, Wish};

use crate::world::{CLIENT, SNI, World};

/// One certificate is good; the others differ from it in one thing each.
pub(crate) async fn refused(world: &mut World) -> Result<()> {
    world.mode("STRICT").await?;
    world.until_plaintext(false).await?;
    let (own, foreign) = (world.mesh.signer()?, Signer::foreign("cluster.local")?);
    let good = Wish { name: CLIENT, expired: false };
    let elsewhere = Wish { name: "spiffe://elsewhere/ns/default/sa/client", ..good };
    let (here, secure) = (Connect::default(), world.mesh.secure());

    let shown = own.sign(good)?;
    let peer = Peer::nobody(SNI).showing(&shown);
    let answered = world.knock(peer).await?;
    ensure!(answered.is_status(200), "a good certificate is refused by the workload: {answered:?}");
    let answered = peer.begin(&here, secure).await?;
    ensure!(answered.refusal().is_none(), "a good certificate is refused by the control plane: {answered:?}");

    // What each is refused by: an alert that names the fault, where there is one for it.
    for (what, signer, wish, alerts) in [
        ("of a foreign root", &foreign, good, &["UnknownCA"][..]),
        ("that expired", &own, Wish { expired: true, ..good }, &["CertificateExpired"]),
        ("of another trust domain", &own, elsewhere, &["CertificateUnknown", "BadCertificate", "AccessDenied"]),
    ] {
        let shown = signer.sign(wish)?;
        let peer = Peer::nobody(SNI).showing(&shown);
        for (place, answered) in
            [("the workload", world.knock(peer).await?), ("the control plane", peer.begin(&here, secure).await?)]
        {
            let reason = answered.refusal().with_context(|| format!("{place} takes a certificate {what}: {answered:?}"))?;
            ensure!(alerts.iter().any(|alert| reason.contains(alert)), "{place} refuses a certificate {what} by {reason}");
        }
    }
    world.mode("PERMISSIVE").await?;
    world.until_plaintext(true).await
}
