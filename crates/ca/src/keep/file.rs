//! The state folder: keys and state in files that only their owner can read, replaced whole, by one writer.
//!
//! Knows: files. Must not know: what signs when.   Start at [`Folder::open`].
//! Invariant: a crash leaves each file as it was or as it is to be. `rotation.json` is written last and decides: a signer
//! that it does not name is a leftover, and [`Folder::sweep`] removes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use meltemi_names::Secret;

use crate::authority::{Material, SignerId};
use crate::bundle::MAX_BYTES;
use crate::rotate::Rotation;

const STATE: &str = "rotation.json";
const TOKEN_KEY: &str = "token-key.pem";
const LOCK: &str = "lock";
/// What workloads trust, for agents on this machine; the one file that is no secret.
const ROOTS: &str = "root-cert.pem";
const CERTIFICATE: &str = "-cert.pem";
const KEY: &str = "-key.pem";
/// What a file is called while it is written.
const UNFINISHED: &str = ".unfinished";

/// An open state folder; nobody else writes to it until this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
}

/// Why the folder cannot be used; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else writes to it.
    #[error("{0}: another meltemi uses this state folder")]
    InUse(PathBuf),
    /// More than its owner may do more with it than is safe.
    #[error("{path}: its mode is {mode:04o}; it holds keys, so say `chmod {wanted:o} {path}`", path = .path.display())]
    TooWide {
        /// Which.
        path: PathBuf,
        /// Its mode now.
        mode: u32,
        /// The mode that it must have.
        wanted: u32,
    },
    /// It is a link, a folder, or a device.
    #[error("{0}: is not a plain file")]
    NotAFile(PathBuf),
    /// It cannot be understood.
    #[error("{path}: {reason}", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system says no.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

impl Folder {
    /// Opens the folder, made if it is not there, and locks it. Returns at once when another has the lock.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |error| io_error(path, error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let mode = fs::metadata(path).map_err(failed)?.mode() & 0o777;
        // Whoever can write to a folder can put another file in the place of a key.
        if mode & 0o022 != 0 {
            return Err(FolderError::TooWide { path: path.to_owned(), mode, wanted: 0o700 });
        }
        let lock = path.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let file = file.map_err(|error| io_error(&lock, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: file }),
            Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(io_error(&lock, error)),
        }
    }

    /// The state, if one was ever kept.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn rotation(&self) -> Result<Option<Rotation>, FolderError> {
        let Some(text) = self.read(STATE)? else { return Ok(None) };
        serde_json::from_slice(text.reveal()).map(Some).map_err(|error| FolderError::Unreadable {
            path: self.path.join(STATE),
            reason: error.to_string(),
        })
    }

    /// Keeps the state. The signers that it names must be there before.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn keep_rotation(&self, rotation: &Rotation) -> Result<(), FolderError> {
        let text = serde_json::to_vec_pretty(rotation).map_err(|error| FolderError::Unreadable {
            path: self.path.join(STATE),
            reason: error.to_string(),
        })?;
        self.write(STATE, &text)
    }

    /// The certificate and the key of a signer, if they are there.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn signer(&self, id: &SignerId) -> Result<Option<Material>, FolderError> {
        let certificate = self.read(&format!("{id}{CERTIFICATE}"))?;
        let key = self.read(&format!("{id}{KEY}"))?;
        Ok(certificate.zip(key).map(|(certificate, key)| Material::root(certificate.reveal().clone(), key)))
    }

    /// Keeps the certificate and the key of a signer.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn keep_signer(&self, id: &SignerId, material: &Material) -> Result<(), FolderError> {
        self.write(&format!("{id}{KEY}"), material.key.reveal())?;
        self.write(&format!("{id}{CERTIFICATE}"), &material.certificate)
    }

    /// The key of tokens, if one was ever kept.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn token_key(&self) -> Result<Option<Secret<Vec<u8>>>, FolderError> {
        self.read(TOKEN_KEY)
    }

    /// Writes what workloads trust, for everybody to read. It is made from the signers, and never read here.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn publish_roots(&self, pem: &str) -> Result<(), FolderError> {
        self.write_as(ROOTS, pem.as_bytes(), 0o644)
    }

    /// Keeps the key of tokens.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn keep_token_key(&self, pem: &Secret<Vec<u8>>) -> Result<(), FolderError> {
        self.write(TOKEN_KEY, pem.reveal())
    }

    /// Removes signers that the kept state does not name, and what a crash left unfinished. Without a kept state nothing
    /// but the latter: it may be missing by mistake, and keys do not come back.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn sweep(&self) -> Result<(), FolderError> {
        let rotation = self.rotation()?;
        let failed = |error| io_error(&self.path, error);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            let signer = name.strip_suffix(CERTIFICATE).or_else(|| name.strip_suffix(KEY));
            let retired = match (&rotation, signer) {
                (Some(rotation), Some(signer)) if name != TOKEN_KEY && name != ROOTS => {
                    !rotation.trusted().iter().any(|trusted| trusted.as_str() == signer)
                }
                _ => false,
            };
            if retired || name.ends_with(UNFINISHED) {
                let path = self.path.join(name);
                fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>, FolderError> {
        read(self.path.join(name))
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<(), FolderError> {
        self.write_as(name, text, 0o600)
    }

    fn write_as(&self, name: &str, text: &[u8], mode: u32) -> Result<(), FolderError> {
        let unfinished = self.path.join(format!("{name}{UNFINISHED}"));
        let path = self.path.join(name);
        let replace = || {
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
            // The process' mask may have taken from it what others are to have.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            // The name is on the disk only when its folder is.
            File::open(&self.path)?.sync_all()
        };
        replace().map_err(|error| io_error(&path, error))
    }
}

/// The key of tokens in a state folder, read beside whoever has the folder open: it is replaced whole, and never changed.
///
/// # Errors
/// See [`FolderError`].
pub fn token_key(folder: &Path) -> Result<Option<Secret<Vec<u8>>>, FolderError> {
    read(folder.join(TOKEN_KEY))
}

fn read(path: PathBuf) -> Result<Option<Secret<Vec<u8>>>, FolderError> {
    let failed = |error| io_error(&path, error);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !found.is_file() {
        return Err(FolderError::NotAFile(path));
    }
    let file = File::open(&path).map_err(failed)?;
    // Of the file that was opened, which may be another by now.
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FolderError::TooWide { path, mode, wanted: 0o600 });
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() > MAX_BYTES {
        return Err(FolderError::Unreadable { path, reason: format!("more than {MAX_BYTES} bytes") });
    }
    Ok(Some(Secret::new(text)))
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started elsewhere holds the file, too, until its program begins.
        // An error leaves the lock to that; there is nobody to tell.
        drop(self.lock.unlock());
    }
}

fn io_error(path: &Path, error: io::Error) -> FolderError {
    FolderError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
