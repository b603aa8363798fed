//! Keeps the secrets up to date: the workload's as it is renewed, those of files as these change.
//!
//! Knows: files, notices of changes to them. Must not know: streams beyond the names they want.   Start at [`Keeper`].
//! Invariant: what was readable stays served while what replaced it is not; a pair of files is served only if they belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::name::Name;
use super::secrets::Secrets;
use crate::identity::Credential;

/// So long after the first notice files are read: certificate and key are seldom replaced in one go. As in Istio.
const QUIET: Duration = Duration::from_millis(100);

/// The longest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// The most names of files, over all streams.
pub const MAX_FILES: usize = 1024;

/// Where roots of the machine are, by distribution; the first that is there counts.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a stream tells the keeper.
#[derive(Debug)]
pub(crate) enum Wish {
    /// One more stream wants it.
    Wants(Name),
    /// One fewer.
    Drops(Name),
}

/// Keeps the secrets.
pub(crate) struct Keeper {
    crl: PathBuf,
    secrets: watch::Sender<Secrets>,
    /// How many streams want a name.
    files: BTreeMap<Name, usize>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    told: BTreeMap<Name, String>,
    /// What was read last of the revocation lists.
    lists: Option<String>,
}

impl Keeper {
    /// Serves the latest credential as `default` and `ROOTCA`, this with the revocation lists of the file `crl` while it is there, and
    /// what streams wish. Ends when nobody can wish any more.
    pub(crate) async fn keep(
        crl: PathBuf,
        secrets: watch::Sender<Secrets>,
        mut credential: watch::Receiver<Option<Arc<Credential>>>,
        mut wishes: mpsc::Receiver<Wish>,
    ) {
        // One notice that waits is as good as many: everything is read then.
        let (notice, mut notices) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| !event.kind.is_access()) {
                // Full: one waits already. Closed: nobody listens.
                let _full = notice.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "files of certificates cannot be watched; changes of them are not seen"));
        let mut keeper = Self {
            crl,
            secrets,
            files: BTreeMap::new(),
            watcher: watcher.ok(),
            watched: BTreeSet::new(),
            told: BTreeMap::new(),
            lists: None,
        };
        keeper.watch(&keeper.crl.clone());
        keeper.read_lists().await;
        let mut due: Option<Instant> = None;
        loop {
            let held = credential.borrow_and_update().clone();
            keeper.put(held.as_deref());
            tokio::select! {
                changed = credential.changed() => if changed.is_err() { return },
                wish = wishes.recv() => match wish {
                    Some(wish) => keeper.wish(wish).await,
                    None => return,
                },
                Some(()) = notices.recv() => due = due.or(Some(Instant::now() + QUIET)),
                () = until(due) => {
                    due = None;
                    keeper.read_all().await;
                }
            }
        }
    }

    fn put(&self, credential: Option<&Credential>) {
        let Some(credential) = credential else { return };
        self.secrets.send_if_modified(|secrets| {
            let pair = secrets.put_pair(Name::Default, &credential.chain, credential.key().reveal());
            let roots = secrets.put_roots(Name::RootCa, &credential.roots, self.lists.as_deref());
            pair || roots
        });
    }

    async fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Wants(name) => {
                if let Some(count) = self.files.get_mut(&name) {
                    *count += 1;
                } else if self.files.len() >= MAX_FILES {
                    tracing::warn!(%name, "more than {MAX_FILES} secrets of files are asked for; this one is not served");
                } else {
                    self.files.insert(name.clone(), 1);
                    for file in files(&name) {
                        self.watch(&file);
                    }
                    self.read(&name).await;
                }
            }
            Wish::Drops(name) => {
                if let Some(count) = self.files.get_mut(&name) {
                    *count -= 1;
                    if *count == 0 {
                        self.files.remove(&name);
                        self.told.remove(&name);
                        self.secrets.send_if_modified(|secrets| {
                            secrets.forget(&name);
                            // Nobody waits for it.
                            false
                        });
                    }
                }
            }
        }
    }

    /// Watches the folder: a file may come later, and Kubernetes replaces a link beside it. Where the folder is to come, too, the nearest one
    /// that is there tells of it.
    fn watch(&mut self, file: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut above = file
            .ancestors()
            .skip(1)
            .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        let Some(folder) = above.find(|folder| folder.is_dir()) else { return };
        if self.watched.contains(folder) {
            return;
        }
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.watched.insert(folder.to_owned())),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "a folder of certificates cannot be watched")
            }
        }
    }

    async fn read_all(&mut self) {
        // A folder may be there now that was not. Before anything is read: what changes after that is a notice of its own.
        let wanted: Vec<PathBuf> = self.files.keys().flat_map(files).chain([self.crl.clone()]).collect();
        for file in wanted {
            self.watch(&file);
        }
        self.read_lists().await;
        let names: Vec<Name> = self.files.keys().cloned().collect();
        for name in names {
            self.read(&name).await;
        }
    }

    async fn read_lists(&mut self) {
        match read(&self.crl).await {
            // Istio's control plane writes an empty file where there are no lists.
            Ok(text) if text.trim().is_empty() => self.lists = None,
            Ok(text) if is_all::<CertificateRevocationListDer<'_>>(&text) => {
                self.lists = Some(text.to_string())
            }
            Ok(_) => tracing::warn!(
                file = %self.crl.display(),
                "it holds no revocation lists in PEM; what was read before stays in force"
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.lists = None,
            Err(error) => tracing::warn!(
                file = %self.crl.display(), %error,
                "revocation lists cannot be read; what was read before stays in force"
            ),
        }
    }

    async fn read(&mut self, name: &Name) {
        let read = match name {
            Name::FileCert { chain, key } => pair(chain, key).await.map(Content::Pair),
            Name::FileRoot(file) => roots(Path::new(file)).await.map(Content::Roots),
            Name::SystemRoots => system().await.map(Content::Roots),
            Name::Default | Name::RootCa => return,
        };
        match read {
            Ok(content) => {
                self.told.remove(name);
                self.secrets.send_if_modified(|secrets| match &content {
                    Content::Pair((chain, key)) => secrets.put_pair(name.clone(), chain, key),
                    Content::Roots(roots) => secrets.put_roots(name.clone(), roots, None),
                });
            }
            // Said once for each reason, since every change in the folder has it read again.
            Err(reason) => {
                if self.told.get(name) != Some(&reason) {
                    tracing::warn!(%name, "{reason}; what was served before stays, and Envoy waits where nothing was");
                    self.told.insert(name.clone(), reason);
                }
            }
        }
    }
}

enum Content {
    Pair((Zeroizing<String>, Zeroizing<String>)),
    Roots(Zeroizing<String>),
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn files(name: &Name) -> Vec<PathBuf> {
    match name {
        Name::FileCert { chain, key } => vec![chain.into(), key.into()],
        Name::FileRoot(file) => vec![file.into()],
        Name::Default | Name::RootCa | Name::SystemRoots => Vec::new(),
    }
}

async fn pair(chain: &str, key: &str) -> Result<(Zeroizing<String>, Zeroizing<String>), String> {
    let chain_text =
        read(Path::new(chain)).await.map_err(|error| format!("{chain} cannot be read: {error}"))?;
    let key_text = read(Path::new(key)).await.map_err(|error| format!("{key} cannot be read: {error}"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_text.as_bytes()).collect();
    let certificates = certificates.ok().filter(|found| !found.is_empty());
    let certificates = certificates.ok_or_else(|| format!("{chain} holds no certificates in PEM"))?;
    let parsed = PrivateKeyDer::from_pem_slice(key_text.as_bytes())
        .map_err(|_| format!("{key} holds no key in PEM"))?;
    let signing = rustls::crypto::ring::sign::any_supported_type(&parsed)
        .map_err(|_| format!("{key} holds a key of an unknown kind"))?;
    // In the middle of a replacement the two are of different pairs; the notice of the second file follows.
    let certified = rustls::sign::CertifiedKey::new(certificates, signing);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(format!("the key in {key} is not that of the certificate in {chain}"))
        }
        _ => Ok((chain_text, key_text)),
    }
}

async fn roots(file: &Path) -> Result<Zeroizing<String>, String> {
    let text = read(file).await.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    if is_all::<CertificateDer<'_>>(&text) {
        Ok(text)
    } else {
        Err(format!("{} holds no certificates in PEM", file.display()))
    }
}

async fn system() -> Result<Zeroizing<String>, String> {
    for file in SYSTEM {
        if let Ok(text) = roots(Path::new(file)).await {
            return Ok(text);
        }
    }
    Err("this machine has no bundle of roots in any of the usual places".to_owned())
}

/// Whether the text holds such sections, and each can be read.
fn is_all<T: rustls_pki_types::pem::PemObject>(text: &str) -> bool {
    let mut count = 0;
    T::pem_slice_iter(text.as_bytes()).all(|read| read.inspect(|_| count += 1).is_ok()) && count > 0
}

async fn read(file: &Path) -> std::io::Result<Zeroizing<String>> {
    use tokio::io::AsyncReadExt as _;
    let mut text = Zeroizing::new(String::new());
    tokio::fs::File::open(file).await?.take(MOST_BYTES + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > MOST_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(text)
}
