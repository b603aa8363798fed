//! Secret `cacerts`: an operator's own intermediate.

use anyhow::{Context, Result, ensure};
use meltemi_tests::kubernetes::{Certificate, Home, LIMIT};
use meltemi_tests::live::Server;

use crate::openssl::Folder;
use crate::stage::{
    certificate, count, has, metric_is, page_that, put_secret, roots_of, roots_that, token, until,
};

const METRIC: &str = "meltemi_identity_plugged_in_refused";

async fn plug(home: &Home, folder: &Folder, root: &str, name: &str, key: &str) -> Result<()> {
    let certificate = folder.read(&format!("{name}-cert.pem"))?;
    let (key, root) = (folder.read(&format!("{key}-key.pem"))?, folder.read(&format!("{root}-cert.pem"))?);
    let pieces = [
        ("ca-cert.pem", &*certificate),
        ("ca-key.pem", &key),
        ("cert-chain.pem", &certificate),
        ("root-cert.pem", &root),
    ];
    put_secret(home.cluster(), home.namespace(), "cacerts", "Opaque", &pieces).await
}

/// A certificate that this intermediate signed.
async fn signed_by(
    home: &Home,
    server: &Server,
    roots: &str,
    token: &str,
    intermediate: &str,
) -> Result<Certificate> {
    until("the intermediate signs", async || {
        let found = certificate(home, server, roots, None, Some(token)).await?;
        let between = found.chain.get(1).context("a chain")?;
        Ok((found.chain.len() == 3 && has(between, intermediate)).then_some(found))
    })
    .await
}

pub(crate) async fn changed() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let folder = Folder::new()?;
    let root = folder.root("root").await?;
    let (one, two) = (folder.intermediate("root", "one").await?, folder.intermediate("root", "two").await?);
    plug(&home, &folder, "root", "one", "one").await?;
    let shop = cluster.namespace("shop").await?;
    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &shop).await?;
    ensure!(has(&roots, &root) && count(&roots) == 1, "{roots}");
    let token = token(cluster, &shop, "cart", 21).await?;
    let first = signed_by(&home, &server, &roots, &token, &one).await?;
    first.verified_by(&root)?;

    // Another one of the same root signs at once.
    plug(&home, &folder, "root", "two", "two").await?;
    signed_by(&home, &server, &roots, &token, &two).await?.verified_by(&root)?;

    // A key that is not its own: told, counted, and without effect.
    plug(&home, &folder, "root", "one", "two").await?;
    server.says_within(LIMIT, &["Secret cacerts: ca-key.pem", "what signed before stays in force"]).await?;
    metric_is(&server, METRIC, 1).await?;
    let found = certificate(&home, &server, &roots, Some(&first), None).await?;
    ensure!(has(&found.chain[1], &two), "another one signs");
    // Nor does a replica that starts now fail by it.
    let fresh = home.replica().await?;
    signed_by(&home, &fresh, &roots, &token, &two).await?;

    plug(&home, &folder, "root", "one", "one").await?;
    metric_is(&server, METRIC, 0).await?;
    for server in [&server, &fresh] {
        signed_by(&home, server, &roots, &token, &one).await?.verified_by(&root)?;
    }
    Ok(())
}

pub(crate) async fn stepwise() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let server = home.replica().await?;
    let own = roots_of(&home, &server, &shop).await?;
    let token = token(cluster, &shop, "cart", 22).await?;
    let before = certificate(&home, &server, &own, None, Some(&token)).await?;

    let folder = Folder::new()?;
    let root = folder.root("root").await?;
    folder.intermediate("root", "one").await?;
    plug(&home, &folder, "root", "one", "one").await?;
    // Both are trusted, and the old one signs: workloads that live on what they were answered before trust nothing else yet.
    let both =
        roots_that(cluster, &shop, "both roots are told", |text| has(text, &root) && has(text, &own)).await?;
    page_that(&server, "workloads are waited for", |page| page["phase"] == "renewing").await?;
    let found = certificate(&home, &server, &both, Some(&before), None).await?;
    found.verified_by(&own)?;
    ensure!(has(found.roots(), &root), "what is answered now has the new root");
    Ok(())
}
