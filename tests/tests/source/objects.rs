//! Objects as they come, change and go.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::kube::Pod;
use meltemi_testkit::xds::{Form, Held, Node};
use meltemi_tests::control_plane::{split as weights, virtual_host};
use meltemi_tests::kubernetes::{
    Client, Home, endpoints as addresses, rule, same_as_from_scratch, service, slice, split,
};

/// Services of this port.
const PORT: u16 = 9080;

fn cluster(namespace: &str, service: &str, subset: &str) -> String {
    format!("outbound|{PORT}|{subset}|{service}.{namespace}.svc.cluster.local")
}

fn has(held: &Held, namespace: &str, service: &str, subset: &str, expected: &[&str]) -> bool {
    addresses(held, &cluster(namespace, service, subset)).is_some_and(|found| found == expected)
}

pub(crate) async fn endpoints() -> Result<()> {
    let home = Home::shared().await?;
    let kube = home.cluster();
    let shop = kube.namespace("shop").await?;
    let server = home.replica().await?;
    let node = Node::sidecar("client", &shop).label("app", "client");
    let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);

    // The controller makes the slices of this one.
    for (name, version, last) in [("reviews-1", "v1", 1), ("reviews-2", "v2", 2)] {
        let pod = Pod::new(&shop, name, Ipv4Addr::new(10, 8, 1, last))
            .label("app", "reviews")
            .label("version", version);
        kube.run_pod(&pod).await?;
    }
    kube.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    kube.apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
    client.until("two pods", |held| has(held, &shop, "reviews", "", &["10.8.1.1", "10.8.1.2"])).await?;
    client
        .until("a pod of each version", |held| {
            has(held, &shop, "reviews", "v1", &["10.8.1.1"])
                && has(held, &shop, "reviews", "v2", &["10.8.1.2"])
        })
        .await?;

    // A pod that is not ready gets nothing; one that is again does.
    kube.set_ready(&shop, "reviews-2", false).await?;
    client.until("one pod is not ready", |held| has(held, &shop, "reviews", "v2", &[])).await?;
    kube.set_ready(&shop, "reviews-2", true).await?;
    client.until("it is again", |held| has(held, &shop, "reviews", "v2", &["10.8.1.2"])).await?;
    kube.delete_pod(&shop, "reviews-1").await?;
    client.until("one is gone", |held| has(held, &shop, "reviews", "", &["10.8.1.2"])).await?;

    // And these are somebody's own.
    kube.apply(&slice(&shop, "own", PORT, &["10.8.2.1", "10.8.2.2"])).await?;
    client.until("own slices", |held| has(held, &shop, "own", "", &["10.8.2.1", "10.8.2.2"])).await?;
    kube.apply(&slice(&shop, "own", PORT, &["10.8.2.3"])).await?;
    client.until("own slices changed", |held| has(held, &shop, "own", "", &["10.8.2.3"])).await?;
    same_as_from_scratch(&home, &mut client, &node, &format!("client.{shop}")).await?;

    kube.kubectl(&["delete", "service", "reviews", "own", "-n", &shop]).await?;
    client
        .until("no service", |held| {
            ["reviews", "own"].iter().all(|name| addresses(held, &cluster(&shop, name, "")).is_none())
        })
        .await?;
    same_as_from_scratch(&home, &mut client, &node, &format!("client.{shop}")).await
}

/// Where the requests to `reviews` go.
fn share(held: &Held, shop: &str) -> Vec<(String, u64)> {
    virtual_host(held, "9080", &format!("reviews.{shop}.svc.cluster.local"))
        .map(|host| weights(&host))
        .unwrap_or_default()
}

fn is(share: Vec<(String, u64)>, v1: u64, v2: u64) -> bool {
    share == [("v1".to_owned(), v1), ("v2".to_owned(), v2)]
}

pub(crate) async fn canary() -> Result<()> {
    let home = Home::shared().await?;
    let kube = home.cluster();
    let shop = kube.namespace("shop").await?;
    kube.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    kube.apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);

    for (version, step) in [("v1", 10), ("v1beta1", 20), ("v1alpha3", 30)] {
        let text = split(
            version,
            &shop,
            "reviews",
            &[("v1", 100 - step), ("v2", step as u32)].map(|(name, weight)| (name, weight as u32)),
        );
        kube.apply(&text).await?;
        client.until(version, |held| is(share(held, &shop), u64::from(100 - step), u64::from(step))).await?;
    }
    // Flagger writes the whole object back, at v1beta1; Argo Rollouts at v1alpha3.
    for (version, step) in [("v1beta1", 40), ("v1alpha3", 50)] {
        let kind = format!("virtualservices.{version}.networking.istio.io");
        let now = kube.kubectl(&["get", &kind, "reviews", "-n", &shop, "-o", "json"]).await?;
        let mut object: serde_json::Value = serde_json::from_str(&now)?;
        let route = object["spec"]["http"][0]["route"].as_array_mut().context("routes")?;
        route[0]["weight"] = (100 - step).into();
        route[1]["weight"] = step.into();
        kube.kubectl_with(&["replace", "-f", "-"], &object.to_string()).await?;
        client.until(version, |held| is(share(held, &shop), 100 - step, step)).await?;
    }
    kube.kubectl(&["delete", "virtualservice", "reviews", "-n", &shop]).await?;
    client.until("no route of its own", |held| share(held, &shop) == [("-".to_owned(), 100)]).await?;
    ensure!(client.streams() == 1, "the stream was closed");
    Ok(())
}
