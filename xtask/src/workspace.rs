//! The workspace: its root, its tracked files, its packages as `cargo metadata` tells them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// One checkout of the repository.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built in.
    ///
    /// # Errors
    /// When that folder is gone.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().with_context(|| format!("no workspace at {}", root.display()))?;
        Ok(Self { root })
    }

    /// The top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo that runs this program, to be started in the top folder.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.current_dir(&self.root);
        // What `cargo run` told this program of its own package: build scripts look at it (that of `ring`), and all that
        // rests on them would be built again whenever cargo is run by hand in between.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Where fetched tools are kept: `MELTEMI_TOOLS_DIR`, else `.tools` (which git ignores).
    pub(crate) fn tools(&self) -> PathBuf {
        match std::env::var_os("MELTEMI_TOOLS_DIR") {
            Some(folder) if !folder.is_empty() => PathBuf::from(folder),
            _ => self.root.join(".tools"),
        }
    }

    /// The files that git tracks or would track, relative to the top folder, in order.
    ///
    /// # Errors
    /// When git is missing or this is no checkout.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut command = Command::new("git");
        command.current_dir(&self.root);
        command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listing = process::text(&mut command, "the file checks read the list of files from git")?;
        let mut files: Vec<PathBuf> = listing
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The packages that `manifest` (relative to the top folder) is the workspace of, without their dependencies.
    ///
    /// # Errors
    /// When cargo refuses the manifest.
    pub(crate) fn packages(&self, manifest: &Path) -> Result<Vec<Value>> {
        let mut command = self.cargo();
        command.args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"]);
        command.arg(self.root.join(manifest));
        let text = process::text(&mut command, "install Rust with rustup")?;
        let mut metadata: Value = serde_json::from_str(&text).context("what `cargo metadata` printed")?;
        match metadata["packages"].take() {
            Value::Array(packages) => Ok(packages),
            _ => anyhow::bail!("`cargo metadata` names no packages for {}", manifest.display()),
        }
    }

    /// `path` relative to the top folder, if it lies within.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.root).ok()
    }
}
