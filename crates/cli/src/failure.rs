//! How an error is told: what failed, why, all the way down; on standard error.

use std::process::ExitCode;

/// Tells the error and its causes.
#[allow(clippy::print_stderr, reason = "a command line tells its errors on standard error")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(1)
}
