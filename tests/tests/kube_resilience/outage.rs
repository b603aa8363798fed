//! The API server and its etcd go away, under real requests.

use std::sync::Arc;

use anyhow::{Result, ensure};
use meltemi_testkit::kube::{Cluster, Proxy};
use meltemi_testkit::xds::{Form, Node};
use meltemi_tests::kubernetes::{
    APP, Client, Home, Shop, define, endpoints, rule, same_as_from_scratch, settled, split, state,
};

pub(crate) async fn outage() -> Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    define(&cluster).await?;
    let home = Home::within(Arc::clone(&cluster), |_| true).await?;
    let mut shop = Shop::open(&home).await?;
    shop.add(&home, "v1").await?;
    shop.add(&home, "v2").await?;
    cluster.apply(&rule(shop.namespace(), APP, &["v1", "v2"])).await?;
    cluster.apply(&split("v1", shop.namespace(), APP, &[("v1", 50), ("v2", 50)])).await?;
    let proxy = Proxy::start(&cluster).await?;
    let server = home.launch(&home.through(&proxy).await?, &[]).await?.when_ready().await?;
    let xds = server.addresses().xds;
    let node = Node::sidecar("other", shop.namespace());
    let name = format!("other.{}", shop.namespace());
    let mut client = Client::start(xds, node.clone(), Form::Delta);
    let has = |held: &_, addresses: &[String], cluster: &str| {
        endpoints(held, cluster).is_some_and(|found| found == addresses)
    };
    let all = shop.cluster_name();
    client.until("two pods", |held| has(held, &shop.addresses(), &all)).await?;
    shop.enter(&server, xds).await?;
    settled(&server, &name).await?;
    let before = state(&client.held());
    client.take_steps();
    let load = shop.load().start();

    // Killed: what was read is served, also to those who come now.
    cluster.stop_api_server();
    server.says(&["the API server cannot be reached"]).await?;
    let mut late = Client::start(xds, node.clone(), Form::Delta);
    late.until("two pods", |held| has(held, &shop.addresses(), &all)).await?;
    settled(&server, &name).await?;
    ensure!(state(&late.held()) == before && state(&client.held()) == before, "something was lost");
    ensure!(server.ready_page().await?.0 == 200, "it calls itself not ready");
    drop(late);
    cluster.start_api_server().await?;
    shop.add(&home, "v1").await?;
    client.until("a third pod", |held| has(held, &shop.addresses(), &all)).await?;

    // Away for Meltemi alone, while pods come and go: those that went answer until they are known to be gone.
    proxy.refuse().await;
    let gone = shop.remove(&home).await?;
    shop.add(&home, "v2").await?;
    let mut late = Client::start(xds, node.clone(), Form::Delta);
    late.until("what was known", |held| endpoints(held, &all).is_some_and(|found| found.len() == 3)).await?;
    proxy.accept().await?;
    client.until("one went, one came", |held| has(held, &shop.addresses(), &all)).await?;
    late.until("so for the late one", |held| has(held, &shop.addresses(), &all)).await?;
    drop(late);

    // etcd away: the API server stays and can say nothing.
    cluster.stop_etcd();
    cluster.start_etcd().await?;
    shop.add(&home, "v1").await?;
    client.until("a pod after etcd", |held| has(held, &shop.addresses(), &all)).await?;

    // An API server that starts says much that is not so for long; all that is told is that it was away.
    let log = server.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("[api-")).collect();
    ensure!((1..=6).contains(&told.len()), "told {} times:\n{}", told.len(), told.join("\n"));
    ensure!(!log.contains("api-forbidden") && !log.contains("eof in poll"), "{log}");

    let removed: Vec<_> = client.take_steps().into_iter().filter(|step| !step.removed.is_empty()).collect();
    ensure!(removed.is_empty(), "something was taken away meanwhile: {removed:?}");
    ensure!(client.streams() == 1, "the stream was closed");
    shop.settle().await;
    load.stop().await.expect_all(200)?;
    drop(gone);
    shop.get().await?;
    same_as_from_scratch(&home, &mut client, &node, &name).await
}
