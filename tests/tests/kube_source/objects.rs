//! Objects as they come, change and go.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{Patch, PatchParams};
use meltemi_names::TypeUrl;
use meltemi_testkit::kube::{Cluster, Pod};
use meltemi_testkit::xds::{Form, Held, Node};
use meltemi_tests::control_plane::{split as weights, virtual_host};
use meltemi_tests::identity::until;
use meltemi_tests::kubernetes::{
    Client, Home, endpoints as addresses, rule, same_as_from_scratch, service, slice, split,
};
use serde_json::json;

/// Services of this port.
pub(crate) const PORT: u16 = 9080;

fn cluster(namespace: &str, service: &str, subset: &str) -> String {
    format!("outbound|{PORT}|{subset}|{service}.{namespace}.svc.cluster.local")
}

pub(crate) fn has(held: &Held, namespace: &str, service: &str, subset: &str, expected: &[&str]) -> bool {
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

/// A pod's restart counts, of which the API server tells as of anything.
pub(crate) async fn nothing_new() -> Result<()> {
    const TOLD: &str = "meltemi_sources_kube_changes_total{kind=\"pods\"}";
    const PUBLISHED: &str = "meltemi_serve_publish_duration_seconds_count";
    const RESTARTS: u64 = 20;
    let home = Home::shared().await?;
    let kube = home.cluster();
    let shop = kube.namespace("shop").await?;
    kube.run_pod(&Pod::new(&shop, "reviews-1", Ipv4Addr::new(10, 8, 9, 1)).label("app", "reviews")).await?;
    kube.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    client.until("the pod", |held| has(held, &shop, "reviews", "", &["10.8.9.1"])).await?;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(kube.admin().await?, &shop);
    let published = server.metric(PUBLISHED).await?;
    for restarts in 1..=RESTARTS {
        let told = server.metric(TOLD).await?;
        let container =
            json!({"name": "app", "image": "a", "imageID": "", "ready": true, "restartCount": restarts});
        let status = json!({"status": {"containerStatuses": [container]}});
        pods.patch_status("reviews-1", &PatchParams::default(), &Patch::Merge(status)).await?;
        until("the restart was told", async || Ok(server.metric(TOLD).await? > told)).await?;
    }
    kube.set_ready(&shop, "reviews-1", false).await?;
    client.until("the pod is not ready", |held| has(held, &shop, "reviews", "", &[])).await?;
    let published = server.metric(PUBLISHED).await? - published;
    // What is not ready, and its slice; and what else happens in the cluster meanwhile.
    ensure!((1..RESTARTS / 2).contains(&published), "{RESTARTS} restarts were published {published} times");
    Ok(())
}

/// Whether requests to the service go to v1 by that percentage, and to v2 by the rest; 0: to neither, there is no route of its own.
pub(crate) fn is_split(held: &Held, namespace: &str, service: &str, percent: u64) -> bool {
    let Some(host) =
        virtual_host(held, &PORT.to_string(), &format!("{service}.{namespace}.svc.cluster.local"))
    else {
        return false;
    };
    let found = weights(&host);
    match percent {
        0 => found == [("-".to_owned(), 100)],
        _ => found == [("v1".to_owned(), percent), ("v2".to_owned(), 100 - percent)],
    }
}

/// Reads the route, sets its weights, and writes the whole object; again, if somebody wrote it meanwhile (a status, say).
async fn write_back(kube: &Cluster, version: &str, namespace: &str, percent: u64) -> Result<()> {
    let kind = format!("virtualservices.{version}.networking.istio.io");
    loop {
        let now = kube.kubectl(&["get", &kind, "reviews", "-n", namespace, "-o", "json"]).await?;
        let mut object: serde_json::Value = serde_json::from_str(&now)?;
        let route = object["spec"]["http"][0]["route"].as_array_mut().context("routes")?;
        route[0]["weight"] = percent.into();
        route[1]["weight"] = (100 - percent).into();
        match kube.kubectl_with(&["replace", "-f", "-"], &object.to_string()).await {
            Ok(_) => return Ok(()),
            Err(error) if format!("{error:#}").contains("(Conflict)") => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) async fn canary() -> Result<()> {
    let home = Home::shared().await?;
    let kube = home.cluster();
    let shop = kube.namespace("shop").await?;
    kube.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    kube.apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);

    for (version, percent) in [("v1", 90), ("v1beta1", 80), ("v1alpha3", 70)] {
        let weights = [("v1", percent), ("v2", 100 - percent)];
        kube.apply(&split(version, &shop, "reviews", &weights)).await?;
        client.until(version, |held| is_split(held, &shop, "reviews", u64::from(percent))).await?;
    }
    // Flagger writes the whole object back, at v1beta1; Argo Rollouts at v1alpha3.
    for (version, percent) in [("v1beta1", 60), ("v1alpha3", 50)] {
        write_back(kube, version, &shop, percent).await?;
        client.until(version, |held| is_split(held, &shop, "reviews", percent)).await?;
    }
    kube.kubectl(&["delete", "virtualservice", "reviews", "-n", &shop]).await?;
    client.until("no route of its own", |held| is_split(held, &shop, "reviews", 0)).await?;
    ensure!(client.streams() == 1, "the stream was closed");
    Ok(())
}

/// The mesh's settings, in the ConfigMap that the chart names.
fn settings(namespace: &str, mesh: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: {namespace}}}, data: {{mesh: '{mesh}'}}}}"
    )
}

pub(crate) async fn settings_change() -> Result<()> {
    let home = Home::shared().await?;
    let kube = home.cluster();
    let shop = kube.namespace("shop").await?;
    kube.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    let lets_pass = |held: &Held| held.names(TypeUrl::VirtualHost).contains(&"9080/allow_any");
    client.until("strangers may be called", lets_pass).await?;
    let closed = settings(home.namespace(), "outboundTrafficPolicy: {mode: REGISTRY_ONLY}");
    kube.apply(&closed).await?;
    client
        .until("strangers may not", |held| !held.names(TypeUrl::VirtualHost).is_empty() && !lets_pass(held))
        .await?;

    // What cannot be read takes nothing back.
    kube.apply(&settings(home.namespace(), "outboundTrafficPolicy: {mode: ")).await?;
    server.says(&["error", "ConfigMap", "istio", home.namespace()]).await?;
    ensure!(!lets_pass(&client.held()), "the last good settings are gone");
    kube.kubectl(&["delete", "configmap", "istio", "-n", home.namespace()]).await?;
    client.until("as without settings", lets_pass).await
}

pub(crate) async fn folder_and_cluster() -> Result<()> {
    let home = Home::shared().await?;
    let kube = home.cluster();
    let shop = kube.namespace("shop").await?;
    kube.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    kube.apply(&split("v1", &shop, "reviews", &[("v1", 90), ("v2", 10)])).await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().display().to_string();
    std::fs::write(folder.path().join("rule.yaml"), rule(&shop, "reviews", &["v1", "v2"]))?;
    let server = home.launch(home.kubeconfig(), &["--config", &path]).await?.when_ready().await?;
    server.says(&["serving both", &path]).await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    client
        .until("the cluster's route, the folder's rule", |held| is_split(held, &shop, "reviews", 90))
        .await?;

    let file = folder.path().join("route.yaml");
    std::fs::write(&file, split("v1", &shop, "reviews", &[("v1", 70), ("v2", 30)]))?;
    client.until("the folder's counts", |held| is_split(held, &shop, "reviews", 70)).await?;
    server.says(&["both-sources", "reviews", "route.yaml"]).await?;
    kube.apply(&split("v1", &shop, "reviews", &[("v1", 60), ("v2", 40)])).await?;
    kube.apply(&slice(&shop, "later", PORT, &["10.8.8.1"])).await?;
    client.until("a later change", |held| has(held, &shop, "later", "", &["10.8.8.1"])).await?;
    ensure!(is_split(&client.held(), &shop, "reviews", 70), "the cluster's counts");
    std::fs::remove_file(&file)?;
    client.until("the cluster's latest", |held| is_split(held, &shop, "reviews", 60)).await
}
