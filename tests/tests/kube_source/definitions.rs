//! Kinds that are not there yet, that go, and that are defined by somebody else.

use anyhow::{Context, Result, ensure};
use meltemi_testkit::xds::{Form, Node};
use meltemi_tests::kubernetes::{Client, Home, define, rule, same_as_from_scratch, slice, split};
use serde_json::{Value, json};

use crate::bad_input::own_cluster;
use crate::objects::{PORT, has, is_split};

const ROUTES: &str = "virtualservices.networking.istio.io";
const RULES: &str = "destinationrules.networking.istio.io";

/// A kind's definition that takes any object, as some installers write it, at one version.
fn loose(name: &str, version: &str) -> Result<Value> {
    let crd = meltemi_api::crd::all().into_iter().find(|crd| crd.name() == name).context("no such kind")?;
    let mut crd = crd.to_value();
    crd["spec"]["versions"] = json!([{
        "name": version, "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    }]);
    Ok(crd)
}

pub(crate) async fn definitions() -> Result<()> {
    let cluster = own_cluster().await?;
    let home = Home::within(cluster.clone(), |_| true).await?;
    let shop = cluster.namespace("shop").await?;
    cluster.apply(&slice(&shop, "reviews", PORT, &["10.8.7.1"])).await?;

    // None of Istio's kinds is there: the rest is served.
    let server = home.replica().await?;
    let node = Node::sidecar("client", &shop);
    let proxy = format!("client.{shop}");
    let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);
    client.until("own slices", |held| has(held, &shop, "reviews", "", &["10.8.7.1"])).await?;
    ensure!(
        !server.log().contains("networking.istio.io"),
        "a kind that is not there is no trouble:\n{}",
        server.log()
    );

    // They come, one at a version that is not the preferred one.
    for crd in [loose(ROUTES, "v1alpha3")?, loose(RULES, "v1")?] {
        cluster.apply(&crd.to_string()).await?;
    }
    cluster.apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
    cluster.apply(&split("v1alpha3", &shop, "reviews", &[("v1", 90), ("v2", 10)])).await?;
    client.until("a route", |held| is_split(held, &shop, "reviews", 90)).await?;

    // What this definition lets through is not what is meant.
    let patch = |spec: &str| format!("{{\"spec\": {spec}}}");
    let route = ["patch", "virtualservice", "reviews", "-n", &shop, "--type", "merge", "-p"];
    cluster.kubectl(&[&route[..], &[&patch("{\"hosts\": 7}")]].concat()).await?;
    server.says(&["error", "VirtualService", "hosts"]).await?;
    ensure!(is_split(&client.held(), &shop, "reviews", 90), "the last good is gone");
    cluster.kubectl(&[&route[..], &[&patch("{\"hosts\": [\"reviews\"], \"http\": [{\"route\": [{\"destination\": {\"host\": \"reviews\", \"subset\": \"v1\"}, \"weight\": 40}, {\"destination\": {\"host\": \"reviews\", \"subset\": \"v2\"}, \"weight\": 60}]}]}")]].concat()).await?;
    client.until("mended", |held| is_split(held, &shop, "reviews", 40)).await?;
    cluster.kubectl(&[&route[..], &[&patch("{\"hosts\": 7}")]].concat()).await?;
    server.says(&["error", "VirtualService", "hosts"]).await?;

    // The real definitions take the place of those; the object stays, and so does its last good.
    define(&cluster).await?;
    let mended = split("v1beta1", &shop, "reviews", &[("v1", 30), ("v2", 70)]);
    // An apply compares with what is there, which is none of the kind.
    cluster.kubectl_with(&["replace", "-f", "-"], &mended).await?;
    client.until("written at another version", |held| is_split(held, &shop, "reviews", 30)).await?;
    cluster.apply(&split("v1", &shop, "reviews", &[("v1", 20), ("v2", 80)])).await?;
    client.until("and at another", |held| is_split(held, &shop, "reviews", 20)).await?;
    same_as_from_scratch(&home, &mut client, &node, &proxy).await?;

    // A definition goes, and its objects with it; it comes back empty.
    cluster.kubectl(&["delete", "crd", ROUTES]).await?;
    client.until("no routes", |held| is_split(held, &shop, "reviews", 0)).await?;
    define(&cluster).await?;
    cluster.apply(&split("v1", &shop, "reviews", &[("v1", 10), ("v2", 90)])).await?;
    client.until("a route again", |held| is_split(held, &shop, "reviews", 10)).await?;
    same_as_from_scratch(&home, &mut client, &node, &proxy).await?;
    ensure!(client.streams() == 1, "the stream was closed");
    Ok(())
}
