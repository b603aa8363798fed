//! A single machine: signers and the key of tokens in a state folder, which this process alone writes to.
//!
//! Knows: `ca`'s folder; its work goes to the blocking pool. Must not know: what signs when.   Start at [`State::open`].
//! Invariant: the folder is locked as long as a [`State`] or what came of it lives.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use meltemi_ca::entitlement::{Caller, Proof, Rules};
use meltemi_ca::keep::file::{Folder, FolderError, token_key};
use meltemi_ca::rotate::{Report, World};
use meltemi_ca::server::Unknown;
use meltemi_ca::token::{Claims, TokenError, TokenKey};
use meltemi_ca::{Keep, KeepError, Kept, Replicas, Time};
use meltemi_names::Secret;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::Clock;
use super::control;
use super::keeper::Keeper;
use super::parts::Tokens;
use crate::wire::Failure;

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The folder, or a file in it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The key of tokens, or a token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A signer that the state names is not there.
    #[error("{0}")]
    Kept(String),
    /// No key, and somebody else has the folder.
    #[error(
        "{0}: there is no key of tokens yet, and the control plane that uses this folder is about to make it; try again"
    )]
    NoKeyYet(PathBuf),
}

/// An open state folder.
pub(crate) struct State {
    path: PathBuf,
    folder: Arc<Shared>,
    key: Arc<TokenKey>,
}

struct Shared {
    folder: Folder,
    /// Held while something is written: compare-and-set is several steps on files, and clearing up takes away what is half written.
    writing: Mutex<()>,
}

impl State {
    /// Opens it, made if it is not there.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, Failure> {
        let opened = tokio::task::spawn_blocking(move || {
            let folder = Folder::open(&path)?;
            // What a crash left unfinished.
            folder.sweep()?;
            let key = own_key(&folder)?;
            let shared = Shared { folder, writing: Mutex::new(()) };
            // What cannot be used is said now, to whoever starts this.
            shared.load().map_err(|error| Failed::Kept(error.to_string()))?;
            Ok::<_, Failed>(Self { path, folder: Arc::new(shared), key: Arc::new(key) })
        });
        let opened = opened.await.map_err(|error| Failed::Kept(error.to_string()));
        Ok(opened.and_then(|opened| opened)?)
    }

    /// Where signers are.
    pub(crate) fn keep(&self) -> Arc<dyn Keep> {
        Arc::new(FolderKeep(Arc::clone(&self.folder)))
    }

    /// Reviews the tokens of this folder's key.
    pub(crate) fn tokens(
        &self,
        domains: watch::Receiver<Arc<Rules>>,
        clock: Arc<dyn Clock>,
    ) -> Arc<dyn Tokens> {
        Arc::new(FolderTokens { key: Arc::clone(&self.key), domains, clock })
    }

    /// This process, alone.
    pub(crate) fn replicas(&self, epoch: watch::Receiver<u64>) -> Arc<dyn Replicas> {
        Arc::new(Alone(epoch))
    }

    /// Starts what is served in the folder: the roots as a file, and the socket by which the operator asks.
    pub(super) fn serve(
        self,
        roots: watch::Receiver<Arc<str>>,
        keeper: Arc<Keeper>,
        domains: watch::Receiver<Arc<Rules>>,
        stopped: watch::Receiver<bool>,
        tasks: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let Self { path, folder, .. } = self;
        let mut stop = stopped.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = publish(folder, roots) => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
            Ok(())
        });
        control::server::start(&path, keeper, domains, stopped, tasks)
    }
}

/// After so long the roots are written again when they could not be.
const PUBLISH_AGAIN: Duration = Duration::from_secs(5);

/// Writes the roots whenever they change.
async fn publish(folder: Arc<Shared>, mut roots: watch::Receiver<Arc<str>>) {
    loop {
        let pem = Arc::clone(&roots.borrow_and_update());
        if !pem.is_empty() {
            let folder = Arc::clone(&folder);
            match tokio::task::spawn_blocking(move || folder.publish(&pem)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(target: "ca", "agents do not see the roots of now; it is tried again: {error}");
                    let _ = tokio::time::timeout(PUBLISH_AGAIN, roots.changed()).await;
                    roots.mark_changed();
                }
                Err(_) => return,
            }
        }
        if roots.changed().await.is_err() {
            return;
        }
    }
}

fn own_key(folder: &Folder) -> Result<TokenKey, Failed> {
    let pem = match folder.token_key()? {
        Some(pem) => pem,
        None => {
            let pem = TokenKey::generate()?;
            folder.keep_token_key(&pem)?;
            pem
        }
    };
    Ok(TokenKey::from_pem(&pem)?)
}

/// Makes a token for a service account with the key in `folder`, for `meltemi token`: beside the control plane that uses the folder, or
/// before there is one, when the key is made here.
///
/// # Errors
/// See [`Failed`].
pub fn mint(
    folder: &Path,
    namespace: &str,
    account: &str,
    life: Duration,
) -> Result<(Secret<String>, Claims), Failed> {
    let key = match token_key(folder)? {
        Some(pem) => TokenKey::from_pem(&pem)?,
        None => match Folder::open(folder) {
            Ok(opened) => own_key(&opened)?,
            Err(FolderError::InUse(path)) => return Err(Failed::NoKeyYet(path)),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(key.sign(namespace, account, life, Time::from(SystemTime::now()))?)
}

impl Shared {
    fn load(&self) -> Result<Option<Kept>, KeepError> {
        let Some(rotation) = self.folder.rotation().map_err(keep_error)? else { return Ok(None) };
        let mut kept = Kept { rotation, signers: std::collections::BTreeMap::new() };
        for id in kept.rotation.trusted() {
            let Some(material) = self.folder.signer(id).map_err(keep_error)? else {
                return Err(KeepError::Refused(format!(
                    "rotation.json names signer {id}, and {id}-cert.pem or {id}-key.pem is not there: put it back"
                )));
            };
            kept.signers.insert(id.clone(), material);
        }
        Ok(Some(kept))
    }

    fn publish(&self, roots: &str) -> Result<(), FolderError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.folder.publish_roots(roots)
    }

    fn swap(&self, from: Option<u64>, kept: &Kept) -> Result<(), KeepError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.folder.rotation().map_err(keep_error)?;
        if before.map(|rotation| rotation.revision()) != from {
            return Err(KeepError::Conflict);
        }
        // Keys first: a crash in between leaves a key that nobody names, and never a name without its key.
        for (id, material) in &kept.signers {
            if self.folder.signer(id).map_err(keep_error)?.as_ref() != Some(material) {
                self.folder.keep_signer(id, material).map_err(keep_error)?;
            }
        }
        self.folder.keep_rotation(&kept.rotation).map_err(keep_error)?;
        if let Err(error) = self.folder.sweep() {
            tracing::warn!(target: "ca", "a retired key is still there, and removed at the next start: {error}");
        }
        Ok(())
    }
}

/// A full disk passes; a file that is too wide or no file does not.
fn keep_error(error: FolderError) -> KeepError {
    match error {
        FolderError::Io { .. } => KeepError::Unavailable(error.to_string()),
        error => KeepError::Refused(error.to_string()),
    }
}

struct FolderKeep(Arc<Shared>);

impl FolderKeep {
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, KeepError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, KeepError>> {
        let folder = Arc::clone(&self.0);
        async move {
            let done = tokio::task::spawn_blocking(move || work(&folder)).await;
            done.unwrap_or_else(|error| Err(KeepError::Unavailable(error.to_string())))
        }
        .boxed()
    }
}

impl Keep for FolderKeep {
    fn load(&self) -> BoxFuture<'_, Result<Option<Kept>, KeepError>> {
        self.blocking(Shared::load)
    }

    fn swap<'a>(&'a self, from: Option<u64>, kept: &'a Kept) -> BoxFuture<'a, Result<(), KeepError>> {
        let kept = kept.clone();
        self.blocking(move |folder| folder.swap(from, &kept))
    }

    /// The folder is locked: nobody else writes.
    fn changed(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

struct Alone(watch::Receiver<u64>);

impl Replicas for Alone {
    fn world(&self) -> BoxFuture<'_, World> {
        // It does not know whom it answered before it was started: the certificates' own end decides.
        let report = Report { epoch: *self.0.borrow(), behind: None };
        std::future::ready([("this".to_owned(), Some(report))].into()).boxed()
    }
}

struct FolderTokens {
    key: Arc<TokenKey>,
    domains: watch::Receiver<Arc<Rules>>,
    clock: Arc<dyn Clock>,
}

impl FolderTokens {
    fn caller(&self, token: &str) -> Result<Caller, String> {
        let claims = self.key.verify(&Secret::new(token.to_owned()), self.clock.now());
        let claims = claims.map_err(|error| error.to_string())?;
        let (namespace, account) = claims.account().ok_or("the token names no service account")?;
        let rules = Arc::clone(&self.domains.borrow());
        let identity = rules.identity(namespace, account).map_err(|error| error.to_string())?;
        tracing::info!(target: "ca", token = claims.id(), %identity, expires = %claims.expires(), "token taken");
        Ok(Caller { identity, proof: Proof::FileToken, pod: None })
    }
}

impl Tokens for FolderTokens {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, Unknown>> {
        std::future::ready(self.caller(token).map_err(Unknown::Nobody)).boxed()
    }
}
