//! Meltemi's own namespace: a service account with the roles of the Helm chart, and the program that runs as that account.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_testkit::kube::{Access, Cluster, Proxy};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{LIMIT, run};
use crate::live::{Addresses, Server};

/// The chart's name for the service account.
const ACCOUNT: &str = "meltemi";

/// The kinds of the chart that give rights.
const RIGHTS: [&str; 5] = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// How long a token is good.
const TOKEN: Duration = Duration::from_secs(3600);

/// The namespace.
pub struct Home {
    cluster: Arc<Cluster>,
    namespace: String,
    rights: Vec<Value>,
    whole: Vec<Value>,
    access: Access,
    kubeconfig: PathBuf,
}

impl Home {
    /// One in the cluster that all tests of this program share, with Istio's kinds defined.
    ///
    /// # Errors
    /// When there is no cluster, or it takes the chart's objects not.
    pub async fn shared() -> Result<Self> {
        let cluster = run::shared().await?;
        define(&cluster).await?;
        Self::within(cluster, |_| true).await
    }

    /// One in that cluster, with those of the chart's rules that are `kept` (asked with resource names such as `nodes`).
    ///
    /// # Errors
    /// When it takes the chart's objects not.
    pub async fn within(cluster: Arc<Cluster>, kept: impl Fn(&str) -> bool) -> Result<Self> {
        let namespace = cluster.namespace("meltemi").await?;
        let whole = rights(&cluster, &namespace).await?;
        let mut rights = whole.clone();
        for role in &mut rights {
            let Some(rules) = role.get_mut("rules").and_then(Value::as_array_mut) else { continue };
            for rule in &mut *rules {
                if let Some(resources) = rule["resources"].as_array_mut() {
                    resources.retain(|resource| resource.as_str().is_some_and(&kept));
                }
            }
            rules.retain(|rule| rule["resources"].as_array().is_some_and(|all| !all.is_empty()));
        }
        cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": rights}).to_string()).await?;
        let access = cluster.access_for(&namespace, ACCOUNT, TOKEN).await?;
        let kubeconfig = cluster.kubeconfig_of(&access).await?;
        let home = Self { cluster, namespace, rights, whole, access, kubeconfig };
        // The API server hears of roles by watches of its own.
        for resource in ["customresourcedefinitions.apiextensions.k8s.io", "configmaps/istio"] {
            home.may("list", resource).await?;
        }
        Ok(home)
    }

    /// Waits until Meltemi may do that.
    async fn may(&self, verb: &str, resource: &str) -> Result<()> {
        let account = format!("--as=system:serviceaccount:{}:{ACCOUNT}", self.namespace);
        let question = ["auth", "can-i", verb, resource, "-n", &self.namespace, &account];
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asking = async {
            loop {
                ticks.tick().await;
                match self.cluster.kubectl(&question).await {
                    Ok(_) => return Ok(()),
                    Err(error) if format!("{error:#}").contains("\nno") => {}
                    Err(error) => return Err(error),
                }
            }
        };
        timeout(LIMIT, asking).await.with_context(|| format!("it may not {verb} {resource}"))?
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Its name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of Meltemi's service account.
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// The chart's objects that give rights, as they are here.
    pub fn rights(&self) -> &[Value] {
        &self.rights
    }

    /// The same with all that the chart has.
    pub fn whole_rights(&self) -> &[Value] {
        &self.whole
    }

    /// Meltemi's way to the API server.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Meltemi's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its kubeconfig through a proxy.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn through(&self, proxy: &Proxy) -> Result<PathBuf> {
        self.cluster.kubeconfig_of(&proxy.access(&self.access)).await
    }

    /// A replica, when it is ready.
    ///
    /// # Errors
    /// When it does not get ready; with its log.
    pub async fn replica(&self) -> Result<Server> {
        self.launch(&self.kubeconfig, &[]).await?.when_ready().await
    }

    /// A replica by that kubeconfig, on free ports of 127.0.0.1, that may not be ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn launch(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<Server> {
        self.launch_at(Addresses::free([127, 0, 0, 1].into())?, kubeconfig, arguments).await
    }

    /// As [`Home::launch`], at those addresses.
    ///
    /// # Errors
    /// As [`Home::launch`].
    pub async fn launch_at(
        &self,
        addresses: Addresses,
        kubeconfig: &Path,
        arguments: &[&str],
    ) -> Result<Server> {
        let kubeconfig = kubeconfig.display().to_string();
        let own = ["--kubeconfig", &kubeconfig, "--pod-namespace", &self.namespace];
        Server::launch(&[&own[..], arguments].concat(), addresses).await
    }
}

/// Defines Istio's kinds, as `meltemi crds` prints them.
///
/// # Errors
/// When the API server refuses one.
pub async fn define(cluster: &Cluster) -> Result<()> {
    let items: Vec<Value> = meltemi_api::crd::all().iter().map(meltemi_api::crd::Crd::to_value).collect();
    cluster.apply_at_once(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).await
}

/// The chart's objects that give rights.
async fn rights(cluster: &Cluster, namespace: &str) -> Result<Vec<Value>> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/meltemi");
    let chart = chart.to_str().context("a path that is text")?;
    let text = cluster.helm(&["template", "meltemi", chart, "--namespace", namespace]).await?;
    let mut found = Vec::new();
    for document in serde_norway::Deserializer::from_str(&text) {
        let object = Value::deserialize(document)?;
        if RIGHTS.iter().any(|kind| object["kind"] == *kind) {
            found.push(object);
        }
    }
    if found.len() != RIGHTS.len() {
        bail!("the chart has {} objects that give rights, not one of each of {RIGHTS:?}", found.len());
    }
    Ok(found)
}
