//! A walk over the roots: which files there are, in which order, and what must be watched to hear of the next change.
//!
//! Pure over a [`Disk`]. Must not know: what the files hold, inotify.
//! Invariant: every file and folder is met once, under the first path in order that leads to it; what could not be looked at is in
//! [`Listing::unseen`], so that it is never taken for deleted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use meltemi_api::{Finding, Place};

use super::disk::{Disk, Node, Stamp};
use super::name;

/// Folders within folders; more is a mistake, such as a root directory given as a root.
pub(super) const DEPTH: usize = 32;

/// Files that are read; ten for each service of a mesh of 10,000.
pub(super) const FILES: usize = 100_000;

/// Symbolic links on the way to one file, as Linux itself allows.
const LINKS: usize = 40;

/// Which file: the order is the order in which objects take precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    /// The root that it was found under.
    pub(super) root: usize,
    /// Its path from there; empty for a root that is a file.
    pub(super) path: PathBuf,
}

impl FileId {
    /// Whether it is `other`, or within it.
    pub(super) fn is_within(&self, other: &FileId) -> bool {
        self.root == other.root && self.path.starts_with(&other.path)
    }
}

/// A folder, or a file, that a user named.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// As it was given: what findings call it.
    pub(super) given: PathBuf,
    /// Absolute.
    pub(super) path: PathBuf,
    /// It must be a file, and what it holds belongs to it alone: the same file met under another root is passed over.
    pub(super) is_settings: bool,
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path without symbolic links.
    pub(super) real: PathBuf,
    /// Its state.
    pub(super) stamp: Stamp,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The files, in order.
    pub(super) files: BTreeMap<FileId, Found>,
    /// The folders that were walked, without symbolic links, and as what.
    pub(super) folders: BTreeMap<PathBuf, FileId>,
    /// Names elsewhere on which the walk depends: roots, symbolic links and what is missing. Their folders are real.
    pub(super) hops: BTreeSet<PathBuf>,
    /// What could not be looked at: nothing is known of what is within.
    pub(super) unseen: Vec<FileId>,
    /// Roots that are not there, or not what they must be.
    pub(super) missing: BTreeMap<usize, io::ErrorKind>,
    /// What was noticed.
    pub(super) findings: Vec<Finding>,
}

impl Listing {
    /// The folders to be watched beside those that were walked: where hops are, and files that links lead to.
    pub(super) fn around(&self) -> BTreeSet<PathBuf> {
        let files = self.files.values().map(|found| &found.real);
        let folders = self.hops.iter().chain(files).filter_map(|path| path.parent());
        folders.filter(|folder| !self.folders.contains_key(*folder)).map(Path::to_path_buf).collect()
    }

    /// Whether nothing is known of it now.
    pub(super) fn is_unseen(&self, id: &FileId) -> bool {
        self.unseen.iter().any(|unseen| id.is_within(unseen))
    }
}

/// Walks over the roots. `enter` is called with each folder before its names are asked.
pub(super) fn scan<D: Disk>(disk: &D, roots: &[Root], enter: &mut dyn FnMut(&Path)) -> Listing {
    let mut walk =
        Walk { disk, roots, enter, listing: Listing::default(), above: Vec::new(), met: BTreeMap::new() };
    for (index, root) in roots.iter().enumerate() {
        walk.root(index, root);
    }
    walk.listing
}

/// What findings call a file.
pub(super) fn shown(roots: &[Root], id: &FileId) -> String {
    let given = roots.get(id.root).map_or(Path::new(""), |root| &root.given);
    if id.path.as_os_str().is_empty() {
        given.display().to_string()
    } else {
        given.join(&id.path).display().to_string()
    }
}

/// Where a finding about a file as a whole stands.
pub(super) fn top_of(roots: &[Root], id: &FileId) -> Place {
    Place { file: shown(roots, id).into(), line: 1, column: 1 }
}

/// What is in force of something that cannot be read.
pub(super) const BEFORE: &str = "what was read of it before";

struct Walk<'a, D> {
    disk: &'a D,
    roots: &'a [Root],
    enter: &'a mut dyn FnMut(&Path),
    listing: Listing,
    /// The folders around the present one.
    above: Vec<PathBuf>,
    /// Files by real path, and where each was met.
    met: BTreeMap<PathBuf, FileId>,
}

impl<D: Disk> Walk<'_, D> {
    fn root(&mut self, index: usize, root: &Root) {
        let id = FileId { root: index, path: PathBuf::new() };
        let missing = match self.resolve(Path::new("/"), &root.path) {
            Ok((real, node)) => {
                // A root that is replaced is seen from the folder around it.
                self.listing.hops.insert(real.clone());
                match node {
                    Node::File(stamp) => return self.file(id, real, stamp),
                    Node::Folder if !root.is_settings => return self.folder(id, real),
                    Node::Folder => io::ErrorKind::IsADirectory,
                    Node::Link(_) | Node::Other => io::ErrorKind::InvalidInput,
                }
            }
            Err(error) => error.kind(),
        };
        self.listing.missing.insert(index, missing);
        self.unseen(id, "root-missing", format!("cannot be read: {missing}"));
    }

    fn folder(&mut self, id: FileId, real: PathBuf) {
        if self.above.contains(&real) {
            return self.note(
                &id,
                "symlink-loop",
                "this symbolic link leads back to a folder around it; it is not followed",
            );
        }
        if self.above.len() >= DEPTH {
            return self.unseen(
                id,
                "folder-too-deep",
                format!("folders are read {DEPTH} deep; this one is not"),
            );
        }
        if let Some(first) = self.listing.folders.get(&real) {
            let message = format!("this folder is read already as {}", shown(self.roots, first));
            return self.note(&id, "folder-twice", message);
        }
        self.listing.folders.insert(real.clone(), id.clone());
        (self.enter)(&real);
        let mut names = match self.disk.names(&real) {
            Ok(names) => names,
            // It went away between two looks; the folder around it knows.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                return self.unseen(id, "unreadable", format!("the folder cannot be read: {error}"));
            }
        };
        names.sort();
        self.above.push(real.clone());
        for name in names {
            if !name::is_hidden(&name) {
                let id = FileId { root: id.root, path: id.path.join(&name) };
                self.entry(id, &real, &name);
            }
        }
        self.above.pop();
    }

    fn entry(&mut self, id: FileId, folder: &Path, name: &OsStr) {
        let path = folder.join(name);
        let counts = name::is_config(name);
        match self.disk.node(&path) {
            Ok(Node::File(stamp)) if counts => self.file(id, path, stamp),
            Ok(Node::Folder) => self.folder(id, path),
            Ok(Node::Link(_)) => match self.resolve(folder, Path::new(name)) {
                Ok((real, Node::File(stamp))) if counts => self.file(id, real, stamp),
                Ok((real, Node::Folder)) => self.folder(id, real),
                Ok(_) => {}
                Err(error) if counts => {
                    self.unseen(id, "unreadable", format!("this symbolic link leads nowhere: {error}"));
                }
                // Of a link that may be a folder's, nothing within is known.
                Err(_) => self.listing.unseen.push(id),
            },
            Ok(Node::File(_) | Node::Other) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unseen(id, "unreadable", format!("cannot be read: {error}")),
        }
    }

    fn file(&mut self, id: FileId, real: PathBuf, stamp: Stamp) {
        if let Some(first) = self.met.get(&real) {
            if !self.roots.get(first.root).is_some_and(|root| root.is_settings) {
                let message = format!("this file is read already as {}", shown(self.roots, first));
                self.note(&id, "file-twice", message);
            }
            return;
        }
        if self.listing.files.len() >= FILES {
            if !self.listing.findings.iter().any(|finding| finding.code == "too-many-files") {
                let message =
                    format!("there are more than {FILES} files; this one and those after it are not read");
                self.note(&id, "too-many-files", message);
            }
            return self.listing.unseen.push(id);
        }
        self.met.insert(real.clone(), id.clone());
        self.listing.files.insert(id, Found { real, stamp });
    }

    /// Follows symbolic links, and notes each.
    fn resolve(&mut self, from: &Path, path: &Path) -> io::Result<(PathBuf, Node)> {
        let mut real = from.to_path_buf();
        let mut rest: VecDeque<OsString> = steps(path);
        if path.is_absolute() {
            real = PathBuf::from("/");
        }
        let mut links = 0;
        let mut node = Node::Folder;
        while let Some(step) = rest.pop_front() {
            if step == ".." {
                real.pop();
                node = Node::Folder;
                continue;
            }
            real.push(&step);
            node = match self.disk.node(&real) {
                Ok(node) => node,
                Err(error) => {
                    self.listing.hops.insert(real);
                    return Err(error);
                }
            };
            if let Node::Link(target) = &node {
                self.listing.hops.insert(real.clone());
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other("too many symbolic links, or a circle of them"));
                }
                real.pop();
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                for step in steps(target).into_iter().rev() {
                    rest.push_front(step);
                }
            }
        }
        // A path that ends in `..` or in a link to `/` ends in a folder.
        Ok((real, if matches!(node, Node::Link(_)) { Node::Folder } else { node }))
    }

    fn note(&mut self, id: &FileId, code: &'static str, message: impl Into<String>) {
        let finding = Finding::warning(code, message).placed(Some(top_of(self.roots, id)));
        self.listing.findings.push(finding);
    }

    fn unseen(&mut self, id: FileId, code: &'static str, message: impl Into<String>) {
        let finding = Finding::error(code, message).in_force(BEFORE).placed(Some(top_of(self.roots, &id)));
        self.listing.findings.push(finding);
        self.listing.unseen.push(id);
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
