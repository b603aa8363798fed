//! Reads and replaces the Secret, and hears when somebody else did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use meltemi_ca::Time;
use meltemi_ca::entitlement::Rules;
use meltemi_ca::keep::{Keep, KeepError, Kept};
use meltemi_ca::rotate::Phase;
use meltemi_sources::kube::{Cluster, Metrics as KubeMetrics, Named, Told};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::cacerts;
use super::plug::{self, Act};
use super::secret::{self, Data, Wrong};
use super::wish;
use crate::identity::kube::metrics::KubeIdentityMetrics;

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(10);

/// How often what was read is decided anew because somebody else was quicker, before whoever asked is told to ask again.
const TRIES: usize = 5;

/// The state of what signs, in the namespace of the control plane.
pub(crate) struct SecretKeep {
    api: Api<Secret>,
    /// Whose names there are: a new root is named after them.
    domains: watch::Receiver<Arc<Rules>>,
    shared: Arc<Shared>,
    metrics: KubeIdentityMetrics,
    /// What the follower had told when it was read last.
    seen: AtomicU64,
    told: watch::Receiver<u64>,
    _followers: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    /// None: none was ever read.
    state: Option<State>,
    /// The versions of both Secrets that were read.
    versions: BTreeMap<&'static str, String>,
    /// What is wrong with what is plugged in, as it was told.
    trouble: Option<String>,
}

#[derive(Clone)]
struct State {
    /// The Secret as it was read or written last.
    secret: Secret,
    /// What it said when it could be used last.
    kept: Kept,
    /// It cannot be used now: somebody spoilt it.
    is_spoilt: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // Whole at every moment: each value is replaced in one go.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SecretKeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKeep").finish_non_exhaustive()
    }
}

impl SecretKeep {
    /// Keeps in that namespace. Follows both Secrets until it is dropped.
    pub(crate) fn start(
        cluster: &Cluster,
        namespace: &str,
        domains: watch::Receiver<Arc<Rules>>,
        metrics: KubeIdentityMetrics,
        kube_metrics: &KubeMetrics,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, told) = watch::channel(0);
        let sender = Arc::new(sender);
        let mut followers = JoinSet::new();
        for name in [secret::NAME, cacerts::NAME] {
            let named = Named::secret(cluster, namespace, name, kube_metrics);
            followers.spawn(hear(named, name, Arc::clone(&shared), Arc::clone(&sender)));
        }
        Self {
            api: Api::namespaced(cluster.client(), namespace),
            domains,
            shared,
            metrics,
            seen: AtomicU64::new(0),
            told,
            _followers: followers,
        }
    }

    async fn get(&self, name: &'static str) -> Result<Option<Secret>, KeepError> {
        let found = answer(name, "read", self.api.get_opt(name)).await?;
        let version = found.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
        let mut remembered = self.shared.lock();
        match version {
            Some(version) => remembered.versions.insert(name, version),
            None => remembered.versions.remove(name),
        };
        Ok(found)
    }

    /// What is plugged in; an error says why what is there cannot be taken, or not be read.
    async fn plugged(&self) -> Result<Option<meltemi_ca::Material>, KeepError> {
        let Some(found) = self.get(cacerts::NAME).await? else { return Ok(None) };
        cacerts::decode(&found.data.unwrap_or_default()).map_err(|wrong| refused(cacerts::NAME, &wrong))
    }

    async fn read(&self) -> Result<Option<Kept>, KeepError> {
        for _ in 0..TRIES {
            self.seen.store(*self.told.borrow(), Ordering::Relaxed);
            let plugged = self.plugged().await;
            let outcome = match self.get(secret::NAME).await? {
                None => self.without_state(plugged).await,
                Some(found) => self.with_state(found, plugged).await,
            };
            match outcome {
                Err(KeepError::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(KeepError::Conflict)
    }

    /// There is no Secret: it was deleted, or there never was one.
    async fn without_state(
        &self,
        plugged: Result<Option<meltemi_ca::Material>, KeepError>,
    ) -> Result<Option<Kept>, KeepError> {
        let lost = self.shared.lock().state.clone();
        if let Some(State { secret: before, kept, .. }) = lost {
            // What workloads trust is in force still: it is written again, not made anew.
            tracing::warn!(target: "ca", "Secret {} was deleted, and is written again as it was", secret::NAME);
            self.create(&kept, &before.data.unwrap_or_default()).await?;
            return Ok(Some(kept));
        }
        // What may be plugged in and cannot be read is no reason to make a root of our own.
        let Some(material) = self.tell(plugged.as_ref().err().cloned(), plugged)? else { return Ok(None) };
        match plug::act(None, &material, now()) {
            Ok(Act::Keep(kept)) => {
                self.create(&kept, &Data::new()).await?;
                tracing::info!(target: "ca", signer = %kept.rotation.signer(), "what Secret {} plugs in signs", cacerts::NAME);
                Ok(Some(kept))
            }
            Ok(_) => Ok(None),
            Err(refused) => {
                let error = KeepError::Refused(format!("Secret {}: {refused}", cacerts::NAME));
                self.note(Some(&error));
                Err(error)
            }
        }
    }

    async fn with_state(
        &self,
        found: Secret,
        plugged: Result<Option<meltemi_ca::Material>, KeepError>,
    ) -> Result<Option<Kept>, KeepError> {
        let wishes = found.metadata.annotations.clone().unwrap_or_default();
        let kept = self.understood(found)?;
        // Also what is spoilt, or cannot be read now, is the operator's choice of what signs.
        let is_plugged = !matches!(plugged, Ok(None));
        if !is_plugged || !matches!(kept.rotation.phase(), Phase::Steady { .. }) {
            let trust_domain = self.domains.borrow().trust_domain().to_owned();
            let granted = wish::granted(&wishes, &kept, &trust_domain, now());
            if let Some(next) = granted.map_err(|error| KeepError::Unavailable(error.to_string()))? {
                self.replace(kept.rotation.revision(), &next).await?;
                tracing::warn!(target: "ca", phase = next.rotation.phase().name(), "the change of signers goes on as the operator wishes");
                return Ok(Some(next));
            }
        } else if wishes.contains_key(wish::ROTATE) {
            tracing::debug!(target: "ca", "what signs is plugged in: it is changed by changing Secret {}", cacerts::NAME);
        }
        let material = match plugged {
            Ok(Some(material)) => material,
            Ok(None) => {
                self.note(None);
                return Ok(Some(kept));
            }
            Err(error) => {
                self.note(Some(&error));
                return Ok(Some(kept));
            }
        };
        match plug::act(Some(&kept), &material, now()) {
            Ok(Act::Nothing) => {
                self.note(None);
                Ok(Some(kept))
            }
            Ok(Act::Wait { new }) => {
                tracing::info!(target: "ca", %new, "what Secret {} plugs in waits until the present change of signers is over", cacerts::NAME);
                self.note(None);
                Ok(Some(kept))
            }
            Ok(Act::Keep(next)) => {
                self.replace(kept.rotation.revision(), &next).await?;
                tracing::info!(target: "ca", phase = ?next.rotation.phase(), "Secret {} plugs in another signer", cacerts::NAME);
                self.note(None);
                Ok(Some(next))
            }
            Err(refused) => {
                self.note(Some(&KeepError::Refused(format!("Secret {}: {refused}", cacerts::NAME))));
                Ok(Some(kept))
            }
        }
    }

    /// What the Secret says, which is remembered; as long as it cannot be used, what it said before.
    fn understood(&self, found: Secret) -> Result<Kept, KeepError> {
        let none = Data::new();
        let data = found.data.as_ref().unwrap_or(&none);
        let mut remembered = self.shared.lock();
        let kept = secret::decode(data).and_then(|kept| {
            let in_force = remembered.state.as_ref().map(|state| &state.kept);
            in_force.map_or(Ok(()), |in_force| secret::follows(&kept, in_force, data)).map(|()| kept)
        });
        match kept {
            Ok(kept) => {
                remembered.state = Some(State { secret: found, kept: kept.clone(), is_spoilt: false });
                Ok(kept)
            }
            Err(wrong) => {
                if let Some(state) = &mut remembered.state {
                    state.secret = found;
                    state.is_spoilt = true;
                }
                Err(refused(secret::NAME, &wrong))
            }
        }
    }

    /// Tells an error of what is plugged in, and passes on what it is about.
    fn tell<T>(&self, error: Option<KeepError>, outcome: Result<T, KeepError>) -> Result<T, KeepError> {
        self.note(error.as_ref());
        outcome
    }

    /// What is wrong with what is plugged in; each is told once.
    fn note(&self, error: Option<&KeepError>) {
        let text = error.map(ToString::to_string);
        let mut remembered = self.shared.lock();
        if remembered.trouble == text {
            return;
        }
        // An API server that is away says nothing of what is plugged in.
        self.metrics.plugged_in_refused(matches!(error, Some(KeepError::Refused(_))));
        match &text {
            Some(text) => tracing::warn!(target: "ca", "{text}; what signed before stays in force"),
            None => tracing::info!(target: "ca", "what is plugged in can be used again"),
        }
        remembered.trouble = text;
    }

    async fn create(&self, kept: &Kept, before: &Data) -> Result<(), KeepError> {
        let data = secret::encode(kept, before).map_err(|wrong| refused(secret::NAME, &wrong))?;
        let wanted = Secret {
            metadata: ObjectMeta { name: Some(secret::NAME.to_owned()), ..ObjectMeta::default() },
            type_: Some(secret::TYPE.to_owned()),
            data: Some(data),
            ..Secret::default()
        };
        let parameters = PostParams::default();
        let written = answer(secret::NAME, "created", self.api.create(&parameters, &wanted)).await?;
        self.wrote(written, kept, false);
        Ok(())
    }

    /// Replaces what was read last, if it is the one of that revision.
    async fn replace(&self, from: u64, kept: &Kept) -> Result<(), KeepError> {
        let known = self.shared.lock().state.clone();
        let Some(known) = known.filter(|known| known.kept.rotation.revision() == from) else {
            return Err(KeepError::Conflict);
        };
        let is_spoilt = known.is_spoilt;
        if is_spoilt && known.kept.rotation.phase() != kept.rotation.phase() {
            let reason =
                format!("Secret {} cannot be used, so that what signs is not changed now", secret::NAME);
            return Err(KeepError::Refused(reason));
        }
        let mut wanted = known.secret;
        let before = wanted.data.unwrap_or_default();
        // What somebody put there is not ours to take away; until when certificates live is noted all the same.
        let data =
            if is_spoilt { secret::encode_state(kept, &before) } else { secret::encode(kept, &before) };
        wanted.data = Some(data.map_err(|wrong| refused(secret::NAME, &wrong))?);
        wanted.metadata.managed_fields = None;
        let parameters = PostParams::default();
        let written =
            answer(secret::NAME, "written", self.api.replace(secret::NAME, &parameters, &wanted)).await?;
        self.wrote(written, kept, is_spoilt);
        Ok(())
    }

    fn wrote(&self, secret: Secret, kept: &Kept, is_spoilt: bool) {
        let mut remembered = self.shared.lock();
        if let Some(version) = &secret.metadata.resource_version {
            remembered.versions.insert(secret::NAME, version.clone());
        }
        remembered.state = Some(State { secret, kept: kept.clone(), is_spoilt });
    }
}

impl Keep for SecretKeep {
    fn load(&self) -> BoxFuture<'_, Result<Option<Kept>, KeepError>> {
        Box::pin(self.read())
    }

    fn swap<'a>(&'a self, from: Option<u64>, kept: &'a Kept) -> BoxFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            match from {
                Some(from) => self.replace(from, kept).await,
                None if self.shared.lock().state.is_some() => Err(KeepError::Conflict),
                None => self.create(kept, &Data::new()).await,
            }
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let mut told = self.told.clone();
        Box::pin(async move {
            // Compared when it is looked at: what is read in between is no news.
            if told.wait_for(|now| *now != self.seen.load(Ordering::Relaxed)).await.is_err() {
                // The followers are gone, and so is who would wait.
                std::future::pending::<()>().await;
            }
        })
    }
}

/// Counts what somebody else wrote. What was read or written here is no news.
async fn hear(
    mut named: Named<String>,
    name: &'static str,
    shared: Arc<Shared>,
    told: Arc<watch::Sender<u64>>,
) {
    while let Some(event) = named.next().await {
        let is_news = match event {
            Told::Is(_, version) => shared.lock().versions.get(name) != Some(&version),
            Told::Gone(_) => shared.lock().versions.contains_key(name),
            Told::Whole => false,
            Told::Trouble(Some(trouble)) => {
                tracing::warn!(target: "ca", "changes of Secret {name} are not heard of: {trouble}");
                false
            }
            Told::Trouble(None) => false,
        };
        if is_news {
            told.send_modify(|count| *count += 1);
        }
    }
}

fn refused(name: &str, wrong: &Wrong) -> KeepError {
    KeepError::Refused(format!("Secret {name}: {wrong}"))
}

/// The answer about a Secret, or what its failure means.
async fn answer<T>(
    name: &str,
    verb: &str,
    asked: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, KeepError> {
    match timeout(ANSWER, asked).await {
        Ok(Ok(found)) => Ok(found),
        // Another version than the one that was named, one that is there already, or one that is gone.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(KeepError::Conflict),
        Ok(Err(kube::Error::Api(status))) if status.code == 422 => Err(KeepError::Refused(format!(
            "Secret {name} cannot be {verb}: {}; if it is immutable, replace it by one that is not",
            status.message
        ))),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(KeepError::Unavailable(format!(
            "Secret {name} cannot be {verb}: {}; grant it: the Role of the Helm chart has all that is needed",
            status.message
        ))),
        Ok(Err(error)) => Err(KeepError::Unavailable(format!("Secret {name} cannot be {verb}: {error}"))),
        Err(_) => Err(KeepError::Unavailable(format!(
            "Secret {name} cannot be {verb}: the API server does not answer"
        ))),
    }
}

fn now() -> Time {
    SystemTime::now().into()
}
