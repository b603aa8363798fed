//! The roots as they were last looked at: what was heard becomes files that are read, and those a [`Batch`].
//!
//! Pure over a [`Disk`], `now` and the wall clock given. Must not know: inotify, tasks.
//! Invariants: a file that somebody writes to, or that changed while it was read, is not used; what is not there is believed to be
//! gone only [`GRACE`] after it was heard of, since a save may delete before it writes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use meltemi_api::{Finding, MAX_FILE};

use super::disk::{Disk, Node, Stamp, Unread};
use super::gather::{Meaning, QUIET, Work};
use super::merge::{Merge, Text};
use super::name;
use super::scan::{self, BEFORE, FILES, FileId, Found, Listing, Root};
use crate::batch::Batch;

/// How long a file must be away to be gone. Vim, and `git checkout`, delete a file and make it anew: microseconds, on a busy machine
/// many milliseconds. Nobody waits for a deletion.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// A file that is met without a notice and changed so recently may be in the middle of being written: whoever writes will be heard.
const YOUNG: Duration = Duration::from_millis(50);

/// How many bytes of files are in memory before what they hold is read.
const AT_ONCE: usize = 16 << 20;

/// What became of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing was done: look again then.
    Wait(Instant),
    /// It was done.
    Done {
        /// Paths that changed while they were read: to be looked at again.
        torn: Vec<PathBuf>,
        /// Paths that are whole although nobody closed them.
        whole: Vec<PathBuf>,
        /// If the whole tree was walked: every folder that is entered or that must be watched.
        entered: Option<BTreeSet<PathBuf>>,
    },
}

/// The files of the roots, and the objects in them.
#[derive(Debug)]
pub(super) struct Folder<D> {
    disk: D,
    roots: Vec<Root>,
    listing: Listing,
    /// Found by their hash, as what was read: paths that begin alike are slow to order.
    by_real: HashMap<PathBuf, FileId>,
    /// The files that were read, each as it was then.
    read: HashMap<FileId, Found>,
    /// The files that could not be read, and why.
    trouble: BTreeMap<FileId, Finding>,
    merge: Merge,
}

impl<D: Disk> Folder<D> {
    /// Nothing was looked at yet.
    pub(super) fn new(disk: D, roots: Vec<Root>, namespace: &str) -> Self {
        Self {
            disk,
            roots,
            listing: Listing::default(),
            by_real: HashMap::new(),
            read: HashMap::new(),
            trouble: BTreeMap::new(),
            merge: Merge::new(namespace),
        }
    }

    /// Roots that are not there.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&Root, std::io::ErrorKind)> {
        self.listing.missing.iter().filter_map(|(&index, &kind)| Some((self.roots.get(index)?, kind)))
    }

    /// What a path means now.
    pub(super) fn meaning(&self, path: &Path) -> Meaning {
        if self.by_real.contains_key(path) {
            return Meaning::File;
        }
        if self.listing.hops.contains(path) || self.listing.folders.contains_key(path) {
            return Meaning::Tree;
        }
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if self.listing.folders.contains_key(folder) => {
                if name::is_hidden(name) { Meaning::Beside } else { Meaning::File }
            }
            _ => Meaning::Nothing,
        }
    }

    /// Whether nothing follows from a file that was written whole: it held nothing of the mesh's, and holds nothing of it now. Most files
    /// of a folder that holds whole applications are so, and need not wait for what else may be written.
    ///
    /// If somebody writes to it while it is read, what is read may be half of it; it will be heard of again.
    pub(super) fn passes_over(&mut self, path: &Path) -> bool {
        let Some(id) = self.by_real.get(path) else { return false };
        let (Some(held), Some(found)) = (self.merge.foreign(id), self.read.get_mut(id)) else { return false };
        // A link in its place leads elsewhere.
        if !matches!(self.disk.node(path), Ok(Node::File(_))) {
            return false;
        }
        let Ok((bytes, stamp)) = self.disk.read(path, MAX_FILE) else { return false };
        let is_nothing = held.is_as_foreign_as(&bytes);
        if is_nothing {
            found.stamp = stamp;
        }
        is_nothing
    }

    /// What changed since it was last asked; `findings` are those about how the folders are watched.
    pub(super) fn batch(&mut self, mut findings: Vec<Finding>, at: SystemTime) -> Option<Batch> {
        findings.extend(self.listing.findings.iter().chain(self.trouble.values()).cloned());
        self.merge.batch(findings, at)
    }

    /// As [`Folder::batch`], also if nothing changed.
    pub(super) fn complete(&mut self, findings: Vec<Finding>, at: SystemTime) -> Batch {
        self.batch(findings, at).unwrap_or_else(|| self.merge.nothing(at))
    }

    /// Says of files that change again and again that they were not read.
    pub(super) fn give_up(&mut self, torn: &[PathBuf]) {
        for path in torn {
            if let Some(id) = self.by_real.get(path).cloned() {
                self.troubled(id, "file-changes", "the file changes while it is read");
            }
        }
    }

    /// Looks at what was heard of. `writing` are the paths that somebody has open to write to; `enter` is called with each folder
    /// before its names are asked.
    pub(super) fn look(
        &mut self,
        work: &Work,
        writing: &BTreeSet<PathBuf>,
        now: Instant,
        wall: SystemTime,
        enter: &mut dyn FnMut(&Path),
    ) -> Look {
        if let Some(heard) = work.tree {
            return self.look_everywhere(heard, work, writing, now, wall, enter);
        }
        let mut wait: Option<Instant> = None;
        let mut whole = Vec::new();
        let mut changed = Vec::new();
        let mut gone = Vec::new();
        for (path, &heard) in &work.files {
            let known = self.by_real.get(path).cloned();
            let own = self.own_id(path);
            match self.disk.node(path) {
                Ok(Node::File(stamp)) => {
                    let Some(id) = known.clone().or(own) else { continue };
                    if known.is_none() && self.listing.files.len() >= FILES {
                        return self.look_everywhere(heard, work, writing, now, wall, enter);
                    }
                    if writing.contains(path) {
                        // A further name of a file that is there already is never closed.
                        if known.is_some() || stamp.links < 2 {
                            continue;
                        }
                        whole.push(path.clone());
                    }
                    changed.push((id, Found { real: path.clone(), stamp }));
                }
                Ok(Node::Folder | Node::Link(_)) => {
                    return self.look_everywhere(heard, work, writing, now, wall, enter);
                }
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    if let Some(id) = known {
                        self.troubled(id, "unreadable", format!("the file cannot be read: {error}"));
                    }
                }
                Ok(Node::Other) | Err(_) => match known {
                    None => {}
                    // It was reached over a link, which may lead elsewhere now.
                    Some(id) if own.as_ref() != Some(&id) => {
                        return self.look_everywhere(heard, work, writing, now, wall, enter);
                    }
                    Some(_) if !work.is_due && heard + GRACE > now => wait = wait.max(Some(heard + GRACE)),
                    Some(id) => gone.push((id, path.clone())),
                },
            }
        }
        if let Some(until) = wait {
            return Look::Wait(until);
        }
        for (id, path) in gone {
            self.by_real.remove(&path);
            self.listing.files.remove(&id);
            self.forget(&id);
        }
        let settled = (!work.is_first).then_some(wall);
        let mut torn = Vec::new();
        for (id, found) in &changed {
            self.by_real.insert(found.real.clone(), id.clone());
            self.listing.files.insert(id.clone(), found.clone());
        }
        self.read_all(changed, settled, &mut torn);
        Look::Done { torn, whole, entered: None }
    }

    fn look_everywhere(
        &mut self,
        heard: Instant,
        work: &Work,
        writing: &BTreeSet<PathBuf>,
        now: Instant,
        wall: SystemTime,
        enter: &mut dyn FnMut(&Path),
    ) -> Look {
        let (listing, entered) = self.walk(enter);
        let changed: Vec<(FileId, Found)> = listing
            .files
            .iter()
            .filter(|(id, found)| self.read.get(id) != Some(found))
            .filter(|(_, found)| {
                let is_known = self.by_real.contains_key(&found.real);
                !writing.contains(&found.real) || (!is_known && found.stamp.links > 1)
            })
            .map(|(id, found)| (id.clone(), found.clone()))
            .collect();
        let gone: Vec<FileId> = self
            .read
            .keys()
            .chain(self.trouble.keys())
            .filter(|id| !listing.files.contains_key(id) && !listing.is_unseen(id))
            .cloned()
            .collect();
        if !work.is_due {
            let gone_at = (!gone.is_empty()).then_some(heard + GRACE);
            let young = changed.iter().filter_map(|(_, found)| youth(&found.stamp, wall)).max();
            let until = gone_at.max(young.map(|rest| now + rest));
            if let Some(until) = until.filter(|until| *until > now) {
                return Look::Wait(until);
            }
        }
        self.by_real = listing.files.iter().map(|(id, found)| (found.real.clone(), id.clone())).collect();
        self.listing = listing;
        for id in gone {
            self.forget(&id);
        }
        let settled = (!work.is_first).then_some(wall);
        let mut torn = Vec::new();
        let links = work.files.keys().filter(|path| !matches!(self.disk.node(path), Ok(Node::File(_))));
        let whole = changed.iter().map(|(_, found)| found.real.clone()).chain(links.cloned()).collect();
        self.read_all(changed, settled, &mut torn);
        Look::Done { torn, whole, entered: Some(entered) }
    }

    /// Walks until every folder that decides what is found was entered before it was looked at.
    fn walk(&self, enter: &mut dyn FnMut(&Path)) -> (Listing, BTreeSet<PathBuf>) {
        let mut entered = BTreeSet::new();
        loop {
            let listing = scan::scan(&self.disk, &self.roots, &mut |folder| {
                if entered.insert(folder.to_path_buf()) {
                    enter(folder);
                }
            });
            // A tree that changes at every walk is left as it is: it will be heard of.
            let around: Vec<PathBuf> =
                listing.around().into_iter().filter(|folder| entered.insert(folder.clone())).collect();
            around.iter().for_each(|folder| enter(folder));
            if around.is_empty() || entered.len() > 2 * FILES {
                let wanted = listing.around();
                entered.retain(|folder| listing.folders.contains_key(folder) || wanted.contains(folder));
                return (listing, entered);
            }
        }
    }

    /// What a file of that path in a walked folder would be.
    fn own_id(&self, path: &Path) -> Option<FileId> {
        let folder = self.listing.folders.get(path.parent()?)?;
        let name = path.file_name().filter(|name| name::is_config(name))?;
        Some(FileId { root: folder.root, path: folder.path.join(name) })
    }

    /// Reads files, and uses what they hold if they have settled by that time.
    fn read_all(
        &mut self,
        files: Vec<(FileId, Found)>,
        settled: Option<SystemTime>,
        torn: &mut Vec<PathBuf>,
    ) {
        let (mut texts, mut size) = (Vec::new(), 0);
        for (id, found) in files {
            let Some(text) = self.read(id, found, settled, torn) else { continue };
            size += text.bytes.len();
            texts.push(text);
            if size >= AT_ONCE {
                size = 0;
                self.merge.put(std::mem::take(&mut texts));
            }
        }
        self.merge.put(texts);
    }

    /// Reads a file; none if there is nothing to use.
    fn read(
        &mut self,
        id: FileId,
        found: Found,
        settled: Option<SystemTime>,
        torn: &mut Vec<PathBuf>,
    ) -> Option<Text> {
        match self.disk.read(&found.real, MAX_FILE) {
            Ok((_, stamp)) if settled.is_some_and(|wall| is_fresh(&stamp, wall)) => torn.push(found.real),
            Ok((bytes, stamp)) => {
                self.trouble.remove(&id);
                let shown = scan::shown(&self.roots, &id);
                self.read.insert(id.clone(), Found { stamp, ..found });
                if !self.roots.get(id.root).is_some_and(|root| root.is_settings) {
                    return Some(Text { id, shown, bytes });
                }
                self.merge.put_settings(&shown, &bytes);
            }
            Err(Unread::Torn | Unread::Gone) => torn.push(found.real),
            Err(Unread::TooLarge) => {
                let message = format!("the file is larger than {} MiB and is not read", MAX_FILE >> 20);
                self.troubled(id, "file-too-large", message);
            }
            Err(Unread::Failed(error)) => {
                self.troubled(id, "unreadable", format!("the file cannot be read: {error}"));
            }
        }
        None
    }

    fn troubled(&mut self, id: FileId, code: &'static str, message: impl Into<String>) {
        let place = scan::top_of(&self.roots, &id);
        self.read.remove(&id);
        self.trouble.insert(id, Finding::error(code, message).in_force(BEFORE).placed(Some(place)));
    }

    fn forget(&mut self, id: &FileId) {
        self.read.remove(id);
        self.trouble.remove(id);
        self.merge.remove(id);
    }
}

/// How much longer the file is young.
fn youth(stamp: &Stamp, wall: SystemTime) -> Option<Duration> {
    let age = wall.duration_since(SystemTime::UNIX_EPOCH).ok()?.checked_sub(stamp.changed)?;
    YOUNG.checked_sub(age).filter(|rest| !rest.is_zero())
}

/// Whether the file changed after the quiet that let it be read: somebody emptied it to write it anew, and we were not told yet.
/// A file server whose clock is ahead by more than a second is believed.
fn is_fresh(stamp: &Stamp, wall: SystemTime) -> bool {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = since(wall);
    stamp.changed > now.saturating_sub(QUIET) && stamp.changed < now + Duration::from_secs(1)
}

#[cfg(test)]
mod tests;
