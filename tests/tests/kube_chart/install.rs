//! The chart, installed: by the strictest rules, upgraded, beside Istio's own CRDs, and removed.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use meltemi_testkit::kube::{Cluster, Kubelet};
use serde_json::{Value, json};

use crate::objects::{cluster, documents, folder};

const EVERYTHING: &[&str] = &[
    "revision=blue",
    "autoscaling.enabled=true",
    "networkPolicy.enabled=true",
    "service.istiodAlias=istiod",
    "meshConfig.accessLogFile=/dev/stdout",
    "serve.extraArgs={--namespace=shop}",
];

fn chart() -> Result<String> {
    let chart = folder("deploy/helm/meltemi");
    Ok(chart.to_str().context("a path that is text")?.to_owned())
}

/// `helm COMMAND meltemi CHART -n NAMESPACE --set ...`
pub(crate) async fn helm(cluster: &Cluster, command: &str, namespace: &str, set: &[&str]) -> Result<String> {
    let chart = chart()?;
    let mut arguments = vec![command, "meltemi", &chart, "--namespace", namespace];
    for value in set {
        arguments.extend(["--set", value]);
    }
    // A Helm that was built without a version makes up an old one where it asks no cluster.
    if command == "template" {
        arguments.extend(["--kube-version", meltemi_testkit::kube::VERSION]);
    }
    cluster.helm(&arguments).await
}

/// Every object is taken by the API server, no field of it unknown.
#[tokio::test]
async fn what_the_chart_renders_is_taken_with_strict_validation() -> Result<()> {
    let cluster = cluster().await?;
    for set in [&[][..], EVERYTHING] {
        let namespace = cluster.namespace("rendered").await?;
        cluster.apply(&helm(&cluster, "template", &namespace, set).await?).await?;
    }
    Ok(())
}

async fn names(cluster: &Cluster, what: &str) -> Result<Vec<String>> {
    let text = cluster.kubectl(&["get", what, "-o", "name"]).await?;
    Ok(text.lines().map(str::to_owned).collect())
}

async fn read(cluster: &Cluster, arguments: &[&str]) -> Result<Value> {
    let text = cluster.kubectl(&[&["get"], arguments, &["-o", "json"]].concat()).await?;
    Ok(serde_json::from_str(&text)?)
}

/// The whole life of a release, in a namespace that takes none but restricted pods, in a cluster that has one CRD of Istio's.
#[tokio::test]
async fn a_release_is_installed_upgraded_and_removed_and_leaves_the_mesh_as_it_was() -> Result<()> {
    let cluster = Cluster::start().await?;
    let _kubelet =
        Kubelet::start(&cluster, "istio-system", &["east", "west"], Ipv4Addr::new(10, 244, 9, 1)).await?;
    let restricted = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "istio-system", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    });
    cluster.apply(&restricted.to_string()).await?;
    let foreign =
        meltemi_api::crd::all().into_iter().find(|crd| crd.plural() == "gateways").context("one")?;
    let mut foreign = foreign.to_value();
    foreign["metadata"]["labels"] = json!({"app": "istio-pilot", "release": "istio"});
    cluster.apply(&foreign.to_string()).await?;

    let notes = helm(&cluster, "install", "istio-system", &[]).await?;
    assert!(notes.contains("deployment/meltemi") && notes.contains("15014"), "{notes}");
    let rollout = ["rollout", "status", "deployment/meltemi", "-n", "istio-system", "--timeout=60s"];
    cluster.kubectl(&rollout).await?;
    assert_eq!(names(&cluster, "customresourcedefinitions").await?.len(), 13);
    let gateways = read(&cluster, &["crd", "gateways.networking.istio.io"]).await?;
    assert_eq!(gateways["metadata"]["labels"]["release"], "istio", "it is as it was");
    assert!(gateways["metadata"]["annotations"]["meta.helm.sh/release-name"].is_null());
    let sidecars = read(&cluster, &["crd", "sidecars.networking.istio.io"]).await?;
    assert_eq!(sidecars["metadata"]["annotations"]["meta.helm.sh/release-name"], "meltemi");

    let object = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: kept}, spec: {hosts: [a]}}";
    cluster.apply(object).await?;
    let set = ["replicaCount=3", "service.istiodAlias=istiod", "networkPolicy.enabled=true"];
    helm(&cluster, "upgrade", "istio-system", &set).await?;
    cluster.kubectl(&rollout).await?;
    let deployment = read(&cluster, &["deployment", "meltemi", "-n", "istio-system"]).await?;
    assert_eq!(deployment["status"]["readyReplicas"], 3);
    let slices =
        read(&cluster, &["endpointslices", "-n", "istio-system", "-l", "kubernetes.io/service-name=istiod"])
            .await?;
    let ports = slices["items"][0]["ports"].as_array().context("ports")?;
    assert_eq!(ports.len(), 4, "the alias leads to every port of the pods: {ports:?}");
    // An upgrade does not take what it left alone before.
    let gateways = read(&cluster, &["crd", "gateways.networking.istio.io"]).await?;
    assert!(gateways["metadata"]["annotations"]["meta.helm.sh/release-name"].is_null());

    cluster.helm(&["uninstall", "meltemi", "--namespace", "istio-system"]).await?;
    assert_eq!(names(&cluster, "customresourcedefinitions").await?.len(), 13);
    assert_eq!(names(&cluster, "virtualservices").await?, ["virtualservice.networking.istio.io/kept"]);
    let left = cluster.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]).await?;
    assert!(!left.contains("meltemi"), "{left}");

    // Installed again, its own CRDs are its own still.
    helm(&cluster, "install", "istio-system", &["crds.keepForeign=true"]).await?;
    let sidecars = read(&cluster, &["crd", "sidecars.networking.istio.io"]).await?;
    assert_eq!(sidecars["metadata"]["annotations"]["meta.helm.sh/release-name"], "meltemi");
    cluster.helm(&["uninstall", "meltemi", "--namespace", "istio-system"]).await?;
    // Who says that they are to be taken hears from Helm whose they are.
    let error = helm(&cluster, "install", "istio-system", &["crds.keepForeign=false"]).await;
    let error = format!("{:#}", error.err().context("Helm takes what is another's")?);
    assert!(error.contains("gateways.networking.istio.io"), "{error}");
    Ok(())
}

/// What the documentation says: `meltemi crds | kubectl apply --server-side -f -`, also over Istio's own.
#[tokio::test]
async fn the_definitions_are_taken_from_a_pipe_and_again() -> Result<()> {
    let cluster = cluster().await?;
    let text = crate::objects::definitions();
    let arguments = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"];
    for _ in 0..2 {
        let said = cluster.kubectl_with(&arguments, &text).await?;
        assert_eq!(said.lines().count(), documents(&text)?.len(), "{said}");
    }
    Ok(())
}
