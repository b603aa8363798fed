//! What is asked of a file system, and the real one. Must not know: which files count, what they hold.
//!
//! Invariant: a content is handed out only if the file was the same before and after it was read.

#[cfg(test)]
pub(super) mod memory;

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    /// Of the content, since 1970.
    pub(super) modified: Duration,
    /// Of content, name or rights, since 1970: unlike `modified`, no program sets it back.
    pub(super) changed: Duration,
    /// How many names the file has.
    pub(super) links: u64,
}

/// What stands at a path; a symbolic link is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(Stamp),
    Folder,
    Link(PathBuf),
    /// A socket, a pipe, a device.
    Other,
}

/// Why there is no content.
#[derive(Debug)]
pub(super) enum Unread {
    /// It changed while it was read.
    Torn,
    /// It is larger than the limit.
    TooLarge,
    /// It is not there.
    Gone,
    /// Anything else.
    Failed(io::Error),
}

/// A file system. Paths are absolute.
pub(super) trait Disk {
    /// What stands there.
    fn node(&self, path: &Path) -> io::Result<Node>;

    /// The names in a folder, in any order.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// A file's content, of at most `limit` bytes, and the stamp that it has with it.
    fn read(&self, file: &Path, limit: usize) -> Result<(Vec<u8>, Stamp), Unread>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostDisk;

impl Disk for HostDisk {
    fn node(&self, path: &Path) -> io::Result<Node> {
        let metadata = std::fs::symlink_metadata(path)?;
        let kind = metadata.file_type();
        Ok(if kind.is_file() {
            Node::File(stamp(&metadata))
        } else if kind.is_dir() {
            Node::Folder
        } else if kind.is_symlink() {
            Node::Link(std::fs::read_link(path)?)
        } else {
            Node::Other
        })
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn read(&self, file: &Path, limit: usize) -> Result<(Vec<u8>, Stamp), Unread> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Gone,
            _ => Unread::Failed(error),
        };
        let mut open = std::fs::File::open(file).map_err(failed)?;
        let before = stamp(&open.metadata().map_err(failed)?);
        if before.size > limit as u64 {
            return Err(Unread::TooLarge);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(before.size).unwrap_or(0));
        open.by_ref().take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let after = stamp(&open.metadata().map_err(failed)?);
        if !before.same_content(&after) || bytes.len() as u64 != after.size {
            return Err(Unread::Torn);
        }
        Ok((bytes, after))
    }
}

impl Stamp {
    /// A rename of the file while it is read changes `changed` and `links`, and no content.
    fn same_content(&self, other: &Self) -> bool {
        (self.size, self.modified) == (other.size, other.modified)
    }
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let since = |seconds: i64, nanos: i64| {
        Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0))
    };
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: since(metadata.mtime(), metadata.mtime_nsec()),
        changed: since(metadata.ctime(), metadata.ctime_nsec()),
        links: metadata.nlink(),
    }
}
