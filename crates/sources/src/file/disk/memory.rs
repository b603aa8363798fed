//! A file system in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Disk, Node, Stamp, Unread};

/// Paths to what stands there; folders are made as needed.
#[derive(Clone, Debug, Default)]
pub(in crate::file) struct MemoryDisk {
    nodes: BTreeMap<PathBuf, (Node, Vec<u8>)>,
    locked: BTreeSet<PathBuf>,
    torn: BTreeSet<PathBuf>,
}

impl MemoryDisk {
    /// Empty files.
    pub(in crate::file) fn of(files: &[&str]) -> Self {
        let mut disk = Self::default();
        for file in files {
            disk.write(file, "", SystemTime::UNIX_EPOCH);
        }
        disk
    }

    /// Makes or replaces a file.
    pub(in crate::file) fn write(&mut self, path: &str, text: &str, at: SystemTime) {
        let time = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let inode = u64::try_from(self.nodes.len()).unwrap();
        let stamp = Stamp {
            inode,
            size: text.len() as u64,
            modified: time,
            changed: time,
            links: 1,
            ..Stamp::default()
        };
        self.nodes.insert(path.into(), (Node::File(stamp), text.into()));
        self.folders(path);
    }

    pub(in crate::file) fn remove(&mut self, path: &str) {
        self.nodes.retain(|node, _| !node.starts_with(path));
    }

    pub(in crate::file) fn link(mut self, path: &str, target: &str) -> Self {
        self.nodes.insert(path.into(), (Node::Link(target.into()), Vec::new()));
        self.folders(path);
        self
    }

    /// Its names, or its content, cannot be read.
    pub(in crate::file) fn lock(mut self, path: &str) -> Self {
        self.locked.insert(path.into());
        self
    }

    /// Whether it changes whenever it is read.
    pub(in crate::file) fn tear(&mut self, path: &str, is_torn: bool) {
        if is_torn {
            self.torn.insert(path.into());
        } else {
            self.torn.remove(Path::new(path));
        }
    }

    fn folders(&mut self, path: &str) {
        for folder in Path::new(path).ancestors().skip(1) {
            self.nodes.entry(folder.into()).or_insert((Node::Folder, Vec::new()));
        }
    }
}

impl Disk for MemoryDisk {
    fn node(&self, path: &Path) -> io::Result<Node> {
        self.nodes.get(path).map(|(node, _)| node.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        if self.locked.contains(folder) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let within = self.nodes.keys().filter(|path| path.parent() == Some(folder));
        // Backwards, so that whoever forgets to sort is found out.
        Ok(within.rev().filter_map(|path| path.file_name()).map(ToOwned::to_owned).collect())
    }

    fn read(&self, file: &Path, limit: usize) -> Result<(Vec<u8>, Stamp), Unread> {
        match self.nodes.get(file) {
            _ if self.torn.contains(file) => Err(Unread::Torn),
            _ if self.locked.contains(file) => Err(Unread::Failed(io::ErrorKind::PermissionDenied.into())),
            Some((Node::File(stamp), bytes)) if bytes.len() <= limit => Ok((bytes.clone(), *stamp)),
            Some((Node::File(_), _)) => Err(Unread::TooLarge),
            _ => Err(Unread::Gone),
        }
    }
}
