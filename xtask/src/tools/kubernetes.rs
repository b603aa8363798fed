//! The Kubernetes of the tests: one binary, built from the Go module `tests/kube`, whose own lock pins every library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::hash::{hex, of_file};
use crate::process;
use crate::workspace::Workspace;

/// Where the module is.
const MODULE: &str = "tests/kube";

/// What the binary is made of.
const SOURCES: &[&str] = &["go.mod", "go.sum", "main.go"];

/// The programs that are in it; each is started by a link of its name.
const PARTS: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm"];

/// What a folder of another's making must have at least.
const NEEDED: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"];

/// Without the debugger's tables, whose making is a part of the build's time, and of the file a third.
const FLAGS: &[&str] = &["-trimpath", "-mod=readonly", "-buildvcs=false", "-gcflags=all=-dwarf=false"];

/// Names another folder, as in other projects that test with Kubernetes' own test environment.
const VARIABLE: &str = "KUBEBUILDER_ASSETS";

const ELSE: &str = "or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager and kubectl of 1.36";

/// The folder with the programs: `KUBEBUILDER_ASSETS`, else the built ones; built if they are not there.
///
/// # Errors
/// When they cannot be had; says what to do.
pub(super) fn folder(workspace: &Workspace) -> Result<PathBuf> {
    match given()? {
        Some(folder) => Ok(folder),
        None => built(workspace),
    }
}

/// The same if nothing must be built for it; none, too, where `KUBEBUILDER_ASSETS` is set, which the tests read
/// themselves.
pub(super) fn folder_at_hand(workspace: &Workspace) -> Option<PathBuf> {
    if std::env::var_os(VARIABLE).is_some_and(|folder| !folder.is_empty()) {
        return None;
    }
    // What cannot be found out (no Go) is not at hand; a test that needs it says so.
    let pin = go(workspace).and_then(|go| Pin::of(workspace, &go)).ok()?;
    Some(pin.folder(workspace)).filter(|folder| is_whole(folder))
}

fn given() -> Result<Option<PathBuf>> {
    let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) else {
        return Ok(None);
    };
    let folder = PathBuf::from(folder);
    if let Some(missing) = NEEDED.iter().find(|name| !folder.join(name).is_file()) {
        bail!(
            "KUBEBUILDER_ASSETS is {}, where no `{missing}` is: put one there, or unset it for the pinned one",
            folder.display()
        );
    }
    folder.canonicalize().map(Some).context(VARIABLE)
}

fn built(workspace: &Workspace) -> Result<PathBuf> {
    let go = go(workspace)?;
    let pin = Pin::of(workspace, &go)?;
    let folder = pin.folder(workspace);
    if !is_whole(&folder) {
        eprintln!(
            "  building Kubernetes {} with {go}: once, about five minutes on two cores, 300 MB fetched",
            pin.version
        );
        let start = Instant::now();
        // Beside its final place, so that the last step is a rename and two runs at once do not meet.
        let work = folder.with_extension(format!("build-{}", std::process::id()));
        fs::create_dir_all(&work).with_context(|| format!("making the folder {}", work.display()))?;
        let outcome = build(workspace, &pin, &work).and_then(|()| replace(&work, &folder));
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
        }
        outcome?;
        eprintln!("  built Kubernetes {} in {:.0} s", pin.version, start.elapsed().as_secs_f64());
    }
    name_latest(workspace, &folder)?;
    Ok(folder)
}

/// What decides how the binary comes out.
struct Pin {
    /// Of Kubernetes.
    version: String,
    /// Of all that it is built from.
    hash: String,
}

impl Pin {
    fn of(workspace: &Workspace, go: &str) -> Result<Self> {
        let module = workspace.root().join(MODULE);
        let mut hasher = Sha256::new();
        for name in SOURCES {
            let path = module.join(name);
            hasher.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
            hasher.update([0]);
        }
        let manifest = fs::read_to_string(module.join("go.mod"))?;
        let version = version_of(&manifest, "k8s.io/kubernetes").context("go.mod names no Kubernetes")?;
        for text in [go, std::env::consts::OS, std::env::consts::ARCH].iter().chain(FLAGS) {
            hasher.update(text);
            hasher.update([0]);
        }
        hasher.update(stamp(&version));
        Ok(Self { version, hash: hex(hasher) })
    }

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        let hash = self.hash.get(..12).unwrap_or(&self.hash);
        workspace.tools().join(format!("kubernetes-{}-{hash}", self.version.trim_start_matches('v')))
    }
}

/// The version that `module` is required at.
fn version_of(manifest: &str, module: &str) -> Option<String> {
    manifest.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(module)).then(|| words.next().map(str::to_owned))?
    })
}

/// For the linker: the version that the programs say they are. Clients refuse a server that says none.
fn stamp(version: &str) -> String {
    let package = "k8s.io/component-base/version";
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    format!(
        "-ldflags=-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}

fn build(workspace: &Workspace, pin: &Pin, work: &Path) -> Result<()> {
    let binary = work.join("kube");
    let mut command = command(workspace);
    command.arg("build").args(FLAGS).arg(stamp(&pin.version)).arg("-o").arg(&binary).arg(".");
    process::run(&mut command, INSTALL).with_context(|| {
        format!("Kubernetes could not be built: mend the network (or GOPROXY), or make room (5 GB), {ELSE}")
    })?;
    for part in PARTS {
        link(Path::new("kube"), &work.join(part))?;
    }
    // Says whether the file is still as it was built; see `is_whole`.
    fs::write(work.join("kube.sha256"), of_file(&binary)?).context("writing the hash of the binary")
}

/// Whether the folder has what was built, unchanged.
fn is_whole(folder: &Path) -> bool {
    let Ok(expected) = fs::read_to_string(folder.join("kube.sha256")) else { return false };
    PARTS.iter().all(|part| folder.join(part).is_file())
        && of_file(&folder.join("kube")).is_ok_and(|found| found == expected)
}

/// Moves `work` to `folder`; another run may have been quicker, or have left a broken one.
fn replace(work: &Path, folder: &Path) -> Result<()> {
    if is_whole(folder) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing the broken {}", folder.display()))?;
    }
    fs::rename(work, folder).with_context(|| format!("moving the build to {}", folder.display()))
}

/// A name that does not depend on the hash, for `cargo test` without xtask.
fn name_latest(workspace: &Workspace, folder: &Path) -> Result<()> {
    let latest = workspace.tools().join("kubernetes");
    let name = Path::new(folder.file_name().unwrap_or_default());
    if fs::read_link(&latest).is_ok_and(|found| found == name) {
        return Ok(());
    }
    let fresh = workspace.tools().join(format!("kubernetes-link-{}", std::process::id()));
    link(name, &fresh)?;
    fs::rename(&fresh, &latest).with_context(|| format!("naming {}", latest.display()))
}

const INSTALL: &str = "install Go 1.26 or newer (go.dev/dl)";

/// The version of the Go that is installed, as it says it.
fn go(workspace: &Workspace) -> Result<String> {
    let found = process::text(command(workspace).args(["env", "GOVERSION"]), INSTALL).with_context(|| {
        format!("the tests with a real API server need Go to build it: {INSTALL}, {ELSE}")
    })?;
    let found = found.trim().to_owned();
    let manifest = fs::read_to_string(workspace.root().join(MODULE).join("go.mod"))?;
    let wanted = version_of(&manifest, "go").context("go.mod names no version of Go")?;
    if numbers(&found) < numbers(&wanted) {
        bail!("the Go here is {found}, and Kubernetes needs {wanted}: {INSTALL}, {ELSE}");
    }
    Ok(found)
}

/// `go1.26.8` as numbers, for a comparison.
fn numbers(version: &str) -> Vec<u32> {
    version
        .trim_start_matches("go")
        .split(|letter: char| !letter.is_ascii_digit())
        .map_while(|number| number.parse().ok())
        .collect()
}

/// The Go that is installed, in the module's folder, with nothing of the caller's own settings but where it fetches.
fn command(workspace: &Workspace) -> Command {
    let mut command = Command::new("go");
    command.current_dir(workspace.root().join(MODULE));
    // No C compiler, no other Go than the one that is there, no workspace around it.
    command.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", "");
    command
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, at).with_context(|| format!("linking {}", at.display()))
}

#[cfg(not(unix))]
fn link(_: &Path, at: &Path) -> Result<()> {
    bail!("no link can be made at {} on this machine: {ELSE}", at.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "module x\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/kubernetes v1.36.1\n)\n";

    #[test]
    fn versions_are_those_of_the_manifest() {
        assert_eq!(version_of(MANIFEST, "k8s.io/kubernetes").as_deref(), Some("v1.36.1"));
        assert_eq!(version_of(MANIFEST, "go").as_deref(), Some("1.26.0"));
        assert_eq!(version_of(MANIFEST, "k8s.io/api"), None);
    }

    #[test]
    fn an_older_go_is_older_by_its_numbers() {
        assert!(numbers("go1.26.8") >= numbers("1.26.0"));
        assert!(numbers("go1.9") < numbers("1.26.0"));
        assert!(numbers("go1.27rc1") >= numbers("1.26.0"));
    }

    #[test]
    fn a_folder_with_another_binary_than_was_built_is_built_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for part in PARTS.iter().chain(&["kube"]) {
            fs::write(folder.path().join(part), "x")?;
        }
        fs::write(folder.path().join("kube.sha256"), of_file(&folder.path().join("kube"))?)?;
        assert!(is_whole(folder.path()));
        fs::write(folder.path().join("kube"), "y")?;
        assert!(!is_whole(folder.path()));
        Ok(())
    }
}
