//! When what was heard of the disk is acted on: a state machine, given `now`.
//!
//! Knows: notices, quiet, limits. Must not know: the disk, what counts there.
//! Invariants: a file that somebody writes to is not named before it was closed; what is heard together is acted on together; nothing
//! waits longer than [`LIMIT`] for something else; memory is bounded by [`NOTICES`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Without a further notice for so long, what was heard is acted on. Long beside the gaps within one `git checkout` or one editor's
/// save (microseconds), short beside what a step takes to reach a thousand sidecars (20 ms).
pub(super) const QUIET: Duration = Duration::from_millis(5);

/// Whatever follows, it is acted on after so long: a folder that is written to without end is read all the same.
pub(super) const LIMIT: Duration = Duration::from_millis(500);

/// How many paths are remembered. More are forgotten, and everything is looked at instead.
pub(super) const NOTICES: usize = 20_000;

/// Something heard of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A name came to be; a file that is new is still being written, a link is whole.
    Created(PathBuf),
    /// The content changed; whoever does it has the file open.
    Written(PathBuf),
    /// Whoever wrote has closed it.
    Closed(PathBuf),
    /// A name came by a rename.
    Arrived(PathBuf),
    /// A name went, by a rename or for good.
    Gone(PathBuf),
    /// One rename, after its `Gone` and `Arrived`: who has the file open has it open still.
    Renamed(PathBuf, PathBuf),
    /// Rights changed.
    Touched(PathBuf),
    /// Notices were lost.
    Lost,
}

/// What a path means to the one who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Which files there are depends on it.
    Tree,
    /// It is a file, or may be one.
    File,
    /// It stands beside ours, and may yet be renamed to one.
    Beside,
    /// None of ours.
    Nothing,
}

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Everything; when that was last heard.
    pub(super) tree: Option<Instant>,
    /// These paths; when each was last heard of.
    pub(super) files: BTreeMap<PathBuf, Instant>,
    /// It has waited long enough, and is not to wait for anything else.
    pub(super) is_due: bool,
    /// Nothing is in force that half a file could harm.
    pub(super) is_first: bool,
}

impl Work {
    /// Everything, at once.
    pub(super) fn first(now: Instant) -> Self {
        Self { tree: Some(now), is_due: true, is_first: true, ..Self::default() }
    }

    fn is_empty(&self) -> bool {
        self.tree.is_none() && self.files.is_empty()
    }
}

/// What was heard and not acted on yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Gather {
    work: Work,
    /// Paths that somebody has open to write to.
    writing: BTreeSet<PathBuf>,
    /// The one of them that went last: it may have got another name.
    moved: Option<PathBuf>,
    first: Option<Instant>,
    last: Option<Instant>,
    not_before: Option<Instant>,
}

impl Gather {
    /// Takes a notice.
    pub(super) fn on(&mut self, notice: Notice, meaning: impl Fn(&Path) -> Meaning, now: Instant) {
        match notice {
            Notice::Lost => {
                // Among what was lost may be any close.
                self.writing.clear();
                return self.everything(now);
            }
            Notice::Written(path) => {
                if meaning(&path) != Meaning::Nothing {
                    self.writing.insert(path);
                }
            }
            Notice::Renamed(from, to) => {
                if self.moved.take_if(|moved| *moved == from).is_some() {
                    self.writing.insert(to);
                }
            }
            Notice::Created(path) => {
                if meaning(&path) != Meaning::Nothing {
                    // A link, or another name of a file, is never closed: whether it is one is seen when it is looked at.
                    self.writing.insert(path.clone());
                }
                self.stir(path, meaning, now);
            }
            Notice::Gone(path) => {
                self.moved = self.writing.take(&path);
                self.stir(path, meaning, now);
            }
            Notice::Closed(path) | Notice::Arrived(path) => {
                self.writing.remove(&path);
                self.stir(path, meaning, now);
            }
            Notice::Touched(path) => self.stir(path, meaning, now),
        }
        if self.writing.len() + self.work.files.len() > NOTICES {
            self.writing.clear();
            self.everything(now);
        }
    }

    fn stir(&mut self, path: PathBuf, meaning: impl Fn(&Path) -> Meaning, now: Instant) {
        match meaning(&path) {
            Meaning::Beside | Meaning::Nothing => return,
            Meaning::Tree => self.work.tree = Some(now),
            Meaning::File => {
                self.work.files.insert(path, now);
            }
        }
        self.heard(now);
    }

    fn everything(&mut self, now: Instant) {
        self.work.tree = Some(now);
        self.work.files.clear();
        self.heard(now);
    }

    fn heard(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// When to call [`Gather::take`]; none if nothing was heard.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let quiet = self.last? + QUIET;
        let wanted = self.not_before.map_or(quiet, |until| until.max(quiet));
        Some(wanted.min(self.first? + LIMIT))
    }

    /// What is to be looked at now, if it is time.
    pub(super) fn take(&mut self, now: Instant) -> Option<Work> {
        if self.work.is_empty() || self.deadline()? > now {
            return None;
        }
        let is_due = self.first.is_some_and(|first| now >= first + LIMIT);
        self.last = None;
        self.not_before = None;
        Some(Work { is_due, ..std::mem::take(&mut self.work) })
    }

    /// What was taken was acted on: what comes next begins anew.
    pub(super) fn done(&mut self) {
        self.first = self.last;
    }

    /// What was taken is to be looked at again then, with what is heard meanwhile.
    pub(super) fn put_back(&mut self, work: Work, until: Instant, now: Instant) {
        self.work.tree = self.work.tree.max(work.tree);
        for (path, heard) in work.files {
            self.work.files.entry(path).or_insert(heard);
        }
        self.first.get_or_insert(now);
        self.last.get_or_insert(now);
        self.not_before = Some(until);
    }

    /// These are whole, although nobody closed them: links, and further names of files.
    pub(super) fn whole(&mut self, paths: &[PathBuf]) {
        for path in paths {
            self.writing.remove(path);
        }
    }

    /// The paths that somebody writes to.
    pub(super) fn writing(&self) -> &BTreeSet<PathBuf> {
        &self.writing
    }
}

#[cfg(test)]
mod tests;
