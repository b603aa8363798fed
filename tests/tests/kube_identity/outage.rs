//! The API server is away: what is known goes on.

use anyhow::{Result, ensure};
use meltemi_testkit::kube::Proxy;
use meltemi_tests::kubernetes::{Asker, Home};

use crate::stage::{certificate, name, passes, roots_of, token};

pub(crate) async fn renewals() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let proxy = Proxy::start(cluster).await?;
    let kubeconfig = home.through(&proxy).await?;
    let server = home.launch(&kubeconfig, &[]).await?.when_ready().await?;
    let roots = roots_of(&home, &server, &shop).await?;
    let (known, unknown) =
        (token(cluster, &shop, "cart", 41).await?, token(cluster, &shop, "bank", 42).await?);
    let mut held = certificate(&home, &server, &roots, None, Some(&known)).await?;

    proxy.refuse().await;
    for _ in 0..3 {
        held = certificate(&home, &server, &roots, Some(&held), None).await?;
        held.verified_by(&roots)?;
    }
    // A token that was asked about a moment ago is known still; another one is to be shown again later.
    certificate(&home, &server, &roots, None, Some(&known)).await?;
    let mut asker = Asker::connect(server.addresses().secure, &name(&home), &roots, None).await?;
    let status = asker.ask(Some(&unknown)).await.err();
    ensure!(status.as_ref().is_some_and(passes), "{status:?}");

    proxy.accept().await?;
    certificate(&home, &server, &roots, None, Some(&unknown)).await?.verified_by(&roots)?;
    Ok(())
}
