//! Follows the folders: inotify's notices in, batches out. Carries only; what it does is decided in [`super::gather`] and
//! [`super::folder`].
//!
//! Invariants: a folder is watched before it is looked at; a receiver that is slow gets fewer and larger batches, never stale ones,
//! since nothing is read before there is room for the batch; notices that do not fit are made up for by looking at everything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Instant;

use meltemi_api::{Finding, Place};
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{mpsc, oneshot};

use super::disk::HostDisk;
use super::folder::{Folder, GRACE, Look};
use super::gather::{Gather, NOTICES, Notice, Work};
use super::{Error, first_look, named, now};
use crate::batch::Batch;

/// Folders that are followed, until this is dropped.
///
/// By a thread of its own, which hears, reads and hands on: a change that nobody reads wakes no task of the server, and a file server
/// that hangs holds nothing up.
#[derive(Debug)]
pub struct FolderSource {
    batches: mpsc::Receiver<Batch>,
    _stop: Stop,
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
        let (notices, heard) = std::sync::mpsc::sync_channel(NOTICES);
        let lost = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let watcher = watcher(notices.clone(), Arc::clone(&lost)).map_err(Error::Watch)?;
        let follower = Follower {
            folder,
            gather: Gather::default(),
            ears: Ears { watcher, watched: BTreeSet::new(), deaf: Vec::new() },
        };
        let (started, first) = oneshot::channel();
        // One: the receiver works on a batch while the next one waits; more would be stale.
        let (sender, batches) = mpsc::channel(1);
        let follow = Follow { heard, lost, stop: Arc::clone(&stop), sender, runtime: Runtime::current() };
        let thread = std::thread::Builder::new().name("folders".to_owned()).spawn(move || {
            let _last_words = LastWords;
            let (first, follower) = follower.first();
            // Who is not waited for any more has nothing to follow.
            if started.send(first).is_ok()
                && let Some(follower) = follower
            {
                follow.run(follower);
            }
        });
        let failed = |reason: String| Error::Watch(notify::Error::generic(&reason));
        let _thread = thread.map_err(|error| failed(error.to_string()))?;
        let first = first.await.map_err(|_| failed("the folders could not be read".to_owned()))??;
        let source = Self {
            batches,
            _stop: Stop { flag: stop, notices },
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

/// Ends the thread when it is dropped.
#[derive(Debug)]
struct Stop {
    flag: Arc<AtomicBool>,
    notices: SyncSender<Notice>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Release);
        // Where there is no room it has enough to hear.
        let _ = self.notices.try_send(Notice::Lost);
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

/// What the thread hears, and to whom it tells.
struct Follow {
    heard: Receiver<Notice>,
    lost: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    sender: mpsc::Sender<Batch>,
    runtime: Runtime,
}

impl Follow {
    fn run(self, mut follower: Follower) {
        while let Some(notice) = self.listen(&follower.gather) {
            if let Some(notice) = notice {
                follower.on(notice);
            }
            follower.drain(&self.heard, &self.lost);
            if follower.gather.deadline().is_none_or(|deadline| deadline > now().0) {
                continue;
            }
            let Ok(room) = self.runtime.block_on(self.sender.reserve()) else { return };
            // Of a file that was opened meanwhile it must be known before it is read.
            follower.drain(&self.heard, &self.lost);
            if let Some(batch) = follower.act() {
                room.send(batch);
            }
        }
    }

    /// The next notice, or none when it is time to act; none at all when it is to end.
    fn listen(&self, gather: &Gather) -> Option<Option<Notice>> {
        let notice = match gather.deadline() {
            None => Some(self.heard.recv().ok()?),
            Some(deadline) => match self.heard.recv_timeout(deadline.saturating_duration_since(now().0)) {
                Ok(notice) => Some(notice),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        };
        (!self.stop.load(Ordering::Acquire)).then_some(notice)
    }
}

/// What the thread carries from one look to the next.
#[derive(Debug)]
struct Follower {
    folder: Folder<HostDisk>,
    gather: Gather,
    ears: Ears,
}

impl Follower {
    /// All there is; with what is to be followed, if there is something.
    fn first(mut self) -> (Result<Batch, Error>, Option<Self>) {
        let looked = first_look(&mut self.folder, &mut |folder| self.ears.listen(folder));
        let (torn, entered) = match looked {
            Ok(looked) => looked,
            Err(error) => return (Err(error), None),
        };
        self.ears.only(entered);
        let (now, wall) = now();
        self.again(torn, now);
        let batch = self.folder.complete(self.deaf(), wall);
        (Ok(batch), Some(self))
    }

    fn on(&mut self, notice: Notice) {
        self.gather.on(notice, |path| self.folder.meaning(path), now().0);
    }

    /// Takes what is there, but no longer than until it is to be acted on.
    fn drain(&mut self, heard: &Receiver<Notice>, lost: &AtomicBool) {
        for _ in 0..NOTICES {
            match heard.try_recv() {
                Ok(notice) => self.on(notice),
                Err(_) => break,
            }
        }
        if lost.swap(false, Ordering::AcqRel) {
            self.on(Notice::Lost);
        }
    }

    /// Acts on what was heard, if it is time.
    fn act(&mut self) -> Option<Batch> {
        let (now, wall) = now();
        let work = self.gather.take(now)?;
        let ears = &mut self.ears;
        if work.tree.is_some() {
            ears.deaf.clear();
        }
        let look =
            self.folder.look(&work, self.gather.writing(), now, wall, &mut |folder| ears.listen(folder));
        match look {
            Look::Wait(until) => {
                self.gather.put_back(work, until, now);
                None
            }
            Look::Done { torn, whole, entered } => {
                if let Some(entered) = entered {
                    self.ears.only(entered);
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
        let told = self.ears.deaf.iter().map(|(folder, error)| {
            let place = Place { file: folder.display().to_string().into(), line: 1, column: 1 };
            Finding::warning("not-watched", format!("changes in this folder are not noticed: {error}"))
                .in_force("what was read of it")
                .hint("raise fs.inotify.max_user_watches, or let this user read the folder")
                .placed(Some(place))
        });
        told.collect()
    }
}

/// The folders that are watched, each by itself: `notify`'s own recursion begins to watch a new folder only after it told of it.
#[derive(Debug)]
struct Ears {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    deaf: Vec<(PathBuf, notify::Error)>,
}

impl Ears {
    /// Also if it is watched already: the folder of that path may be another one now.
    fn listen(&mut self, folder: &Path) {
        match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(folder.to_path_buf());
            }
            // It went away meanwhile; the folder around it tells.
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
            Err(error) => self.deaf.push((folder.to_path_buf(), error)),
        }
    }

    /// Stops watching all others.
    fn only(&mut self, wanted: BTreeSet<PathBuf>) {
        for folder in self.watched.difference(&wanted) {
            // A folder that was deleted is unwatched already.
            let _ = self.watcher.unwatch(folder);
        }
        self.watched.retain(|folder| wanted.contains(folder));
    }
}

fn watcher(notices: SyncSender<Notice>, lost: Arc<AtomicBool>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let notice = match event {
            Ok(event) => notice(event),
            Err(_) => Some(Notice::Lost),
        };
        if let Some(notice) = notice
            && notices.try_send(notice).is_err()
        {
            // There are notices to take, so the flag will be looked at.
            lost.store(true, Ordering::Release);
        }
    })
}

/// What an event of inotify says; reads are dropped here, among them our own.
fn notice(event: notify::Event) -> Option<Notice> {
    if event.need_rescan() {
        return Some(Notice::Lost);
    }
    let mut paths = event.paths.into_iter();
    let path = paths.next()?;
    match event.kind {
        EventKind::Create(_) => Some(Notice::Created(path)),
        EventKind::Modify(ModifyKind::Data(_)) => Some(Notice::Written(path)),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Notice::Touched(path)),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
            Some(Notice::Gone(path))
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Notice::Arrived(path)),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            paths.next().map(|to| Notice::Renamed(path, to))
        }
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Notice::Closed(path)),
        _ => None,
    }
}
