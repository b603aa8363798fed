//! The loop: reads what is kept, makes the first signer, steps a change on when it may, and grants what is asked of it.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::entitlement::Rules;
use meltemi_ca::rotate::{Step, Waiting, World};
use meltemi_ca::{Authority, Keep, KeepError, Kept, Material, ROOT_LIFE, Replicas, Rotation, SignerId, Time};
use tokio::sync::{mpsc, watch};

use super::{Outlets, Wish};
use crate::identity::clock::Clock;
use crate::identity::metrics::IdentityMetrics;
use crate::identity::standing::{self, Standing, look_again};

/// What the task is given.
pub(in crate::identity) struct Task {
    pub(in crate::identity) keep: Arc<dyn Keep>,
    pub(in crate::identity) replicas: Arc<dyn Replicas>,
    pub(in crate::identity) clock: Arc<dyn Clock>,
    pub(in crate::identity) domains: watch::Receiver<Arc<Rules>>,
    pub(in crate::identity) ready: watch::Receiver<bool>,
    /// How far reservations go ahead.
    pub(in crate::identity) ahead: Duration,
    /// Is told by which epoch this replica answers.
    pub(in crate::identity) epoch: watch::Sender<u64>,
    pub(in crate::identity) metrics: IdentityMetrics,
}

/// The longest that keeping, or asking the replicas, may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// After what will not pass by itself; whoever mends it is seen at once where changes are told.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// How often a reservation is tried again when somebody else was faster.
const TRIES: usize = 5;

pub(super) async fn run(
    mut task: Task,
    mut wishes: mpsc::Receiver<Wish>,
    outlets: Outlets,
    mut stopped: watch::Receiver<bool>,
) {
    let work = async {
        // The first signer is named after the trust domain, which the mesh's settings say.
        if task.ready.wait_for(|ready| *ready).await.is_err() {
            return;
        }
        let running = Running { task, outlets, standing: None, failures: 0, told: None };
        running.run(&mut wishes).await;
    };
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

struct Running {
    task: Task,
    outlets: Outlets,
    standing: Option<Arc<Standing>>,
    /// In a row.
    failures: u32,
    /// What was said of the last failure; the same is not said again.
    told: Option<KeepError>,
}

impl Running {
    async fn run(mut self, wishes: &mut mpsc::Receiver<Wish>) {
        let keep = Arc::clone(&self.task.keep);
        let mut changed = keep.changed();
        loop {
            let next = self.look_or_tell().await;
            loop {
                let clock = Arc::clone(&self.task.clock);
                let come = async {
                    match next {
                        None => std::future::pending().await,
                        Some(time) => {
                            while clock.now() < time {
                                clock.at(time).await;
                            }
                        }
                    }
                };
                tokio::select! {
                    () = &mut changed => {
                        changed = keep.changed();
                        break;
                    }
                    () = come => break,
                    wish = wishes.recv() => match wish {
                        None => return,
                        Some(wish) => if self.grant(wish).await { break },
                    },
                }
            }
        }
    }

    /// When to look again.
    async fn look_or_tell(&mut self) -> Option<Time> {
        match self.look().await {
            Ok(next) => {
                if self.told.take().is_some() {
                    tracing::info!(target: "ca", "what signs is read and kept again");
                }
                self.failures = 0;
                next
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let after = match &error {
                    KeepError::Conflict => Duration::from_secs(1),
                    KeepError::Unavailable(_) => {
                        self.task.metrics.keeping_failed();
                        Duration::from_secs(1 << self.failures.min(5))
                    }
                    KeepError::Refused(_) => {
                        self.task.metrics.material_refused();
                        REFUSED_AGAIN
                    }
                };
                self.tell(error);
                Some(self.task.clock.now().after(after))
            }
        }
    }

    fn tell(&mut self, error: KeepError) {
        if self.told.as_ref() == Some(&error) {
            return;
        }
        let stays =
            if self.standing.is_some() { "what was read before stays in force" } else { "nothing is signed" };
        match &error {
            KeepError::Conflict => tracing::debug!(target: "ca", "{error}"),
            KeepError::Unavailable(_) => {
                tracing::warn!(target: "ca", "what signs cannot be read or kept now; {stays}, and it is tried again: {error}");
            }
            KeepError::Refused(_) => {
                tracing::error!(target: "ca", "what is to sign is refused; {stays}: {error}")
            }
        }
        self.told = Some(error);
    }

    /// Reads what is kept, and steps on as far as it goes; when to look again.
    async fn look(&mut self) -> Result<Option<Time>, KeepError> {
        let kept = match in_time(self.task.keep.load()).await? {
            Some(kept) => kept,
            None => self.found().await?,
        };
        self.adopt(kept).await?;
        loop {
            let world = self.world().await;
            let now = self.task.clock.now();
            let Some(standing) = self.standing.clone() else { return Ok(None) };
            match standing.kept.rotation.advance(now, &world) {
                Step::Keep(next) => self.replace(next, None).await?,
                Step::Wait(waiting) => {
                    let next = look_again(&waiting, now);
                    self.publish(Standing { waiting, ..(*standing).clone() });
                    return Ok(next);
                }
            }
        }
    }

    /// Makes the first signer. Another replica may be doing the same: the one that is kept first counts for both.
    async fn found(&self) -> Result<Kept, KeepError> {
        let (id, material) = self.generate().await?;
        let kept = Kept { rotation: Rotation::steady(id.clone()), signers: [(id.clone(), material)].into() };
        in_time(self.task.keep.swap(None, &kept)).await?;
        tracing::info!(target: "ca", signer = %id, "the mesh's first root was made and kept");
        Ok(kept)
    }

    async fn generate(&self) -> Result<(SignerId, Material), KeepError> {
        let trust_domain = self.task.domains.borrow().trust_domain().to_owned();
        let now = self.task.clock.now();
        let made = tokio::task::spawn_blocking(move || {
            let material = Material::generate(&trust_domain, ROOT_LIFE, now)?;
            let id = Authority::load(&material, now)?.id().clone();
            Ok::<_, meltemi_ca::Refused>((id, material))
        });
        let made = made.await.map_err(|_| KeepError::Unavailable("making a root failed".to_owned()))?;
        made.map_err(|error| KeepError::Unavailable(error.to_string()))
    }

    /// Goes by `kept` from now on.
    async fn adopt(&mut self, kept: Kept) -> Result<(), KeepError> {
        let kept = Arc::new(kept);
        let before = self.standing.as_deref();
        let waiting = before.map_or(Waiting::Nothing, |before| before.waiting.clone());
        let same = before.filter(|before| {
            before.kept.rotation.epoch() == kept.rotation.epoch()
                && before.kept.rotation.phase() == kept.rotation.phase()
                && before.kept.signers == kept.signers
        });
        let authority = match same {
            Some(before) => Arc::clone(&before.authority),
            None => {
                let (kept, now) = (Arc::clone(&kept), self.task.clock.now());
                let loaded = tokio::task::spawn_blocking(move || standing::authority(&kept, now)).await;
                let loaded =
                    loaded.map_err(|_| KeepError::Unavailable("loading what signs failed".to_owned()))?;
                Arc::new(loaded.map_err(KeepError::Refused)?)
            }
        };
        self.publish(Standing { kept, authority, waiting });
        Ok(())
    }

    fn publish(&mut self, standing: Standing) {
        let standing = Arc::new(standing);
        let before = self.standing.replace(Arc::clone(&standing));
        self.outlets.standing.send_replace(Some(Arc::clone(&standing)));
        let rotation = &standing.kept.rotation;
        let unchanged = before.is_some_and(|before| Arc::ptr_eq(&before.authority, &standing.authority));
        if !unchanged {
            let roots: Arc<str> = standing.authority.bundle().pem().into();
            self.outlets.roots.send_if_modified(|before| {
                let differs = **before != *roots;
                before.clone_from(&roots);
                differs
            });
            self.outlets.authority.send_replace(Some(Arc::clone(&standing.authority)));
            tracing::info!(
                target: "ca",
                signer = %standing.authority.id(), not_after = %standing.authority.not_after(),
                roots = standing.authority.bundle().roots().len(), phase = rotation.phase().name(), epoch = rotation.epoch(),
                "what signs"
            );
        }
        // After what it stands for.
        self.task.epoch.send_replace(rotation.epoch());
        self.task.metrics.standing(
            rotation.phase(),
            standing.authority.not_after(),
            standing.authority.bundle().first_expiry(),
        );
    }

    /// Keeps `next` instead, with `new` besides, and goes by it.
    async fn replace(&mut self, next: Rotation, new: Option<(SignerId, Material)>) -> Result<(), KeepError> {
        let Some(standing) = &self.standing else { return Err(KeepError::Conflict) };
        let mut signers = standing.kept.signers.clone();
        signers.extend(new);
        let trusted: Vec<SignerId> = next.trusted().into_iter().cloned().collect();
        signers.retain(|id, _| trusted.contains(id));
        let from = standing.kept.rotation.revision();
        let kept = Kept { rotation: next, signers };
        in_time(self.task.keep.swap(Some(from), &kept)).await?;
        self.adopt(kept).await
    }

    /// Whoever cannot be asked has said nothing.
    async fn world(&self) -> World {
        tokio::time::timeout(PATIENCE, self.task.replicas.world()).await.unwrap_or_default()
    }

    /// Whether the state is to be looked at again.
    async fn grant(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Reserve { signer, not_after, reply } => {
                let _ = reply.send(self.reserve(&signer, not_after).await);
                false
            }
            Wish::Begin { reply } => {
                let begun = self.begin().await;
                let again = begun.is_ok();
                let _ = reply.send(begun.map_err(|error| error.to_string()));
                again
            }
            Wish::Preview { reply } => {
                let world = self.world().await;
                let now = self.task.clock.now();
                let _ = reply.send(
                    self.rotation().map(|rotation| (rotation.revision(), rotation.force(now, &world).1)),
                );
                false
            }
            Wish::Force { revision, reply } => {
                let forced = self.force(revision).await;
                let again = forced.is_ok();
                let _ = reply.send(forced);
                again
            }
        }
    }

    fn rotation(&self) -> Result<&Rotation, String> {
        match &self.standing {
            Some(standing) => Ok(&standing.kept.rotation),
            None => Err("the authority is not ready: the log says why".to_owned()),
        }
    }

    async fn reserve(&mut self, signer: &SignerId, not_after: Time) -> Result<(), String> {
        for _ in 0..TRIES {
            let next = self.rotation()?.reserve(signer, not_after, self.task.ahead);
            let Some(next) = next.map_err(|error| error.to_string())? else { return Ok(()) };
            match self.replace(next, None).await {
                Ok(()) => return Ok(()),
                Err(KeepError::Conflict) => {
                    let kept = in_time(self.task.keep.load()).await.map_err(|error| error.to_string())?;
                    let kept = kept.ok_or("what was kept is gone")?;
                    self.adopt(kept).await.map_err(|error| error.to_string())?;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("others were faster each time".to_owned())
    }

    async fn begin(&mut self) -> Result<(), KeepError> {
        let rotation = self.rotation().map_err(KeepError::Refused)?;
        // Asked before a key is made for nothing.
        if let Some((old, new)) = rotation.phase().change() {
            return Err(KeepError::Refused(format!("a change from {old} to {new} is under way already")));
        }
        let (id, material) = self.generate().await?;
        let rotation = self.rotation().map_err(KeepError::Refused)?;
        let next = rotation.begin(id.clone()).map_err(|error| KeepError::Refused(error.to_string()))?;
        tracing::warn!(target: "ca", old = %rotation.signer(), new = %id, "a change of what signs begins");
        self.replace(next, Some((id, material))).await
    }

    async fn force(&mut self, revision: u64) -> Result<(), String> {
        let world = self.world().await;
        let now = self.task.clock.now();
        let rotation = self.rotation()?;
        if rotation.revision() != revision {
            return Err("it has changed since it was looked at; look again".to_owned());
        }
        let (next, skipped) = rotation.force(now, &world);
        tracing::warn!(target: "ca", ?skipped, phase = rotation.phase().name(), "a step of the change is forced");
        self.replace(next, None).await.map_err(|error| error.to_string())
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, KeepError>>) -> Result<T, KeepError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(KeepError::Unavailable(format!("no answer within {} seconds", PATIENCE.as_secs()))),
    }
}
