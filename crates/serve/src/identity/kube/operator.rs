//! `meltemi ca` against a cluster: what the Secret says, and what an operator wishes for, with the operator's own rights.
//!
//! Knows: the Secret, the Service of the control plane. Must not know: how a change of signers goes (the replicas do it).   Start at
//! [`Operator::connect`].
//! Invariant: no key is made or changed here; a wish names the state that was shown, so that it is not granted for another one.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use meltemi_ca::Kept;
use meltemi_ca::rotate::{Phase, Report, Step, Waiting, World};
use meltemi_sources::kube::{Access, Cluster, ConnectError, Metrics as KubeMetrics, Named};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::keep::{cacerts, secret, wish};
use super::replicas::PATH;
use crate::identity::control::{self, Preview, Status};
use crate::ports::Listener;

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(30);

/// So long a wish waits for a replica that grants it.
const GRANTED: Duration = Duration::from_secs(60);

/// What a replica waits for changes without a change of the Secret: it is asked for again after this.
const LOOK: Duration = Duration::from_secs(5);

/// A page that takes longer is done without.
const PAGE: Duration = Duration::from_secs(3);

/// Why it cannot be shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// There is no way to the cluster.
    #[error(transparent)]
    Cluster(#[from] ConnectError),
    /// The API server says no, or nothing.
    #[error("Secret {namespace}/{name} cannot be {verb}: {reason}")]
    Api {
        /// Where.
        namespace: String,
        /// Which.
        name: &'static str,
        /// What was wanted.
        verb: &'static str,
        /// What it says.
        reason: String,
    },
    /// Nothing signs there.
    #[error(
        "there is no Secret {}/{}: no control plane signs there (serve.ca of the chart); name the namespace that it runs in with --namespace",
        .0, secret::NAME
    )]
    Nothing(String),
    /// What is there cannot be used.
    #[error("Secret {}: {}", secret::NAME, .0)]
    Wrong(String),
    /// The operator's own intermediate signs.
    #[error(
        "what signs is plugged in: put another intermediate into Secret {}, and the control plane changes to it step by step",
        cacerts::NAME
    )]
    PluggedIn,
    /// Nobody took it up.
    #[error("no replica took it up within {} s: is the control plane running, and is serve.ca on? Its log says more", GRANTED.as_secs())]
    NotGranted,
    /// It is another state by now.
    #[error("it has changed since it was looked at; look again")]
    Changed,
    /// The time is up.
    #[error("the time is up; what was begun goes on, and `meltemi ca status` shows it")]
    TimeUp,
}

/// A way to the control plane of a cluster.
pub struct Operator {
    cluster: Cluster,
    namespace: String,
    service: String,
    secrets: Api<Secret>,
}

impl Operator {
    /// Finds the way. The Service of the control plane is asked for what only its replicas know; without an answer it is done without.
    ///
    /// # Errors
    /// When there is no such kubeconfig.
    pub async fn connect(access: &Access, namespace: &str, service: &str) -> Result<Self, Failed> {
        let cluster = Cluster::connect(access).await?;
        let secrets = Api::namespaced(cluster.client(), namespace);
        Ok(Self { cluster, namespace: namespace.to_owned(), service: service.to_owned(), secrets })
    }

    /// What signs now, and where a change of it stands.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn status(&self) -> Result<Status, Failed> {
        let kept = self.kept().await?;
        // A replica knows which of them are behind.
        match self.page().await {
            Some(page) if page.epoch == kept.rotation.epoch() => Ok(page),
            _ => Ok(control::status(&kept, &waiting(&kept), "")),
        }
    }

    /// Begins a change of what signs, if none is under way; what is so once a replica took it up.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn begin(&self) -> Result<Status, Failed> {
        let kept = self.kept().await?;
        if matches!(kept.rotation.phase(), Phase::Steady { .. }) {
            let plugged = self.get(cacerts::NAME).await?.and_then(|secret| secret.data);
            if plugged.is_some_and(|data| !matches!(cacerts::decode(&data), Ok(None))) {
                return Err(Failed::PluggedIn);
            }
            self.wish(wish::ROTATE, kept.rotation.epoch()).await?;
        }
        self.status().await
    }

    /// What a forced step would not wait for.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn preview(&self) -> Result<Preview, Failed> {
        let Status { phase, epoch, waiting, .. } = self.status().await?;
        Ok(Preview { revision: epoch, phase, waiting })
    }

    /// Does the step that was looked at, whatever it waits for.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn force(&self, preview: &Preview) -> Result<Status, Failed> {
        if self.kept().await?.rotation.epoch() != preview.revision {
            return Err(Failed::Changed);
        }
        self.wish(wish::FORCE, preview.revision).await?;
        self.status().await
    }

    /// Begins a change, unless one is under way, and tells each state until it is done.
    ///
    /// # Errors
    /// See [`Failed`]; [`Failed::TimeUp`] after `limit`.
    pub async fn rotate(&self, limit: Option<Duration>, mut tell: impl FnMut(&Status)) -> Result<(), Failed> {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut named = self.follow();
        let mut told = None;
        let mut status = self.begin().await?;
        loop {
            if told.as_ref() != Some(&status) {
                tell(&status);
            }
            if status.phase == "steady" {
                return Ok(());
            }
            told = Some(status);
            let again = Instant::now() + LOOK;
            let again = until.map_or(again, |until| until.min(again));
            // Whether it tells of a change or the time is up: it is looked at.
            drop(tokio::time::timeout_at(again, named.next()).await);
            if until.is_some_and(|until| until <= Instant::now()) {
                return Err(Failed::TimeUp);
            }
            status = self.status().await?;
        }
    }

    fn follow(&self) -> Named<String> {
        Named::secret(&self.cluster, &self.namespace, secret::NAME, &KubeMetrics::default())
    }

    /// Writes down a wish about the state of that epoch, and waits until there is another one.
    async fn wish(&self, name: &str, epoch: u64) -> Result<(), Failed> {
        let mut named = self.follow();
        let patch = json!({"metadata": {"annotations": {name: epoch.to_string()}}});
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        let patched = self.secrets.patch_metadata(secret::NAME, &parameters, &patch);
        self.answer(secret::NAME, "changed", patched).await?;
        let granted = async {
            loop {
                if self.kept().await?.rotation.epoch() != epoch {
                    return Ok(());
                }
                drop(timeout(LOOK, named.next()).await);
            }
        };
        timeout(GRANTED, granted).await.unwrap_or(Err(Failed::NotGranted))
    }

    async fn kept(&self) -> Result<Kept, Failed> {
        let found = self.get(secret::NAME).await?.ok_or_else(|| Failed::Nothing(self.namespace.clone()))?;
        secret::decode(&found.data.unwrap_or_default()).map_err(|wrong| Failed::Wrong(wrong.to_string()))
    }

    async fn get(&self, name: &'static str) -> Result<Option<Secret>, Failed> {
        self.answer(name, "read", self.secrets.get_opt(name)).await
    }

    async fn answer<T>(
        &self,
        name: &'static str,
        verb: &'static str,
        asked: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failed> {
        let reason = match timeout(ANSWER, asked).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(kube::Error::Api(status))) => status.message.clone(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server does not answer".to_owned(),
        };
        Err(Failed::Api { namespace: self.namespace.clone(), name, verb, reason })
    }

    /// The page of one of the replicas, by way of the API server.
    async fn page(&self) -> Option<Status> {
        let port = Listener::Monitoring.port();
        let path =
            format!("/api/v1/namespaces/{}/services/http:{}:{port}/proxy", self.namespace, self.service);
        let page = PATH.trim_start_matches('/');
        let request = Request::new(path).get(page, &kube::core::params::GetParams::default()).ok()?;
        let text = timeout(PAGE, self.cluster.client().request_text(request)).await.ok()?.ok()?;
        serde_json::from_str(&text).ok()
    }
}

/// What a change waits for, as far as the state alone says.
fn waiting(kept: &Kept) -> Waiting {
    let report = Report { epoch: kept.rotation.epoch(), behind: None };
    let world = World::from([(String::new(), Some(report))]);
    match kept.rotation.advance(SystemTime::now().into(), &world) {
        Step::Wait(waiting) => waiting,
        // As soon as every replica has said so: which ones have not, they know.
        Step::Keep(_) => Waiting::Replicas(vec![format!("which ones, page {PATH} of a replica says")]),
    }
}
