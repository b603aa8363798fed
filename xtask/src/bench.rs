//! `cargo xtask bench`: builds the server and the measuring program, and runs that.
//!
//! Knows: the names of two binaries. Must not know: what is measured; benches/README.md says it.

use anyhow::Result;

use crate::process;
use crate::workspace::Workspace;

/// Counts only: what the continuous integration runs.
pub(crate) const SMOKE: &str = "--smoke";

/// Builds, optimized unless only counts are asked for, and measures with these arguments.
///
/// # Errors
/// When something cannot be built, or a count is not as promised.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let profile: &[&str] =
        if arguments.iter().any(|argument| argument == SMOKE) { &[] } else { &["--release"] };
    let mut build = workspace.cargo();
    build.args(["build", "--quiet", "--locked", "--package", "meltemi-cli", "--package", "meltemi-benches"]);
    process::run(build.args(profile), "install Rust with rustup")?;
    let mut measure = workspace.cargo();
    measure.args(["run", "--quiet", "--locked", "--package", "meltemi-benches", "--bin", "meltemi-bench"]);
    process::run(measure.args(profile).arg("--").args(arguments), "install Rust with rustup")
}
