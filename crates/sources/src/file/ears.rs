//! What the kernel tells of the watched folders (inotify), as notices. Carries only; what a notice means is for [`super::gather`].
//!
//! On Linux alone, as the whole of Meltemi. `notify` is not used here: it hears of every file that is opened, our own reading among them,
//! in a thread of its own, so that one change woke two threads four times.
//!
//! Invariant: what was added and is not removed is heard of under the path by which it was added last.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::gather::Notice;

/// Room for [`SURE`] events with the longest names, and for more with shorter ones.
const BUFFER: usize = 16 << 10;

/// Events of any length that fit: where fewer came, there was no other.
const SURE: usize = BUFFER / (16 + 256);

/// The folders that are watched, each by itself.
#[derive(Debug)]
pub(super) struct Ears {
    inotify: Inotify,
    buffer: Box<[u8]>,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
    paths: HashMap<WatchDescriptor, PathBuf>,
    /// What went away by a rename and has not come to be elsewhere yet; a rename's two events are told together.
    moving: Option<(u32, PathBuf)>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be something to hear.
    ToHear,
    /// It is time, and there is nothing to hear.
    Time,
    /// Whoever holds the other end of `ended` is gone.
    ToEnd,
}

impl Ears {
    /// # Errors
    /// When the user has as many inotify instances as are allowed.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init()?,
            buffer: vec![0; BUFFER].into(),
            watched: BTreeMap::new(),
            paths: HashMap::new(),
            moving: None,
        })
    }

    /// Watches a folder, also if it is watched already: the folder of that path may be another one now.
    ///
    /// # Errors
    /// When there is no such folder, it is not to be read, or the user watches as many as are allowed.
    pub(super) fn listen(&mut self, folder: &Path) -> io::Result<()> {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        let watch = self.inotify.watches().add(folder, mask).map_err(|error| match error.kind() {
            // The kernel's word for it is that the disk is full.
            kind @ io::ErrorKind::StorageFull => io::Error::new(kind, "as many are watched as this user may"),
            _ => error,
        })?;
        // It was renamed: from now on it is heard of by its new name.
        if let Some(before) = self.paths.insert(watch.clone(), folder.to_path_buf())
            && before != folder
        {
            self.watched.remove(&before);
        }
        if let Some(before) = self.watched.insert(folder.to_path_buf(), watch.clone())
            && before != watch
        {
            self.forget(before);
        }
        Ok(())
    }

    /// Stops watching all that are not wanted.
    pub(super) fn only(&mut self, wanted: impl Fn(&Path) -> bool) {
        let unwanted: Vec<PathBuf> = self.watched.keys().filter(|folder| !wanted(folder)).cloned().collect();
        for folder in unwanted {
            if let Some(watch) = self.watched.remove(&folder) {
                self.forget(watch);
            }
        }
    }

    fn forget(&mut self, watch: WatchDescriptor) {
        if self.paths.remove(&watch).is_some() {
            // A folder that was deleted is unwatched already.
            let _ = self.inotify.watches().remove(watch);
        }
    }

    /// Waits until there is something to hear, `limit` is over, or the other end of `ended` is closed.
    ///
    /// # Errors
    /// When the kernel cannot wait: it has no memory left.
    pub(super) fn wait(&self, ended: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<Woken> {
        // Rounded up: what is over a moment early would be asked for again and again until then.
        let limit = limit.map_or(PollTimeout::NONE, |limit| {
            let milliseconds = limit.as_nanos().div_ceil(1_000_000);
            PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
        });
        let mut waited =
            [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN), PollFd::new(ended, PollFlags::POLLIN)];
        match poll(&mut waited, limit) {
            Ok(0) => return Ok(Woken::Time),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Woken::ToHear),
            Err(error) => return Err(error.into()),
        }
        let [_, ended] = waited;
        Ok(if ended.any().unwrap_or(false) { Woken::ToEnd } else { Woken::ToHear })
    }

    /// Tells what there is to hear, without waiting; ends after so many events at the latest.
    ///
    /// # Errors
    /// When the kernel tells no longer.
    pub(super) fn hear(&mut self, most: usize, mut tell: impl FnMut(Notice)) -> io::Result<()> {
        let Self { inotify, buffer, watched, paths, moving } = self;
        let (mut heard, mut before) = (0, 0);
        while heard < most {
            let events = match inotify.read_events(buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for event in events {
                heard += 1;
                if event.mask.intersects(EventMask::Q_OVERFLOW | EventMask::UNMOUNT) {
                    tell(Notice::Lost);
                    continue;
                }
                if event.mask.contains(EventMask::IGNORED) {
                    // It is gone, and so is its watch.
                    if let Some(folder) = paths.remove(&event.wd) {
                        watched.remove(&folder);
                    }
                    continue;
                }
                // One that is unwatched meanwhile.
                let Some(folder) = paths.get(&event.wd) else { continue };
                let path = event.name.map_or_else(|| folder.clone(), |name| folder.join(name));
                notices(moving, event.mask, event.cookie, path, &mut tell);
            }
            if heard - before < SURE {
                return Ok(());
            }
            before = heard;
        }
        Ok(())
    }
}

/// What one event says.
fn notices(
    moving: &mut Option<(u32, PathBuf)>,
    mask: EventMask,
    cookie: u32,
    path: PathBuf,
    tell: &mut impl FnMut(Notice),
) {
    if mask.contains(EventMask::CREATE) {
        tell(Notice::Created(path));
    } else if mask.contains(EventMask::MODIFY) {
        tell(Notice::Written(path));
    } else if mask.contains(EventMask::CLOSE_WRITE) {
        tell(Notice::Closed(path));
    } else if mask.contains(EventMask::ATTRIB) {
        tell(Notice::Touched(path));
    } else if mask.contains(EventMask::MOVED_FROM) {
        *moving = Some((cookie, path.clone()));
        tell(Notice::Gone(path));
    } else if mask.contains(EventMask::MOVED_TO) {
        let from = moving.take().filter(|(of, _)| *of == cookie).map(|(_, from)| from);
        tell(Notice::Arrived(path.clone()));
        if let Some(from) = from {
            tell(Notice::Renamed(from, path));
        }
    } else if mask.intersects(EventMask::DELETE | EventMask::DELETE_SELF | EventMask::MOVE_SELF) {
        tell(Notice::Gone(path));
    }
}

#[cfg(test)]
mod tests;
