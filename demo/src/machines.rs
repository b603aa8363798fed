//! The machines that run the cluster's pods: each pod is a network namespace, and in it the test kit's app.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Error, Result};
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::ResourceExt;
use meltemi_testkit::http::App;
use meltemi_testkit::kube::Runtime;
use meltemi_testkit::netns::{Network, Pod};

/// Runs pods, by their UID. Clones are the same machines.
#[derive(Clone)]
pub(crate) struct Machines {
    network: Arc<Network>,
    running: Arc<tokio::sync::Mutex<BTreeMap<String, Running>>>,
    failure: Arc<Mutex<Option<String>>>,
}

/// A pod that runs; they end in this order.
struct Running {
    _app: App,
    pod: Pod,
}

impl Machines {
    /// None yet; their pods get addresses of that network.
    pub(crate) fn new(network: Arc<Network>) -> Self {
        Self { network, running: Arc::default(), failure: Arc::default() }
    }

    /// Ends all pods.
    pub(crate) async fn stop_all(&self) {
        self.running.lock().await.clear();
    }

    /// An error of the demo, with what kept a pod from starting, if anything did.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => error.context(format!("a pod did not start: {failure}")),
            None => error,
        }
    }

    async fn run(&self, object: &PodObject) -> Result<Running> {
        let label = |name: &str| object.labels().get(name).map_or("none", String::as_str);
        let spec = object.spec.as_ref().context("a pod without a spec")?;
        let ports = spec.containers.iter().filter_map(|container| container.ports.as_ref()).flatten();
        let port = ports.map(|port| port.container_port).next().context("a pod without a port")?;
        let pod = self.network.pod(label("version"))?;
        let builder = App::builder(label("app"), label("version"));
        let app = builder.inside(&pod).port(u16::try_from(port)?).start().await?;
        Ok(Running { _app: app, pod })
    }
}

impl Runtime for Machines {
    async fn start(&self, object: &PodObject) -> Result<IpAddr> {
        // Held until the pod runs: asked twice at once for one pod, there is one namespace.
        let mut running = self.running.lock().await;
        let uid = object.uid().unwrap_or_default();
        if let Some(running) = running.get(&uid) {
            return Ok(running.pod.address().into());
        }
        match self.run(object).await {
            Ok(started) => Ok(running.entry(uid).or_insert(started).pod.address().into()),
            Err(error) => {
                // The kubelet tries again; who waits for the pod is told why it waits.
                let text = format!("{}: {error:#}", object.name_any());
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                Err(error)
            }
        }
    }

    async fn stop(&self, object: &PodObject) {
        self.running.lock().await.remove(&object.uid().unwrap_or_default());
    }
}
