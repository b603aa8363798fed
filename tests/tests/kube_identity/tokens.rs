//! Tokens of the real API server, good and bad.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::Api;
use kube::api::PostParams;
use meltemi_testkit::kube::{Cluster, Pod};
use meltemi_tests::kubernetes::{Asker, Home};
use tonic::Code;

use crate::stage::{account_of, ask, certificate, count, name, passes, roots_of, token, until, workload};

pub(crate) async fn granted() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let (shop, other) = (cluster.namespace("shop").await?, cluster.namespace("other").await?);
    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &shop).await?;
    ensure!(count(&roots) == 1, "{roots}");

    let token = token(cluster, &shop, "cart", 1).await?;
    let first = certificate(&home, &server, &roots, None, Some(&token)).await?;
    let name = format!("spiffe://cluster.local/ns/{shop}/sa/cart");
    ensure!(first.verified_by(&roots)? == name, "another name");
    ensure!(first.roots() == roots, "it trusts what its namespace is told");
    // Whoever it talks to in another namespace verifies it by what is there.
    ensure!(first.verified_by(&roots_of(&home, &server, &other).await?)? == name, "another name");

    // From then on it needs no token: the certificate gets the next one.
    let second = certificate(&home, &server, &roots, Some(&first), None).await?;
    ensure!(second.verified_by(&roots)? == name, "another name");
    ensure!(second.chain[0] != first.chain[0], "it is a new one");
    // It is asked about once, however often it comes.
    let reviews = server.metric("meltemi_identity_token_reviews_total").await?;
    ensure!(reviews > 0, "nobody was asked");
    for _ in 0..5 {
        certificate(&home, &server, &roots, None, Some(&token)).await?;
    }
    ensure!(server.metric("meltemi_identity_token_reviews_total").await? == reviews, "asked again");
    Ok(())
}

/// Waits until the API server itself does not take a token any more: it hears of what is deleted by watches of its own.
async fn taken_back(cluster: &Cluster, token: &str) -> Result<()> {
    let api = Api::<TokenReview>::all(cluster.admin().await?);
    until("the API server refuses the token", async || {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec!["istio-ca".to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = api.create(&PostParams::default(), &review).await?.status.context("a status")?;
        Ok((status.authenticated != Some(true)).then_some(()))
    })
    .await
}

pub(crate) async fn refused() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &shop).await?;
    let pod = workload(cluster, &shop, "cart", 2).await?;
    let good = cluster.token(&shop, "cart", &["istio-ca"], Some(&pod)).await?;
    let gone = token(cluster, &shop, "gone", 3).await?;
    cluster.kubectl(&["delete", "serviceaccount", "gone", "-n", &shop]).await?;
    taken_back(cluster, &gone).await?;

    let mut spoilt = good.clone();
    spoilt.pop();
    let bad = [
        ("a token for another audience", Some(cluster.token(&shop, "cart", &["vault"], Some(&pod)).await?)),
        ("a token for the API server itself", Some(cluster.token(&shop, "cart", &[], Some(&pod)).await?)),
        ("a token of an account that is gone", Some(gone)),
        ("a token whose signature is cut", Some(spoilt)),
        ("no token at all", Some("let-me-in".to_owned())),
        ("nothing", None),
    ];
    for (what, token) in bad {
        let answer = ask(&home, &server, &roots, None, token.as_deref()).await?;
        let status = answer.err().with_context(|| format!("a certificate for {what}"))?;
        ensure!(status.code() == Code::Unauthenticated, "{what}: {status}");
        ensure!(status.message() == "request authenticate failure", "{what} is told why: {status}");
        // Whoever may read the log must not be able to be that workload.
        if let Some(token) = token.filter(|token| token.len() > 40) {
            ensure!(!server.log().contains(&token[token.len() - 40..]), "{what} is in the log");
        }
    }
    certificate(&home, &server, &roots, None, Some(&good)).await?;
    Ok(())
}

pub(crate) async fn spoken_for() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    for (account, last, node) in [("ztunnel", 51, "east"), ("cart", 52, "east"), ("bank", 53, "west")] {
        cluster.node(node, &[]).await?;
        account_of(cluster, &shop, account).await?;
        let pod = Pod::new(&shop, &format!("{account}-1"), [10, 8, 7, last]).account(account).on(node);
        cluster.run_pod(&pod).await?;
    }
    let listed = format!("{shop}/ztunnel");
    let server =
        home.launch(home.kubeconfig(), &["--trusted-node-accounts", &listed]).await?.when_ready().await?;
    let roots = roots_of(&home, &server, &shop).await?;
    let token = cluster.token(&shop, "ztunnel", &["istio-ca"], Some("ztunnel-1")).await?;
    let id = |account: &str| format!("spiffe://cluster.local/ns/{shop}/sa/{account}");
    let mut asker = Asker::connect(server.addresses().secure, &name(&home), &roots, None).await?;
    let found = until("the certificate of a pod of its node", async || {
        match asker.ask_for(Some(&token), Some(&id("cart"))).await {
            Err(status) if passes(&status) => Ok(None),
            answer => Ok(Some(answer?)),
        }
    })
    .await
    .with_context(|| server.log())?;
    ensure!(found.verified_by(&roots)? == id("cart"), "another name");
    let own = cluster.token(&shop, "cart", &["istio-ca"], Some("cart-1")).await?;
    for (what, token, wanted) in [
        ("of a pod of another node", &token, id("bank")),
        ("of another trust domain", &token, format!("spiffe://other/ns/{shop}/sa/cart")),
        ("that one who is not listed asks for", &own, id("ztunnel")),
    ] {
        let answer = asker.ask_for(Some(token), Some(&wanted)).await;
        let status = answer.err().with_context(|| format!("a certificate {what}"))?;
        ensure!(status.code() == Code::Unauthenticated, "{what}: {status}");
    }
    Ok(())
}
