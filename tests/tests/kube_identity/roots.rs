//! ConfigMap `istio-ca-root-cert`, wherever there may be a workload.

use anyhow::{Context, Result, ensure};
use meltemi_tests::kubernetes::Home;
use serde_json::json;

use crate::openssl::Folder;
use crate::stage::{config_map, has, roots_of, roots_that, until};

pub(crate) async fn kept() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let old = cluster.namespace("old").await?;
    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &old).await?;
    // One that comes later.
    let shop = cluster.namespace("shop").await?;
    let is_right = |text: &str| text == roots;
    roots_that(cluster, &shop, "a new namespace has the roots", is_right).await?;
    let found = config_map(cluster, &shop).await?.context("it is there")?;
    ensure!(found["metadata"]["labels"]["istio.io/config"] == "true", "{found}");
    roots_that(cluster, "kube-system", "kube-system has the roots", is_right).await?;
    for left_out in ["kube-public", "kube-node-lease"] {
        ensure!(config_map(cluster, left_out).await?.is_none(), "{left_out} has them");
    }

    // What others keep there stays; what is ours comes back.
    let edit = json!({"data": {"own": "kept", "root-cert.pem": "spoilt"}}).to_string();
    cluster
        .kubectl(&["patch", "configmap", "istio-ca-root-cert", "-n", &shop, "--type=merge", "-p", &edit])
        .await?;
    roots_that(cluster, &shop, "the roots are back", is_right).await?;
    let found = config_map(cluster, &shop).await?.context("it is there")?;
    ensure!(found["data"]["own"] == "kept", "{found}");
    cluster.kubectl(&["delete", "configmap", "istio-ca-root-cert", "-n", &shop]).await?;
    roots_that(cluster, &shop, "the ConfigMap is back", is_right).await?;
    cluster.kubectl(&["label", "configmap", "istio-ca-root-cert", "-n", &shop, "istio.io/config-"]).await?;
    until("the label is back", async || {
        let found = config_map(cluster, &shop).await?.context("it is there")?;
        Ok((found["metadata"]["labels"]["istio.io/config"] == "true").then_some(()))
    })
    .await?;

    // Nothing is written that is as it should be.
    let writes = server.metric("meltemi_identity_root_writes_total").await?;
    let version =
        config_map(cluster, &old).await?.context("it is there")?["metadata"]["resourceVersion"].clone();
    let last = cluster.namespace("last").await?;
    roots_that(cluster, &last, "one more namespace has the roots", is_right).await?;
    until("that write is counted", async || {
        Ok((server.metric("meltemi_identity_root_writes_total").await? > writes).then_some(()))
    })
    .await?;
    ensure!(
        config_map(cluster, &old).await?.context("it is there")?["metadata"]["resourceVersion"] == version,
        "it was written again"
    );
    Ok(())
}

pub(crate) async fn selected() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": home.namespace()},
        "data": {"mesh": "discoverySelectors: [{matchLabels: {mesh: yes-please}}]\n"},
    });
    cluster.apply(&settings.to_string()).await?;
    let (inside, outside) = (cluster.namespace("inside").await?, cluster.namespace("outside").await?);
    cluster.kubectl(&["label", "namespace", &inside, "mesh=yes-please"]).await?;
    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &inside).await?;
    let has_none = async |namespace: &str| -> Result<bool> {
        let found = config_map(cluster, namespace).await?;
        Ok(found.is_none_or(|found| found["data"]["root-cert.pem"] != json!(roots)))
    };
    ensure!(has_none(&outside).await?, "a namespace that no selector selects has the roots");
    cluster.kubectl(&["label", "namespace", &outside, "mesh=yes-please"]).await?;
    roots_that(cluster, &outside, "it has them once it is selected", |text| text == roots).await?;
    Ok(())
}

pub(crate) async fn of_istio() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let (istios, ours) = (cluster.namespace("istios").await?, cluster.namespace("ours").await?);
    let theirs = Folder::new()?.root("theirs").await?;
    let literal = format!("--from-literal=root-cert.pem={theirs}");
    let make = ["create", "configmap", "istio-ca-root-cert", "-n", &istios, &literal];
    cluster.kubectl(&[&make[..], &["--field-manager=pilot-discovery"]].concat()).await?;
    let label = ["label", "configmap", "istio-ca-root-cert", "-n", &istios, "istio.io/config=true"];
    cluster.kubectl(&[&label[..], &["--field-manager=pilot-discovery"]].concat()).await?;

    let server = home.replica().await?;
    let roots = roots_of(&home, &server, &ours).await?;
    until("the operator is told", async || {
        let told =
            server.log().contains(&format!("{istios}/istio-ca-root-cert is Istio's and has other roots"));
        Ok(told.then_some(()))
    })
    .await?;
    let found = config_map(cluster, &istios).await?.context("it is there")?;
    let text = found["data"]["root-cert.pem"].as_str().context("a text")?;
    ensure!(has(text, &theirs) && !has(text, &roots), "Istio's agents have lost their control plane: {text}");

    // Where Istio is gone.
    cluster.kubectl(&["delete", "configmap", "istio-ca-root-cert", "-n", &istios]).await?;
    roots_that(cluster, &istios, "the roots are there", |text| text == roots).await.map(drop)
}
