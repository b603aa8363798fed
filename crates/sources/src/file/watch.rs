//! Follows the folders: inotify's notices in, batches out. Carries only; what it does is decided in [`super::gather`] and
//! [`super::folder`].
//!
//! Invariants: a folder is watched before it is looked at; a receiver that is slow gets fewer and larger batches, never stale ones,
//! since nothing is read before there is room for the batch; notices that do not fit are made up for by looking at everything.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use meltemi_api::{Finding, Place};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::disk::HostDisk;
use super::ears::{Ears, Woken};
use super::folder::{Folder, GRACE, Look};
use super::gather::{Gather, Meaning, NOTICES, Notice, Work};
use super::{Error, first_look, named, now};
use crate::batch::Batch;

/// Folders that are followed, until this is dropped.
///
/// By a thread of its own, which hears, reads and hands on: a change that nobody reads wakes no task of the server, and a file server
/// that hangs holds nothing up.
#[derive(Debug)]
pub struct FolderSource {
    batches: mpsc::Receiver<Batch>,
    /// The thread ends when this is closed.
    _end: UnixStream,
    #[cfg(test)]
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FolderSource {
    /// Reads the folders (or files), in the given order, and begins to follow them. Objects without a namespace are of `namespace`;
    /// `mesh_config` is the file of the mesh's settings. The batch is complete: everything that can be read is in it.
    ///
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When a root is not there or files cannot be watched. Everything else is a finding.
    pub async fn start(
        roots: &[PathBuf],
        namespace: &str,
        mesh_config: Option<&Path>,
    ) -> Result<(Batch, Self), Error> {
        let folder = Folder::new(HostDisk, named(roots, mesh_config)?, namespace);
        let (end, ended) = UnixStream::pair().map_err(Error::Watch)?;
        let follower = Follower {
            folder,
            gather: Gather::default(),
            ears: Ears::new().map_err(Error::Watch)?,
            deaf: Vec::new(),
        };
        let (started, first) = oneshot::channel();
        // One: the receiver works on a batch while the next one waits; more would be stale.
        let (sender, batches) = mpsc::channel(1);
        let follow = Follow { ended, sender, runtime: Runtime::current() };
        let thread = std::thread::Builder::new().name("folders".to_owned()).spawn(move || {
            let _last_words = LastWords;
            let (first, follower) = follower.first();
            // Who is not waited for any more has nothing to follow.
            if started.send(first).is_ok()
                && let Some(follower) = follower
                && let Err(error) = follow.run(follower)
            {
                tracing::error!(%error, "folders are followed no longer; what was read stays in force; start again");
            }
        });
        let _thread = thread.map_err(Error::Watch)?;
        let unread = || Error::Watch(io::Error::other("the folders could not be read"));
        let first = first.await.map_err(|_| unread())??;
        let source = Self {
            batches,
            _end: end,
            #[cfg(test)]
            thread: Some(_thread),
        };
        Ok((first, source))
    }

    /// The next change. None when the folders can be followed no longer.
    ///
    /// Cancel safe: a batch that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }
}

#[cfg(test)]
impl FolderSource {
    /// What ends when this is dropped.
    pub(super) fn thread_for_test(&mut self) -> std::thread::JoinHandle<()> {
        self.thread.take().expect("asked for once")
    }
}

/// Says so when the thread ends by a fault of ours.
struct LastWords;

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("folders are followed no longer; what was read stays in force; start again");
        }
    }
}

/// How long the thread follows, and to whom it tells.
struct Follow {
    ended: UnixStream,
    sender: mpsc::Sender<Batch>,
    runtime: Runtime,
}

impl Follow {
    /// Until nobody listens any more.
    fn run(self, mut follower: Follower) -> io::Result<()> {
        loop {
            let deadline = follower.gather.deadline();
            let limit = deadline.map(|deadline| deadline.saturating_duration_since(now().0));
            match follower.ears.wait(self.ended.as_fd(), limit)? {
                Woken::ToEnd => return Ok(()),
                Woken::ToHear => follower.hear()?,
                Woken::Time => {}
            }
            if follower.gather.deadline().is_none_or(|deadline| deadline > now().0) {
                continue;
            }
            let room = match self.sender.try_reserve() {
                Ok(room) => room,
                Err(TrySendError::Closed(())) => return Ok(()),
                Err(TrySendError::Full(())) => {
                    let Ok(room) = self.runtime.block_on(self.sender.reserve()) else { return Ok(()) };
                    // Of a file that was opened meanwhile it must be known before it is read.
                    follower.hear()?;
                    room
                }
            };
            if let Some(batch) = follower.act() {
                room.send(batch);
            }
        }
    }
}

/// What the thread carries from one look to the next.
#[derive(Debug)]
struct Follower {
    folder: Folder<HostDisk>,
    gather: Gather,
    ears: Ears,
    /// The folders that are not watched, and why.
    deaf: Vec<(PathBuf, io::Error)>,
}

impl Follower {
    /// All there is; with what is to be followed, if there is something.
    fn first(mut self) -> (Result<Batch, Error>, Option<Self>) {
        let (ears, deaf) = (&mut self.ears, &mut self.deaf);
        let looked = first_look(&mut self.folder, &mut |folder| listen(ears, deaf, folder));
        let (torn, entered) = match looked {
            Ok(looked) => looked,
            Err(error) => return (Err(error), None),
        };
        self.ears.only(|folder| entered.contains(folder));
        let (now, wall) = now();
        self.again(torn, now);
        let batch = self.folder.complete(self.deaf(), wall);
        (Ok(batch), Some(self))
    }

    /// Takes what there is to hear, but no longer than until it is to be acted on.
    fn hear(&mut self) -> io::Result<()> {
        let Self { folder, gather, ears, .. } = self;
        ears.hear(NOTICES, |notice| {
            let passed_over = match &notice {
                Notice::Arrived(path) | Notice::Closed(path) => folder.passes_over(path),
                _ => false,
            };
            let meaning = |path: &Path| if passed_over { Meaning::Nothing } else { folder.meaning(path) };
            gather.on(notice, meaning, now().0);
        })
    }

    /// Acts on what was heard, if it is time.
    fn act(&mut self) -> Option<Batch> {
        let (now, wall) = now();
        let work = self.gather.take(now)?;
        let (ears, deaf) = (&mut self.ears, &mut self.deaf);
        if work.tree.is_some() {
            deaf.clear();
        }
        let mut enter = |folder: &Path| listen(ears, deaf, folder);
        let look = self.folder.look(&work, self.gather.writing(), now, wall, &mut enter);
        match look {
            Look::Wait(until) => {
                self.gather.put_back(work, until, now);
                None
            }
            Look::Done { torn, whole, entered } => {
                if let Some(entered) = entered {
                    self.ears.only(|folder| entered.contains(folder));
                }
                self.gather.whole(&whole);
                self.gather.done();
                self.again(torn, now);
                self.folder.batch(self.deaf(), wall)
            }
        }
    }

    fn again(&mut self, torn: Vec<PathBuf>, now: Instant) {
        if !torn.is_empty() {
            let files = torn.into_iter().map(|path| (path, now)).collect();
            self.gather.put_back(Work { files, ..Work::default() }, now + GRACE, now);
        }
    }

    fn deaf(&self) -> Vec<Finding> {
        let told = self.deaf.iter().map(|(folder, error)| {
            let place = Place { file: folder.display().to_string().into(), line: 1, column: 1 };
            Finding::warning("not-watched", format!("changes in this folder are not noticed: {error}"))
                .in_force("what was read of it")
                .hint("raise fs.inotify.max_user_watches, or let this user read the folder")
                .placed(Some(place))
        });
        told.collect()
    }
}

/// Watches a folder that is entered.
fn listen(ears: &mut Ears, deaf: &mut Vec<(PathBuf, io::Error)>, folder: &Path) {
    match ears.listen(folder) {
        Ok(()) => {}
        // It went away meanwhile; the folder around it tells.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => deaf.push((folder.to_path_buf(), error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Ears, Folder, Follower, Gather, HostDisk, named};

    #[test]
    fn a_file_that_holds_nothing_of_the_meshs_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let write = |text: &str| {
            let next = dir.path().join("next");
            fs::write(&next, text).unwrap();
            fs::rename(next, root.join("a.yaml")).unwrap();
        };
        write("apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1}\n");
        let follower = Follower {
            folder: Folder::new(HostDisk, named(std::slice::from_ref(&root), None).unwrap(), "default"),
            gather: Gather::default(),
            ears: Ears::new().unwrap(),
            deaf: Vec::new(),
        };
        let (_, follower) = follower.first();
        let mut follower = follower.unwrap();
        write("apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 2}\n");
        follower.hear().unwrap();
        assert_eq!(follower.gather.deadline(), None);
        write("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n");
        follower.hear().unwrap();
        assert!(follower.gather.deadline().is_some());
    }
}
