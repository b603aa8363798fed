//! The CRDs as an API server shows them: columns, categories, explanations, one object at all versions, a status of many writers.

use anyhow::{Context, Result};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::objects::cluster;

const SHOWN: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews, reviews.example.com]
  gateways: [mesh]
  http: [{route: [{destination: {host: reviews}}], timeout: 3s}]
---
apiVersion: networking.istio.io/v1beta1
kind: WorkloadEntry
metadata: {name: reviews-1}
spec: {address: 10.0.0.7}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs}
spec: {accessLogging: [{disabled: true}]}
";

#[tokio::test]
async fn kubectl_shows_istios_columns_and_finds_all_by_their_category() -> Result<()> {
    let cluster = cluster().await?;
    let shop = cluster.namespace("columns").await?;
    cluster.kubectl_with(&["apply", "--server-side", "-n", &shop, "-f", "-"], SHOWN).await?;
    let words = async |arguments: &[&str]| -> Result<Vec<Vec<String>>> {
        let text = cluster.kubectl(&[arguments, &["-n", &shop]].concat()).await?;
        Ok(text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
    };
    let rows = words(&["get", "vs"]).await?;
    assert_eq!(rows[0], ["NAME", "GATEWAYS", "HOSTS", "AGE"]);
    assert_eq!(rows[1][..3], ["reviews", r#"["mesh"]"#, r#"["reviews","reviews.example.com"]"#]);
    let rows = words(&["get", "we"]).await?;
    assert_eq!(rows[0], ["NAME", "AGE", "ADDRESS"]);
    assert_eq!(rows[1][2], "10.0.0.7");
    let all = words(&["get", "istio-io", "-o", "name"]).await?.concat();
    let expected = [
        "telemetry.telemetry.istio.io/logs",
        "virtualservice.networking.istio.io/reviews",
        "workloadentry.networking.istio.io/reviews-1",
    ];
    let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(all, expected);
    let networking = words(&["get", "networking-istio-io", "-o", "name"]).await?;
    assert_eq!(networking.len(), 2, "{networking:?}");
    Ok(())
}

/// Argo Rollouts writes v1alpha3, Flagger v1beta1, and Meltemi reads v1.
#[tokio::test]
async fn an_object_is_the_same_at_all_its_versions() -> Result<()> {
    let cluster = cluster().await?;
    let shop = cluster.namespace("versions").await?;
    cluster.kubectl_with(&["apply", "--server-side", "-n", &shop, "-f", "-"], SHOWN).await?;
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let version = format!("networking.istio.io/{version}");
        let found = cluster.get(&version, "VirtualService", &shop, "reviews").await?.context("there")?;
        assert_eq!(found.data["spec"]["http"][0]["timeout"], "3s", "{version}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_explains_the_fields() -> Result<()> {
    let cluster = cluster().await?;
    // The API server publishes a kind's schema a moment after it serves the kind.
    let published = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            ticks.tick().await;
            if let Ok(text) = cluster.kubectl(&["explain", "virtualservice.spec.http.timeout"]).await {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(std::time::Duration::from_secs(30), published).await?;
    assert!(text.contains("How long a request may take"), "{text}");
    let text = cluster.kubectl(&["explain", "destinationrule.spec.trafficPolicy", "--recursive"]).await?;
    assert!(text.contains("consecutive5xxErrors") && text.contains("portLevelSettings"), "{text}");
    Ok(())
}

/// Istio's controllers write numbers as text, and fields that no schema lists.
#[tokio::test]
async fn a_status_keeps_what_others_write() -> Result<()> {
    let cluster = cluster().await?;
    let shop = cluster.namespace("status").await?;
    cluster.kubectl_with(&["apply", "--server-side", "-n", &shop, "-f", "-"], SHOWN).await?;
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let resource = ApiResource::from_gvk_with_plural(&kind, "virtualservices");
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.admin().await?, &shop, &resource);
    let status = json!({
        "observedGeneration": "3",
        "addresses": [{"value": "240.240.0.1", "host": "reviews"}],
        "conditions": [{
            "type": "Reconciled", "status": "True", "observedGeneration": 3, "lastTransitionTime": "2026-01-31T12:00:00Z"
        }],
        "validationMessages": [{"level": "WARNING", "type": {"code": "IST0101", "name": "ReferencedResourceNotFound"}}]
    });
    let patch = Patch::Merge(json!({"status": status}));
    let written = api.patch_status("reviews", &PatchParams::default(), &patch).await?;
    assert_eq!(written.data["status"], status);
    let generation = written.metadata.generation;
    assert_eq!(generation, Some(1), "a status is no new generation");
    // And a status that comes with the object itself is not taken: that is what the subresource is for.
    let patch = Patch::Merge(json!({"status": {"observedGeneration": 9}}));
    assert_eq!(api.patch("reviews", &PatchParams::default(), &patch).await?.data["status"], status);
    Ok(())
}
