//! The Prometheus that tests ask: one binary out of Debian's package, verified by its hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::hash::of_file;
use crate::process;

/// Debian 12's package, for one kind of machine.
const VERSION: &str = "2.42.0+ds-5+deb12u1";
const MACHINE: &str = "x86_64";
/// SHA-256 of the package file.
const PACKAGE: &str = "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55";
/// SHA-256 of the binary in it.
const BINARY: &str = "814f078f68af9ad7b644fd25299211399c8f19ad9adf8b0a1b86a3bd9755baa0";

/// The one that is there: `PROMETHEUS_BIN`, else the pinned one. None: tests look for `prometheus` in the search path.
pub(super) fn at_hand(tools: &Path) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PROMETHEUS_BIN").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    Some(place(tools)).filter(|binary| binary.is_file())
}

/// The same, fetched if it is not there.
///
/// # Errors
/// When it cannot be had: no Debian 12, or its archive has moved on. Tests then take what the search path has.
pub(super) fn pinned(tools: &Path) -> Result<PathBuf> {
    if let Some(binary) = at_hand(tools) {
        return Ok(binary);
    }
    if std::env::consts::ARCH != MACHINE || !process::works("apt-get", &["--version"]) {
        bail!("no Prometheus is pinned for this machine");
    }
    eprintln!("  fetching Prometheus {VERSION} (19 MB) with apt-get");
    let binary = place(tools);
    let folder = tools.join(format!("prometheus-{VERSION}"));
    // Beside its final place, so that the last step is a rename and two runs at once do not meet.
    let work = folder.join(format!("fetch-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("making the folder {}", work.display()))?;
    let outcome = fetch(&work, &binary);
    let cleared = fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()));
    outcome.and(cleared)?;
    Ok(binary)
}

fn place(tools: &Path) -> PathBuf {
    tools.join(format!("prometheus-{VERSION}")).join("prometheus")
}

fn fetch(work: &Path, binary: &Path) -> Result<()> {
    let mut download = Command::new("apt-get");
    download.current_dir(work).args(["download", "-q", &format!("prometheus={VERSION}")]);
    process::text(&mut download, "run `apt-get update`, or install `prometheus`")?;
    let package = fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get fetched no package")?;
    let found = of_file(&package)?;
    if found != PACKAGE {
        bail!("the fetched package has SHA-256 {found}, not the pinned {PACKAGE}: do not run it");
    }
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&package).arg(work);
    process::text(&mut unpack, "it is part of every Debian").context("unpacking the package")?;
    let member = work.join("usr/bin/prometheus");
    let found = of_file(&member)?;
    if found != BINARY {
        bail!("usr/bin/prometheus in the fetched package has SHA-256 {found}, not the pinned {BINARY}");
    }
    fs::rename(&member, binary).with_context(|| format!("moving Prometheus to {}", binary.display()))
}
