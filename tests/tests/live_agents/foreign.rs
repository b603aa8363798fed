//! Certificates that are not to be believed: at a workload, and at the control plane.

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::Connect;
use meltemi_tests::identity::forge::{self, Leaf};
use meltemi_tests::meshed::{Visitor, until};

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
        (
            "of another trust domain",
            &own,
            Leaf { names: &other, hours: 1 },
            &["CertificateUnknown", "BadCertificate", "AccessDenied"],
        ),
    ] {
        let shown = forge::signed(signer, &leaf)?;
        let visitor = Visitor::nobody(SNI).showing(&shown);
        for (place, answered) in [
            ("the workload", world.knock(visitor).await?),
            ("the control plane", visitor.begin(&here, secure).await?),
        ] {
            let reason = answered
                .refusal()
                .with_context(|| format!("{place} takes a certificate {what}: {answered:?}"))?;
            ensure!(
                alerts.iter().any(|alert| reason.contains(alert)),
                "{place} refuses a certificate {what} by {reason}"
            );
        }
    }
    world.mode("PERMISSIVE").await?;
    world.until_plaintext(true).await
}

/// The pod is told of it by a file, as from the ConfigMap `istio-ca-crl`; and nobody else is refused for that.
pub(crate) async fn revoked(world: &mut World) -> Result<()> {
    let root = world.mesh.stolen()?;
    let leaf = Leaf { names: &[CLIENT], hours: 1 };
    let (lost, kept) = (forge::signed(&root, &leaf)?, forge::signed(&root, &leaf)?);
    let visitor = Visitor::nobody(SNI);
    ensure!(world.knock(visitor.showing(&lost)).await?.is_status(200), "a good certificate is refused");

    world.server.deliver_revoked(Some(&forge::revoked(&root, &lost)?))?;
    until("the revoked certificate is refused", async || {
        let answered = world.knock(visitor.showing(&lost)).await?;
        ensure!(answered.refusal().is_some_and(|why| why.contains("CertificateRevoked")), "{answered:?}");
        Ok(())
    })
    .await?;
    let answered = world.knock(visitor.showing(&kept)).await?;
    ensure!(answered.is_status(200), "another one is refused, too: {answered:?}");
    world.call().await?;

    world.server.deliver_revoked(None)?;
    until("without the list it is taken again", async || {
        let answered = world.knock(visitor.showing(&lost)).await?;
        ensure!(answered.is_status(200), "{answered:?}");
        Ok(())
    })
    .await
}
