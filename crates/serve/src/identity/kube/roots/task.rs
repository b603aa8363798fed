//! Writes the ConfigMaps while this replica leads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ConfigMap as Written;
use kube::Api;
use kube::api::{Patch, PatchParams};
use meltemi_ca::Authority;
use meltemi_names::Namespace;
use meltemi_sources::kube::{Cluster, ConfigMap, Metrics as KubeMetrics, Named, Told};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

use super::desk::{CRL, Desk, LABEL, Map, Outcome, ROOTS};
use crate::identity::kube::metrics::KubeIdentityMetrics;
use crate::pace::until;

/// How many requests are under way at a time, for each sort.
const AT_ONCE: usize = 8;

/// A write that takes longer is tried again later.
const ANSWER: Duration = Duration::from_secs(10);

/// Who owns the key and the label, to the API server: what others write besides stays theirs.
const MANAGER: &str = "meltemi";

/// Who owns them where Istio's control plane wrote them: client-go takes the name of the program.
const ISTIOS: &str = "pilot-discovery";

/// What the writer works with.
pub(crate) struct Writer {
    pub(crate) cluster: Cluster,
    /// Until when this replica leads.
    pub(crate) leads: watch::Receiver<Option<Instant>>,
    /// What signs, and what is trusted with it.
    pub(crate) authority: watch::Receiver<Option<Arc<Authority>>>,
    /// The namespaces of the mesh.
    pub(crate) namespaces: watch::Receiver<Arc<BTreeSet<Namespace>>>,
    pub(crate) metrics: KubeIdentityMetrics,
    pub(crate) kube_metrics: KubeMetrics,
}

/// Writes until `stop`.
pub(crate) fn spawn(
    writer: Writer,
    stop: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = run(writer) => {}
            () = stop => {}
        }
    })
}

async fn run(writer: Writer) {
    let mut leads = writer.leads.clone();
    let writer = Arc::new(writer);
    loop {
        // Dropped when it is over: nothing is followed by those who do not write.
        if leads.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let roots = Office::new(&writer, ROOTS, |authority| authority.bundle().pem()).work();
        let lists = Office::new(&writer, CRL, |authority| authority.bundle().crl()).work();
        tokio::select! {
            ended = leads.wait_for(Option::is_none) => if ended.is_err() { return },
            ((), ()) = async { tokio::join!(roots, lists) } => return,
        }
    }
}

/// The writer of one sort of ConfigMap, for one term.
struct Office {
    writer: Arc<Writer>,
    map: Map,
    text: fn(&Authority) -> String,
    desk: Desk,
    named: Named<ConfigMap>,
    under_way: FuturesUnordered<BoxFuture<'static, (String, Arc<str>, Outcome)>>,
    /// Failures that were told.
    told: BTreeSet<String>,
}

impl Office {
    fn new(writer: &Arc<Writer>, map: Map, text: fn(&Authority) -> String) -> Self {
        Self {
            writer: Arc::clone(writer),
            map,
            text,
            desk: Desk::new(map, now()),
            named: Named::config_maps(&writer.cluster, map.name, &writer.kube_metrics),
            under_way: FuturesUnordered::new(),
            told: BTreeSet::new(),
        }
    }

    async fn work(mut self) {
        let mut authority = self.writer.authority.clone();
        let mut namespaces = self.writer.namespaces.clone();
        authority.mark_changed();
        namespaces.mark_changed();
        loop {
            while self.under_way.len() < AT_ONCE
                && let Some((namespace, text)) = self.desk.next(now())
            {
                self.begin(namespace, text);
            }
            let deadline = self.desk.deadline().filter(|_| self.under_way.len() < AT_ONCE);
            tokio::select! {
                changed = authority.changed() => match changed {
                    Ok(()) => {
                        let text = authority.borrow_and_update().as_deref().map(self.text);
                        if let Some(text) = text {
                            self.desk.want(text.into(), now());
                        }
                    }
                    Err(_) => return,
                },
                changed = namespaces.changed() => match changed {
                    Ok(()) => {
                        let all = Arc::clone(&namespaces.borrow_and_update());
                        self.desk.select(all.iter().map(|name| name.as_str().to_owned()), now());
                    }
                    Err(_) => return,
                },
                told = self.named.next() => match told {
                    Some(told) => {
                        if let Told::Trouble(Some(trouble)) = &told {
                            self.complain(trouble);
                        }
                        self.desk.on_told(told, now());
                    }
                    None => return,
                },
                Some((namespace, text, outcome)) = self.under_way.next() => {
                    match outcome {
                        Outcome::Written => self.writer.metrics.wrote(),
                        Outcome::Foreign => {
                            self.writer.metrics.failed();
                            self.complain_of_istios(&namespace);
                        }
                        Outcome::Refused | Outcome::Failed => self.writer.metrics.failed(),
                    }
                    self.desk.on_done(&namespace, text, &outcome, now());
                }
                () = until(deadline) => {}
            }
        }
    }

    fn begin(&mut self, namespace: String, text: Arc<str>) {
        let api: Api<Written> = Api::namespaced(self.writer.cluster.client(), &namespace);
        let map = self.map;
        let is_ours = self.desk.is_of_this_mesh(&namespace);
        self.under_way.push(Box::pin(async move {
            let outcome = write(&api, map, &namespace, &text, is_ours).await;
            (namespace, text, outcome)
        }));
    }

    fn complain_of_istios(&mut self, namespace: &str) {
        if self.told.len() < 100 && self.told.insert(format!("istio's {namespace}")) {
            tracing::error!(
                target: "ca",
                "ConfigMap {namespace}/{} is Istio's and has other roots: it is left as it is, and agents in that namespace do not know this \
                 control plane. Give both one root (docs/migrate-from-istio.md), or say --ca off; where Istio is gone delete the ConfigMap",
                self.map.name
            );
        }
    }

    fn complain(&mut self, trouble: &str) {
        if self.told.len() < 100 && self.told.insert(trouble.to_owned()) {
            tracing::warn!(target: "ca", "ConfigMaps {} are not followed, and not written meanwhile: {trouble}", self.map.name);
        }
    }
}

/// Applies the key and the label, and nothing else; makes the ConfigMap where there is none. One with other roots is taken from people
/// and their tools, and not from Istio's control plane: its workloads live by it.
async fn write(api: &Api<Written>, map: Map, namespace: &str, text: &str, is_ours: bool) -> Outcome {
    let wanted = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": map.name, "labels": {LABEL.0: LABEL.1}},
        "data": {map.key: text},
    }));
    let gently = PatchParams::apply(MANAGER);
    let asked = async {
        if is_ours {
            return api.patch(map.name, &gently.force(), &wanted).await;
        }
        match api.patch(map.name, &gently, &wanted).await {
            Err(kube::Error::Api(status)) if status.code == 409 && !is_istios(&status) => {
                api.patch(map.name, &gently.force(), &wanted).await
            }
            answer => answer,
        }
    };
    match timeout(ANSWER, asked).await {
        Ok(Ok(_)) => Outcome::Written,
        Ok(Err(kube::Error::Api(status))) if is_istios(&status) => Outcome::Foreign,
        // The namespace is going or gone, or it is not for us: that is nobody's mistake.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404 | 409) => {
            tracing::debug!(target: "ca", namespace, "ConfigMap {} is not written: {}", map.name, status.message);
            Outcome::Refused
        }
        Ok(Err(error)) => {
            tracing::warn!(target: "ca", namespace, "ConfigMap {} cannot be written, and is tried again: {error}", map.name);
            Outcome::Failed
        }
        Err(_) => {
            tracing::warn!(target: "ca", namespace, "ConfigMap {} cannot be written, and is tried again: no answer", map.name);
            Outcome::Failed
        }
    }
}

/// Whether it is refused because the key is another control plane's, by the name that Istio's writes under.
fn is_istios(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut conflicts = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    conflicts.any(|cause| cause.message.contains(ISTIOS))
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
