//! Certificates that are not to be believed: at a workload, and at the control plane.

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::Connect;
use meltemi_tests::identity::forge::{self, Leaf};
use meltemi_tests::meshed::Visitor;

use crate::world::{CLIENT, SNI, World};

/// One certificate is good; the others differ from it in one thing each.
pub(crate) async fn refused(world: &mut World) -> Result<()> {
    world.mode("STRICT").await?;
    world.until_plaintext(false).await?;
    let (own, foreign) = (world.mesh.stolen()?, forge::foreign()?);
    let (client, other) = ([CLIENT], ["spiffe://elsewhere/ns/default/sa/client"]);
    let (here, secure) = (Connect::default(), world.mesh.secure());

    let shown = forge::signed(&own, &Leaf { names: &client, hours: 1 })?;
    let visitor = Visitor::nobody(SNI).showing(&shown);
    let answered = world.knock(visitor).await?;
    ensure!(answered.is_status(200), "a good certificate is refused by the workload: {answered:?}");
    let answered = visitor.begin(&here, secure).await?;
    ensure!(answered.refusal().is_none(), "a good certificate is refused by the control plane: {answered:?}");

    // What each is refused by: an alert that names the fault, where there is one for it.
    for (what, signer, leaf, alerts) in [
        ("of a foreign root", &foreign, Leaf { names: &client, hours: 1 }, &["UnknownCA"][..]),
        ("that expired", &own, Leaf { names: &client, hours: -1 }, &["CertificateExpired"]),
        ("of another trust domain", &own, Leaf { names: &other, hours: 1 }, &["CertificateUnknown", "BadCertificate", "AccessDenied"]),
    ] {
        let shown = forge::signed(signer, &leaf)?;
        let visitor = Visitor::nobody(SNI).showing(&shown);
        for (place, answered) in
            [("the workload", world.knock(visitor).await?), ("the control plane", visitor.begin(&here, secure).await?)]
        {
            let reason = answered.refusal().with_context(|| format!("{place} takes a certificate {what}: {answered:?}"))?;
            ensure!(alerts.iter().any(|alert| reason.contains(alert)), "{place} refuses a certificate {what} by {reason}");
        }
    }
    world.mode("PERMISSIVE").await?;
    world.until_plaintext(true).await
}
