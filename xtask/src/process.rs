//! Running other programs, with messages that name the program and say what to do when it is not there.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Runs `command` with its output on this terminal.
///
/// # Errors
/// When it cannot start or ends with anything but 0. `missing` says what to do when the program is not installed.
pub(crate) fn run(command: &mut Command, missing: &str) -> Result<()> {
    let status = command.status().map_err(|error| start_error(command, &error, missing))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs `command` and returns what it printed, errors included, whatever its status.
///
/// # Errors
/// When it cannot start.
pub(crate) fn output(command: &mut Command, missing: &str) -> Result<Output> {
    command.stdin(Stdio::null()).output().map_err(|error| start_error(command, &error, missing))
}

/// Runs `command` and returns its standard output as text.
///
/// # Errors
/// When it cannot start, ends with anything but 0 (its own message is given), or prints no UTF-8.
pub(crate) fn text(command: &mut Command, missing: &str) -> Result<String> {
    let output = output(command, missing)?;
    if !output.status.success() {
        bail!(
            "`{}` ended with {}: {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{}` printed is no UTF-8", line(command)))
}

/// Whether `program` can be started with `arguments` and ends well.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn start_error(command: &Command, error: &std::io::Error, missing: &str) -> anyhow::Error {
    let program = command.get_program().display();
    if error.kind() == ErrorKind::NotFound {
        anyhow::anyhow!("`{program}` is not installed: {missing}")
    } else {
        anyhow::anyhow!("`{program}` cannot be started: {error}")
    }
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().display().to_string();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.display().to_string());
    }
    line
}

/// Runs a cargo command that builds, and says where the program of that name is.
///
/// # Errors
/// When the build fails, or builds no such program.
pub(crate) fn build_program(command: &mut Command, name: &str) -> Result<PathBuf> {
    command.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    let output = output(command, "install Rust with rustup")?;
    if !output.status.success() {
        bail!("{name} cannot be built: cargo says why above");
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name && message["profile"]["test"] == false)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no program `{name}`"))
}
