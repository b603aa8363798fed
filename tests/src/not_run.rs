//! Tests that cannot run here: told with the reason, counted in a total of their own, and never counted as passed.
//!
//! Start at [`run`]. `cargo xtask test` names a file in [`LIST`], to which each test program adds a line, and prints the total.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Conclusion, Trial};

/// The variable that names the file: one line for each program, `COUNT PROGRAM: REASON`.
pub const LIST: &str = "MELTEMI_NOT_RUN";

/// Runs the tests. Those that are marked as ignored lack what `reason` says.
#[allow(clippy::print_stderr, reason = "the output of a test program is for its reader")]
pub fn run(arguments: &Arguments, trials: Vec<Trial>, reason: Option<&str>) -> Conclusion {
    let conclusion = libtest_mimic::run(arguments, trials);
    // What a filter leaves out does not count.
    if let Some(reason) = reason.filter(|_| conclusion.num_ignored > 0) {
        // In one line, whatever the reason is made of.
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = format!("{} {}: {reason}\n", conclusion.num_ignored, program());
        eprintln!("NOT RUN: {line}");
        if let Some(list) = std::env::var_os(LIST).filter(|path| !path.is_empty()) {
            // In one go: programs may run beside each other.
            let added = OpenOptions::new().create(true).append(true).open(&list);
            if let Err(error) = added.and_then(|mut file| file.write_all(line.as_bytes())) {
                eprintln!("{}: {error}", list.display());
            }
        }
    }
    conclusion
}

/// A test of a program that has its own `main`; `lacks`: what it needs is not here.
pub fn trial(name: &str, test: fn() -> Result<()>, lacks: bool) -> Trial {
    Trial::test(name, move || test().map_err(|error| format!("{error:?}").into())).with_ignored_flag(lacks)
}

/// Runs a test in a runtime of its own, on this thread.
///
/// # Errors
/// The test's, or that it took longer than `limit`.
pub fn within(limit: Duration, test: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(limit, test).await })?
}

/// The name of this program; cargo adds a hash to it.
fn program() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(name, _)| name.to_owned())
}
