//! The Kubernetes side of identity: Secrets and ConfigMaps of Istio's form, TokenReviews, the other replicas.
//!
//! Knows: the API server's objects and how they may fail. Must not know: X.509, what a certificate is given for.   Start at [`parts`].
//! Invariant: no token and no key is in the log; what the API server does not answer is neither a yes nor a no.

mod cache;
mod keep;
mod metrics;
pub mod operator;
mod pods;
mod readers;
mod replicas;
mod roots;
mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use meltemi_ca::Authority;
use meltemi_ca::entitlement::Rules;
use meltemi_model::Mesh;
use meltemi_names::Namespace;
use meltemi_sources::kube::{Cluster, Metrics as KubeMetrics};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use self::metrics::KubeIdentityMetrics;
pub(crate) use self::readers::client::{Answer, Readers, Said};
pub use self::replicas::PATH;

use self::keep::client::SecretKeep;
use self::pods::PodsOfMesh;
use self::replicas::client::PeerReplicas;
use self::roots::task::{Writer, spawn};
use self::tokens::client::Reviews;
use super::control::{self, Status};
use super::parts::Parts;
use super::standing::Standing;
use crate::config::Own;
use crate::propagation::Propagation;
use crate::wire::Failure;

/// What is around an authority that runs in a cluster.
pub(crate) struct Around {
    pub(crate) cluster: Cluster,
    pub(crate) metrics: KubeMetrics,
    /// Until when this replica leads.
    pub(crate) leads: watch::Receiver<Option<Instant>>,
    /// The namespaces of the mesh.
    pub(crate) namespaces: watch::Receiver<Arc<BTreeSet<Namespace>>>,
    pub(crate) propagation: Arc<Propagation>,
    /// The mesh as it was published last.
    pub(crate) mesh: watch::Receiver<Arc<Mesh>>,
}

/// Lets the counters be read.
pub(crate) fn metrics(registry: &mut Registry) -> KubeIdentityMetrics {
    KubeIdentityMetrics::new(registry)
}

/// The parts of an authority whose state is in the cluster.
pub(crate) fn parts(
    around: &Around,
    own: &Own,
    domains: watch::Receiver<Arc<Rules>>,
    epoch: &watch::Receiver<u64>,
    metrics: &KubeIdentityMetrics,
) -> Parts {
    let Around { cluster, metrics: kube_metrics, propagation, mesh, .. } = around;
    let name = own.pod.as_ref().map_or_else(|| "this replica".to_owned(), ToString::to_string);
    Parts {
        keep: Arc::new(SecretKeep::start(
            cluster,
            own.namespace.as_str(),
            domains.clone(),
            metrics.clone(),
            kube_metrics,
        )),
        tokens: vec![Arc::new(Reviews::new(cluster.client(), domains, metrics.clone()))],
        replicas: Arc::new(PeerReplicas::new(Arc::clone(propagation), name, epoch.clone())),
        pods: Arc::new(PodsOfMesh::new(mesh.clone())),
        state: None,
    }
}

/// Starts what writes the roots into every namespace, on the replica that is elected to.
pub(crate) fn tell_roots(
    around: &Around,
    metrics: &KubeIdentityMetrics,
    authority: watch::Receiver<Option<Arc<Authority>>>,
    mut stopped: watch::Receiver<bool>,
    tasks: &mut JoinSet<Result<(), Failure>>,
) {
    let writer = Writer {
        cluster: around.cluster.clone(),
        leads: around.leads.clone(),
        authority,
        namespaces: around.namespaces.clone(),
        metrics: metrics.clone(),
        kube_metrics: around.metrics.clone(),
    };
    let stop = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let task = spawn(writer, stop);
    let name = "writer of the roots";
    tasks.spawn(
        task.map(move |ended| ended.map_err(|error| Failure::Task { name, reason: error.to_string() })),
    );
}

/// What this replica's authority goes by, for the page.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    standing: watch::Receiver<Option<Arc<Standing>>>,
    domains: watch::Receiver<Arc<Rules>>,
}

impl Shown {
    pub(super) fn new(
        standing: watch::Receiver<Option<Arc<Standing>>>,
        domains: watch::Receiver<Arc<Rules>>,
    ) -> Self {
        Self { standing, domains }
    }

    /// None: it is not ready.
    pub(crate) fn status(&self) -> Option<Status> {
        let standing = self.standing.borrow().clone()?;
        let domains = self.domains.borrow();
        Some(control::status(&standing.kept, &standing.waiting, domains.trust_domain()))
    }
}
