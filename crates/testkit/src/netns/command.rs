//! Running `ip` and `iptables`.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command line (split at spaces) and returns what it printed.
///
/// Blocking: each takes a few milliseconds, and cleaning up happens in `Drop`.
pub(super) fn run(line: &str) -> Result<String> {
    run_with(line, "")
}

/// As [`run`], with `input` on the standard input.
pub(super) fn run_with(line: &str, input: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("`{program}` is not installed: as root, `cargo xtask tools` installs iproute2 and iptables")
        }
        Err(error) => return Err(error).with_context(|| format!("starting `{line}`")),
    };
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`{line}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
