//! The machines that are not there: pods that controllers make are put on a node, run, and end when they are to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::{Cluster, pod::running};

/// Pods that are seen to at the same time.
const AT_ONCE: usize = 16;

/// How long it waits before it lists again when the API server was away.
const PAUSE: Duration = Duration::from_millis(100);

/// A pod with this annotation is told apart from others of its kind: see [`Kubelet`].
const ANNOTATION: &str = "meltemi.test/kubelet";

/// What runs the containers of pods, beneath the kubelet. The usual one of a [`Kubelet`] runs none and gives addresses.
pub trait Runtime: Send + Sync + 'static {
    /// Starts what is in the pod, and says at which address. Asked again for the same pod (by its UID) where the API
    /// server could not be told: then it says the same.
    fn start(&self, pod: &Pod) -> impl Future<Output = Result<IpAddr>> + Send;

    /// The pod is gone.
    fn stop(&self, pod: &Pod) -> impl Future<Output = ()> + Send;
}

/// Plays scheduler and kubelet for the pods of a namespace, or of all. Dropping it ends that; the pods stay as they are.
///
/// A pod without a node gets one of its nodes; a pod on one of its nodes gets an address and is ready; a pod of a Job has
/// succeeded at once; a pod that was asked to end is gone. The annotation `meltemi.test/kubelet` of a pod changes
/// that: `unready` for one that runs and is not ready, `pending` for one that does not start, `lingers` for one that
/// does not end.
pub struct Kubelet {
    task: JoinHandle<()>,
}

struct Machines<R> {
    pods: Api<Pod>,
    client: Client,
    nodes: Vec<String>,
    /// Pods that were put on a node so far; the nodes take turns.
    placed: AtomicUsize,
    runtime: R,
}

/// Which pod (by its UID) has which address; none is given twice.
struct Addresses(Mutex<Given>);

struct Given {
    next: u32,
    by_pod: BTreeMap<String, Ipv4Addr>,
}

impl Kubelet {
    /// Plays for the pods of `namespace` (all of them, where it is empty), on these nodes, which are made if they are
    /// not there, with the addresses from `first` on.
    ///
    /// # Errors
    /// When the nodes cannot be made.
    pub async fn start(cluster: &Cluster, namespace: &str, nodes: &[&str], first: Ipv4Addr) -> Result<Self> {
        let given = Given { next: u32::from(first), by_pod: BTreeMap::new() };
        Self::start_with(cluster, namespace, nodes, Addresses(Mutex::new(given))).await
    }

    /// As [`Kubelet::start`], for pods that `runtime` runs, at the addresses that it says. One that cannot be started is
    /// tried again.
    ///
    /// # Errors
    /// When the nodes cannot be made.
    pub async fn start_with(
        cluster: &Cluster,
        namespace: &str,
        nodes: &[&str],
        runtime: impl Runtime,
    ) -> Result<Self> {
        if nodes.is_empty() {
            bail!("a kubelet needs a node");
        }
        for node in nodes {
            cluster.node(node, &[]).await?;
        }
        let client = cluster.admin().await?;
        let pods = match namespace {
            "" => Api::all(client.clone()),
            _ => Api::namespaced(client.clone(), namespace),
        };
        let machines = Arc::new(Machines {
            pods,
            client,
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            placed: AtomicUsize::new(0),
            runtime,
        });
        Ok(Self { task: tokio::spawn(machines.run()) })
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<R: Runtime> Machines<R> {
    async fn run(self: Arc<Self>) {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // The API server is away, or the watch has ended: begin again, as a kubelet does.
            self.once().await.unwrap_or_default();
        }
    }

    /// Sees to all pods there are and then to each that changes, until the watch ends.
    async fn once(&self) -> Result<()> {
        let list = self.pods.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("a list without a version")?;
        let changes = self.pods.watch(&WatchParams::default(), &version).await?;
        stream::iter(list.items.into_iter().map(|pod| Ok(WatchEvent::Added(pod))))
            .chain(changes)
            .map_err(anyhow::Error::from)
            .try_for_each_concurrent(AT_ONCE, async |event| {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        self.see_to(&pod).await.or_else(|error| match error.downcast_ref() {
                            // It changed or went meanwhile: that is an event of its own.
                            Some(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                                Ok(())
                            }
                            _ => Err(error),
                        })
                    }
                    WatchEvent::Deleted(pod) => {
                        self.runtime.stop(&pod).await;
                        Ok(())
                    }
                    WatchEvent::Bookmark(_) => Ok(()),
                    WatchEvent::Error(status) => bail!("{status}"),
                }
            })
            .await
    }

    async fn see_to(&self, pod: &Pod) -> Result<()> {
        let name = pod.name_any();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let wish = pod.annotations().get(ANNOTATION).map_or("", String::as_str);
        if pod.metadata.deletion_timestamp.is_some() {
            if wish != "lingers" {
                let exactly = Preconditions { uid: pod.uid(), resource_version: None };
                pods.delete(&name, &DeleteParams::default().grace_period(0).preconditions(exactly)).await?;
            }
            return Ok(());
        }
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        if wish == "pending" || is_started(pod) {
            return Ok(());
        }
        if node.is_empty() {
            let binding = json!({
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": self.next_node()},
            });
            let _: serde_json::Value =
                pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        } else if !self.nodes.iter().any(|own| own == node) {
            return Ok(());
        }
        let status = if is_of_job(pod) {
            json!({"status": {"phase": "Succeeded"}})
        } else {
            running(self.runtime.start(pod).await?, wish != "unready")
        };
        pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await?;
        Ok(())
    }

    fn next_node(&self) -> &str {
        let turn = self.placed.fetch_add(1, Ordering::Relaxed);
        self.nodes.get(turn % self.nodes.len()).map_or("", String::as_str)
    }
}

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for Addresses {
    async fn start(&self, pod: &Pod) -> Result<IpAddr> {
        let mut given = self.lock();
        let Given { next, by_pod } = &mut *given;
        let address = *by_pod.entry(pod.uid().unwrap_or_default()).or_insert_with(|| {
            // The first and the last address of a network are not a machine's.
            while matches!(*next & 0xff, 0 | 0xff) {
                *next += 1;
            }
            let address = Ipv4Addr::from(*next);
            *next += 1;
            address
        });
        Ok(address.into())
    }

    async fn stop(&self, pod: &Pod) {
        self.lock().by_pod.remove(&pod.uid().unwrap_or_default());
    }
}

fn is_started(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase.is_some_and(|phase| phase != "Pending")
}

fn is_of_job(pod: &Pod) -> bool {
    pod.owner_references().iter().any(|owner| owner.kind == "Job")
}
