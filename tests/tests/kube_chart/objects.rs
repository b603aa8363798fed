//! A cluster that has the CRDs of `meltemi crds`, and objects offered to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use meltemi_testkit::kube::Cluster;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// A folder of this checkout.
pub(crate) fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// All CRDs, as one stream.
pub(crate) fn definitions() -> String {
    let crds: Vec<String> = meltemi_api::crd::all().iter().map(|crd| crd.to_value().to_string()).collect();
    crds.join("\n---\n")
}

/// The cluster that the tests of this process share, with the CRDs.
pub(crate) async fn cluster() -> Result<Arc<Cluster>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let cluster = Cluster::shared().await?;
    let _turn = ONE_AT_A_TIME.lock().await;
    // Who comes first applies them all, in their order; the cluster may be another one by then.
    let last = meltemi_api::crd::all().last().context("CRDs")?.name();
    if cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", &last).await?.is_none() {
        cluster.apply(&definitions()).await?;
    }
    Ok(cluster)
}

/// The documents of a text.
pub(crate) fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Result<Vec<Value>, _> =
        serde_norway::Deserializer::from_str(yaml).map(Value::deserialize).collect();
    Ok(documents?.into_iter().filter(|document| !document.is_null()).collect())
}

/// Offers an object, in the namespace `default`, with strict validation; nothing is stored.
///
/// # Errors
/// When the API server refuses it; with its words.
pub(crate) async fn offer(cluster: &Cluster, object: &Value) -> Result<Value> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text in {object}"));
    let (version, kind) = (text(&object["apiVersion"])?, text(&object["kind"])?);
    let (group, version) = version.split_once('/').context("a group")?;
    let crds = meltemi_api::crd::all();
    let crd =
        crds.iter().find(|crd| crd.kind().as_str() == kind).with_context(|| format!("no CRD of {kind}"))?;
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, &kind), crd.plural());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.admin().await?, "default", &resource);
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!("default");
    let parameters = PatchParams { dry_run: true, ..PatchParams::apply("tests").validation_strict() };
    let taken = api.patch(&text(&object["metadata"]["name"])?, &parameters, &Patch::Apply(&object)).await?;
    Ok(serde_json::to_value(taken)?)
}
