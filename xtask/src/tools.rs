//! The tools that the tests and checks need, and how a machine comes by them.
//!
//! Invariant: what is fetched is pinned by a hash here (or by cargo's or Go's own lock), and nothing is fetched or built
//! that is there.

mod envoy;
mod hash;
mod kubernetes;
mod prometheus;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// The cargo-deny whose rules `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Fetches everything that the tests need.
///
/// # Errors
/// When something cannot be had; says what to do.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    println!("{}", envoy(workspace)?.display());
    println!("{}", kubernetes(workspace)?.display());
    println!("{}", cargo_deny(workspace)?.display());
    if let Some(prometheus) = prometheus(workspace) {
        println!("{}", prometheus.display());
    }
    namespaces()
}

/// The path of an Envoy to test with: `ENVOY_BIN`, else the pinned one, fetched if need be.
///
/// # Errors
/// When it cannot be had; says what to do.
pub(crate) fn envoy(workspace: &Workspace) -> Result<PathBuf> {
    match std::env::var_os("ENVOY_BIN") {
        Some(path) if !path.is_empty() => {
            let path = PathBuf::from(path);
            path.canonicalize().with_context(|| {
                format!("ENVOY_BIN is {}, which is not there: unset it or mend it", path.display())
            })
        }
        _ => envoy::pinned(&workspace.tools()),
    }
}

/// The folder of a Kubernetes to test with: `KUBEBUILDER_ASSETS`, else the pinned one, built if need be.
///
/// # Errors
/// When it cannot be had; says what to do.
pub(crate) fn kubernetes(workspace: &Workspace) -> Result<PathBuf> {
    kubernetes::folder(workspace)
}

/// The same where nothing must be built for it.
pub(crate) fn kubernetes_at_hand(workspace: &Workspace) -> Option<PathBuf> {
    kubernetes::folder_at_hand(workspace)
}

/// A Prometheus to test with: `PROMETHEUS_BIN`, else the pinned one, fetched if need be. Without one its tests look for `prometheus` in the
/// search path, and say NOT RUN if there is none: not every machine can have it from where it is pinned.
pub(crate) fn prometheus(workspace: &Workspace) -> Option<PathBuf> {
    match prometheus::pinned(&workspace.tools()) {
        Ok(program) => Some(program),
        Err(error) => {
            eprintln!("  no pinned Prometheus, so that of the search path, if any: {error:#}");
            None
        }
    }
}

/// The same where nothing must be fetched for it.
pub(crate) fn prometheus_at_hand(workspace: &Workspace) -> Option<PathBuf> {
    prometheus::at_hand(&workspace.tools())
}

/// Installs `ip` and `iptables`, which the suite in network namespaces runs, when this is root on a Debian.
///
/// Without root that suite cannot run in any case, and this says so.
///
/// # Errors
/// When the packages cannot be installed.
pub(crate) fn namespaces() -> Result<()> {
    if !is_root()? {
        // Said here, since the output of a test that passes is not shown.
        eprintln!(
            "  not root: the tests in network namespaces do NOT RUN (live_pods says so; those of meltemi-testkit pass); run this as root to run them"
        );
        return Ok(());
    }
    if process::works("ip", &["-V"]) && process::works("iptables", &["--version"]) {
        return Ok(());
    }
    eprintln!("  installing iproute2 and iptables for the tests in network namespaces");
    install(&["iproute2", "iptables"])
}

/// Whether valgrind is there; installed when this is root on a Debian, and else said to be missing.
///
/// # Errors
/// When the package cannot be installed.
pub(crate) fn valgrind() -> Result<bool> {
    if process::works("valgrind", &["--version"]) {
        return Ok(true);
    }
    if !is_root()? {
        eprintln!(
            "  NOT RUN: instructions are counted by valgrind, which is not here: install valgrind with the package manager of this machine"
        );
        return Ok(false);
    }
    eprintln!("  installing valgrind to count instructions");
    install(&["valgrind"])?;
    Ok(true)
}

fn is_root() -> Result<bool> {
    Ok(process::text(Command::new("id").arg("-u"), "it is part of every Unix")?.trim() == "0")
}

/// Installs Debian's packages of these names.
fn install(packages: &[&str]) -> Result<()> {
    let missing = format!("install {} with the package manager of this machine", packages.join(" and "));
    apt(&["update", "-q"], &missing)?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages].concat(), &missing)
}

fn apt(arguments: &[&str], missing: &str) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    let output = process::output(&mut command, missing)?;
    if !output.status.success() {
        bail!(
            "`apt-get {}`: {}; {missing}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Checks the dependencies against `deny.toml`, with the pinned cargo-deny.
///
/// # Errors
/// When a dependency is not allowed, or cargo-deny cannot be had.
pub(crate) fn deny(workspace: &Workspace) -> Result<()> {
    let program = cargo_deny(workspace)?;
    let mut command = Command::new(program);
    command.current_dir(workspace.root());
    // Not `advisories`: its database is a git repository, and a check that needs the network fails with the network.
    command.args([
        "--locked",
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    process::run(&mut command, "run `cargo xtask tools`")
}

/// The pinned cargo-deny: the installed one if it is of that version, else built once into the tools folder.
fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let version = format!("cargo-deny {CARGO_DENY}");
    let is_pinned = |program: &PathBuf| {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == version)
    };
    let root = workspace.tools().join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    for found in [PathBuf::from("cargo-deny"), program.clone()] {
        if is_pinned(&found) {
            return Ok(found);
        }
    }
    eprintln!("  building {version} once, about two minutes");
    let mut command = workspace.cargo();
    command.args([
        "install",
        "--quiet",
        "--locked",
        "--no-default-features",
        "--version",
        CARGO_DENY,
        "--root",
    ]);
    command.arg(&root).arg("cargo-deny");
    // It checks a few hundred packages in a second even so; its own release profile takes several times longer to build.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    // Its own target folder: nothing of the workspace is shared with it, nor waits for it.
    command.env("CARGO_TARGET_DIR", root.join("target"));
    process::run(&mut command, "install Rust with rustup").context(
        "cargo-deny could not be built: is there a network? `cargo install cargo-deny` by hand serves as well",
    )?;
    std::fs::remove_dir_all(root.join("target")).context("clearing up after the build of cargo-deny")?;
    Ok(program)
}
