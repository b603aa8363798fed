//! Roots that were there before: Istio's, and our own after somebody spoilt them.

use anyhow::{Context, Result, ensure};
use meltemi_tests::kubernetes::{Asker, Home, LIMIT};
use serde_json::json;

use crate::openssl::Folder;
use crate::stage::{certificate, has, name, put_secret, roots_of, roots_that, secret, token, until};

const SECRET: &str = "istio-ca-secret";

pub(crate) async fn of_istio() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let folder = Folder::new()?;
    let root = folder.root("istio").await?;
    let key = folder.read("istio-key.pem")?;
    let pieces = [
        ("ca-cert.pem", &*root),
        ("ca-key.pem", &key),
        ("root-cert.pem", &root),
        ("cert-chain.pem", ""),
        ("key.pem", ""),
    ];
    put_secret(cluster, home.namespace(), SECRET, "istio.io/ca-root", &pieces).await?;
    let shop = cluster.namespace("shop").await?;
    let server = home.replica().await?;
    let roots = roots_that(cluster, &shop, "Istio's root is told", |text| has(text, &root)).await?;
    let token = token(cluster, &shop, "cart", 11).await?;
    let first = certificate(&home, &server, &roots, None, Some(&token)).await?;
    first.verified_by(&root)?;

    // It goes back as it came: Istio finds all that it had.
    let now = secret(cluster, home.namespace(), SECRET).await?.context("it is there")?;
    for (key, text) in pieces {
        ensure!(now.get(key).map(|now| now.trim()) == Some(text.trim()), "{key} is another one");
    }
    ensure!(now.contains_key("meltemi-rotation.json"), "until when it signed is kept");

    // Istiod renews the certificate of its root, under the same key.
    let renewed = folder.renewed("istio", "renewed").await?;
    let edit = json!({"stringData": {"ca-cert.pem": renewed, "root-cert.pem": renewed}}).to_string();
    cluster
        .kubectl(&["patch", "secret", SECRET, "-n", home.namespace(), "--type=merge", "-p", &edit])
        .await?;
    let roots = roots_that(cluster, &shop, "the renewed root is told", |text| has(text, &renewed)).await?;
    let second = certificate(&home, &server, &roots, Some(&first), None).await?;
    // Whoever has the one trusts the other.
    second.verified_by(&root)?;
    first.verified_by(&renewed)?;
    Ok(())
}

pub(crate) async fn spoilt() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &shop).await?;
    let token = token(cluster, &shop, "cart", 12).await?;
    let first = certificate(&home, &server, &roots, None, Some(&token)).await?;
    let kept = secret(cluster, home.namespace(), SECRET).await?.context("it is there")?;

    // Another root in its place is trusted by nobody.
    let folder = Folder::new()?;
    let other = folder.root("other").await?;
    let edit = json!({"stringData": {"ca-cert.pem": other, "ca-key.pem": folder.read("other-key.pem")?}})
        .to_string();
    cluster
        .kubectl(&["patch", "secret", SECRET, "-n", home.namespace(), "--type=merge", "-p", &edit])
        .await?;
    server.says_within(LIMIT, &[SECRET, "put the former pieces back"]).await?;
    let second = certificate(&home, &server, &roots, Some(&first), None).await?;
    second.verified_by(&roots)?;

    // The former pieces come back, and then it is deleted: it is written again as it was.
    let edit = json!({"stringData": {"ca-cert.pem": kept["ca-cert.pem"], "ca-key.pem": kept["ca-key.pem"]}})
        .to_string();
    cluster
        .kubectl(&["patch", "secret", SECRET, "-n", home.namespace(), "--type=merge", "-p", &edit])
        .await?;
    server.says_within(LIMIT, &["is read and kept again"]).await?;
    cluster.kubectl(&["delete", "secret", SECRET, "-n", home.namespace()]).await?;
    let again = until("the Secret is back", async || secret(cluster, home.namespace(), SECRET).await).await?;
    ensure!(
        again["ca-cert.pem"] == kept["ca-cert.pem"] && again["ca-key.pem"] == kept["ca-key.pem"],
        "another root"
    );

    // A replica that starts from it has the same root.
    let fresh = home.replica().await?;
    until("it signs with the same root", async || {
        Ok(Asker::connect(fresh.addresses().secure, &name(&home), &roots, None).await.ok().map(drop))
    })
    .await?;
    certificate(&home, &fresh, &roots, Some(&second), None).await?.verified_by(&roots)?;
    Ok(())
}
