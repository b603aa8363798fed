//! Folders of YAML: read once, or followed.
//!
//! Knows: files, links, editors, inotify. Must not know: what the objects mean.   Start at [`FolderSource`] (follows) and [`load`]
//! (reads once). The parts that decide are pure: [`scan`] which files there are, [`gather`] when a change is whole, [`folder`] what is
//! read then, [`merge`] what that changes; [`disk`] and [`watch`] touch the world.
//! Invariants: the first batch is complete; a save is one batch; half a file is never used; a broken document, a missing root or an
//! unreadable file leaves in force what was.

mod disk;
mod ears;
mod folder;
mod gather;
mod merge;
mod name;
mod scan;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

pub use watch::FolderSource;

use crate::batch::Batch;
use disk::HostDisk;
use folder::{Folder, Look};
use gather::Work;
use scan::Root;

/// Why there is nothing to begin with. All of them are for who started the program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder, or the settings' file, is not there or not to be read.
    #[error("{}: {}: {}", path.display(), reason(*kind), hint(*kind, *is_settings))]
    Missing {
        /// As it was given.
        path: PathBuf,
        /// It is the file of `--mesh-config`.
        is_settings: bool,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// The present folder, from which the others are named, is gone.
    #[error(
        "the present folder cannot be found: {0}; change to one that exists, or name the folders from `/`"
    )]
    PresentFolder(#[source] io::Error),
    /// The system watches no files for us.
    #[error(
        "files cannot be watched: {0}; raise fs.inotify.max_user_instances or fs.inotify.max_user_watches"
    )]
    Watch(#[source] io::Error),
}

fn reason(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::IsADirectory => "this is a folder".to_owned(),
        io::ErrorKind::InvalidInput => "this is neither a file nor a folder".to_owned(),
        kind => kind.to_string(),
    }
}

fn hint(kind: io::ErrorKind, is_settings: bool) -> &'static str {
    match (kind, is_settings) {
        (io::ErrorKind::PermissionDenied, _) => "let this user read it",
        (_, true) => "give --mesh-config a file that holds the mesh's settings as YAML",
        (io::ErrorKind::NotFound, false) => "make it, or name another; an empty folder is fine",
        (_, false) => "name a folder of YAML files, or one such file",
    }
}

/// Reads folders (or files) once, in the given order. Objects without a namespace are of `namespace`.
///
/// # Errors
/// When a root, or the settings' file, is not there. Everything else is a finding.
pub fn load(roots: &[PathBuf], namespace: &str, mesh_config: Option<&Path>) -> Result<Batch, Error> {
    let mut folder = Folder::new(HostDisk, named(roots, mesh_config)?, namespace);
    let torn = first_look(&mut folder, &mut |_| {})?.0;
    folder.give_up(&torn);
    Ok(folder.complete(Vec::new(), now().1))
}

/// The texts of the files that [`load`] reads, with the names that findings have for them, in the same order: for who looks at objects
/// that are none of the mesh's. What cannot be read was told when the objects were read.
pub fn texts(roots: &[PathBuf]) -> Vec<(String, String)> {
    let Ok(roots) = named(roots, None) else { return Vec::new() };
    let listing = scan::scan(&HostDisk, &roots, &mut |_| {});
    let texts = listing.files.iter().filter_map(|(id, found)| {
        let size = std::fs::metadata(&found.real).ok()?.len();
        let text =
            (size <= meltemi_api::MAX_FILE as u64).then(|| std::fs::read_to_string(&found.real).ok())??;
        Some((scan::shown(&roots, id), text))
    });
    texts.collect()
}

/// How often a file that changes while it is read is read again at the start.
const TRIES: usize = 3;

/// Reads everything; the paths that changed at each try, and the folders that were entered.
fn first_look(
    folder: &mut Folder<HostDisk>,
    enter: &mut dyn FnMut(&Path),
) -> Result<(Vec<PathBuf>, std::collections::BTreeSet<PathBuf>), Error> {
    let nobody = std::collections::BTreeSet::new();
    let mut entered = std::collections::BTreeSet::new();
    let mut work = Work::first(now().0);
    let mut torn = Vec::new();
    for _ in 0..TRIES {
        let (now, wall) = now();
        // What is due never waits.
        let Look::Done { torn: again, entered: folders, .. } = folder.look(&work, &nobody, now, wall, enter)
        else {
            break;
        };
        entered.extend(folders.into_iter().flatten());
        torn = again;
        if torn.is_empty() {
            break;
        }
        work = Work { tree: None, files: torn.iter().map(|path| (path.clone(), now)).collect(), ..work };
    }
    match folder.missing().next() {
        Some((root, kind)) => {
            Err(Error::Missing { path: root.given.clone(), is_settings: root.is_settings, kind })
        }
        None => Ok((torn, entered)),
    }
}

/// The roots with the settings' file first: it belongs to the settings even if it lies in a folder.
fn named(roots: &[PathBuf], mesh_config: Option<&Path>) -> Result<Vec<Root>, Error> {
    let settings = mesh_config.map(|path| (path, true));
    let folders = roots.iter().map(|path| (path.as_path(), false));
    settings
        .into_iter()
        .chain(folders)
        .map(|(given, is_settings)| {
            let path = std::path::absolute(given).map_err(Error::PresentFolder)?;
            Ok(Root { given: given.to_path_buf(), path, is_settings })
        })
        .collect()
}

/// The two clocks, for the parts that are given them.
fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}
