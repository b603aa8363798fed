//! Pods and nodes made by hand: records that say what a kubelet would say, so that the controllers take them for real.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod as PodObject};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::Cluster;

/// A pod to be made.
#[derive(Clone, Debug)]
pub struct Pod {
    namespace: String,
    name: String,
    ip: IpAddr,
    node: String,
    account: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    ports: Vec<(String, u16)>,
    ready: bool,
}

impl Pod {
    /// A pod that is ready at that address, on the node `node`.
    ///
    /// Kubernetes takes no loopback address for an endpoint.
    pub fn new(namespace: &str, name: &str, ip: impl Into<IpAddr>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ip: ip.into(),
            node: "node".to_owned(),
            account: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            ports: Vec::new(),
            ready: true,
        }
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One more annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    /// On the node of that name instead, which is made if it is not there.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }

    /// As that service account instead of `default`.
    #[must_use]
    pub fn account(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    /// One more port of its container.
    #[must_use]
    pub fn port(mut self, name: &str, number: u16) -> Self {
        self.ports.push((name.to_owned(), number));
        self
    }

    /// Running, but not ready yet.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.ready = false;
        self
    }

    fn object(&self) -> Result<PodObject> {
        let ports: Vec<Value> =
            self.ports.iter().map(|(name, number)| json!({"name": name, "containerPort": number})).collect();
        let mut spec = json!({
            "nodeName": self.node,
            "containers": [{"name": "app", "image": "app", "ports": ports}],
        });
        if let Some(account) = &self.account {
            spec["serviceAccountName"] = json!(account);
        }
        Ok(serde_json::from_value(json!({
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "labels": self.labels,
                "annotations": self.annotations,
            },
            "spec": spec,
        }))?)
    }
}

impl Cluster {
    /// Makes a node, or gives the one of that name these labels (`topology.kubernetes.io/zone` and the like).
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn node(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let api: Api<Node> = Api::all(self.admin().await?);
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
        });
        // Its own manager: those who only need the node to exist leave its labels as they are.
        let manager = if labels.is_empty() { "meltemi-nodes" } else { "meltemi-labels" };
        api.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(node))
            .await
            .with_context(|| format!("making the node {name}"))?;
        Ok(())
    }

    /// Makes a pod and says that it runs.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn run_pod(&self, pod: &Pod) -> Result<()> {
        self.node(&pod.node, &[]).await?;
        let api: Api<PodObject> = Api::namespaced(self.admin().await?, &pod.namespace);
        let place = || format!("making the pod {}/{}", pod.namespace, pod.name);
        api.create(&PostParams::default(), &pod.object()?).await.with_context(place)?;
        let status = running(pod.ip, pod.ready);
        api.patch_status(&pod.name, &PatchParams::default(), &Patch::Strategic(status))
            .await
            .with_context(place)?;
        Ok(())
    }

    /// Says of a pod that it is ready, or not.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn set_ready(&self, namespace: &str, name: &str, ready: bool) -> Result<()> {
        let api: Api<PodObject> = Api::namespaced(self.admin().await?, namespace);
        let status = json!({"status": {"conditions": conditions(ready)}});
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await?;
        Ok(())
    }

    /// Asks a pod to end, as any deletion does: it is terminating until a [`super::Kubelet`], or
    /// [`Cluster::delete_pod`], says that it has ended.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn terminate_pod(&self, namespace: &str, name: &str) -> Result<()> {
        let api: Api<PodObject> = Api::namespaced(self.admin().await?, namespace);
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes a pod at once.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn delete_pod(&self, namespace: &str, name: &str) -> Result<()> {
        let api: Api<PodObject> = Api::namespaced(self.admin().await?, namespace);
        api.delete(name, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }
}

/// The status of a pod that runs at that address.
pub(super) fn running(ip: IpAddr, ready: bool) -> Value {
    json!({"status": {
        "phase": "Running",
        "startTime": Timestamp::now().to_string(),
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": conditions(ready),
    }})
}

fn conditions(ready: bool) -> Vec<Value> {
    let now = Timestamp::now().to_string();
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": now})
    };
    vec![
        condition("PodScheduled", true),
        condition("Initialized", true),
        condition("ContainersReady", ready),
        condition("Ready", ready),
    ]
}
