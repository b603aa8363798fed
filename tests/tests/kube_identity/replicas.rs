//! Replicas share nothing but the API server, and have one root all the same.

use anyhow::{Context, Result, ensure};
use meltemi_tests::kubernetes::Home;
use meltemi_tests::live::{Addresses, Server, meltemi};
use serde_json::json;

use crate::stage::{certificate, count, page_that, roots_of, roots_that, secret, token};

pub(crate) async fn at_once() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let kubeconfig = home.kubeconfig();
    let mut launched = Vec::new();
    for _ in 0..3 {
        launched.push(home.launch(kubeconfig, &[]).await?);
    }
    let mut replicas = Vec::new();
    for server in launched {
        replicas.push(server.when_ready().await?);
    }
    let roots = roots_of(&home, &replicas[0], &shop).await?;
    ensure!(count(&roots) == 1, "{roots}");
    let token = token(cluster, &shop, "cart", 31).await?;
    for server in &replicas {
        let found = certificate(&home, server, &roots, None, Some(&token)).await?;
        found.verified_by(&roots)?;
        ensure!(found.roots() == roots, "a replica has another root");
    }
    let kept = secret(cluster, home.namespace(), "istio-ca-secret").await?.context("it is there")?;
    ensure!(kept["ca-cert.pem"].trim() == roots.trim(), "the Secret has another root");
    Ok(())
}

/// Starts a replica that asks another one.
async fn replica(home: &Home, at: Addresses, other: Addresses) -> Result<Server> {
    let peer = other.monitoring.to_string();
    home.launch_at(at, home.kubeconfig(), &["--peer", &peer]).await?.when_ready().await
}

/// Runs `meltemi ca` as an operator of that cluster; its exit code, and what it says.
async fn ca(home: &Home, arguments: &[&str]) -> Result<(i32, String)> {
    let kubeconfig = home.cluster().kubeconfig().display().to_string();
    let all = ["ca", arguments[0], "--kubeconfig", &kubeconfig, "--namespace", home.namespace()];
    meltemi([&all[..], &arguments[1..]].concat()).await
}

pub(crate) async fn rotation() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let (here, there) = (Addresses::free([127, 0, 0, 1].into())?, Addresses::free([127, 0, 0, 1].into())?);
    let first = replica(&home, here, there).await?;
    let second = replica(&home, there, here).await?;
    let old = roots_of(&home, &first, &shop).await?;
    let token = token(cluster, &shop, "cart", 32).await?;
    let before = certificate(&home, &second, &old, None, Some(&token)).await?;

    // One is away: it would answer with the old root alone, so the new one may not sign.
    second.kill().await?;
    let (code, said) = ca(&home, &["rotate", "--timeout", "1s"]).await?;
    ensure!(
        code == 1 && said.contains("distributing") && said.contains("what was begun goes on"),
        "{code}: {said}"
    );
    let away = there.monitoring.to_string();
    let waits = |page: &serde_json::Value| {
        page["phase"] == "distributing" && page["waiting"]["names"] == json!([away])
    };
    page_that(&first, "the change waits for the replica that is away", waits).await?;
    let found = certificate(&home, &first, &old, Some(&before), None).await?;
    found.verified_by(&old)?;
    ensure!(count(found.roots()) == 2, "both are trusted from now on");
    let both = roots_that(cluster, &shop, "both roots are told", |text| count(text) == 2).await?;

    // It comes back, and knows.
    let second = replica(&home, there, here).await?;
    page_that(&first, "workloads are waited for", |page| page["phase"] == "renewing").await?;
    page_that(&second, "so does the other one", |page| page["phase"] == "renewing").await?;

    // The one that began it dies, and another one goes on with it.
    first.kill().await?;
    let (code, said) = ca(&home, &["rotate", "--force"]).await?;
    let told =
        said.contains("not waiting for workloads that trust only the old root") && said.contains("retiring");
    ensure!(code == 0 && told, "{code}: {said}");
    page_that(&second, "the new one signs", |page| page["phase"] == "retiring").await?;
    let renewed = certificate(&home, &second, &both, Some(&before), None).await?;
    ensure!(renewed.verified_by(&old).is_err(), "the old one signs still");
    renewed.verified_by(&both)?;
    let first = replica(&home, here, there).await?;
    let found = page_that(&first, "the one that comes back has it from the Secret", |page| {
        page["phase"] == "retiring"
    })
    .await?;
    ensure!(found["signers"].as_array().map(Vec::len) == Some(2), "{found}");
    certificate(&home, &first, &both, Some(&renewed), None).await?.verified_by(&both)?;

    let (code, said) = ca(&home, &["status"]).await?;
    ensure!(
        code == 0 && said.contains("retiring") && said.contains("certificates that the old root signed"),
        "{said}"
    );
    let (code, said) = ca(&home, &["rotate", "--force"]).await?;
    ensure!(code == 0 && said.contains("steady"), "{code}: {said}");
    for server in [&first, &second] {
        page_that(server, "the old one is retired", |page| page["phase"] == "steady").await?;
    }
    let new = roots_that(cluster, &shop, "only the new root is told", |text| count(text) == 1).await?;
    ensure!(new != old, "it is the old one");
    certificate(&home, &first, &new, Some(&renewed), None).await?.verified_by(&new)?;
    Ok(())
}
