//! The demo in a Kubernetes cluster of its own: a canary is stepped through the API server while requests pass a sidecar.
//!
//! `cargo xtask demo --kubernetes` builds this and the tools and becomes it. Knows: the parts of the test kit, kubectl's and
//! Meltemi's command lines. Must not know: how anything is translated.   Start at [`play`].
//! Invariant: whatever ends it, no process, device, namespace or file is left.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command line talks to its terminal")]
#![cfg_attr(not(target_os = "linux"), allow(unused, reason = "network namespaces are Linux's"))]

#[cfg(target_os = "linux")]
mod machines;
#[cfg(target_os = "linux")]
mod play;
mod script;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod status;
mod table;
mod traffic;
#[cfg(target_os = "linux")]
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The demo in a Kubernetes cluster; run it by `cargo xtask demo --kubernetes`.
#[derive(Parser)]
struct Arguments {
    /// Leave it running when the script is through, and say what to try
    #[arg(long)]
    keep: bool,
    /// The program `meltemi`
    #[arg(long, value_name = "FILE")]
    meltemi: PathBuf,
    /// The top folder of the repository: its chart and its examples are applied
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn run(arguments: &Arguments) -> Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};

    // Dropped before this returns, and with it what its tasks hold.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        // What is dropped here ends its processes and removes its devices and files. The signals come first: Ctrl-C ends
        // the processes of the demo too, which is no failure then.
        tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                eprintln!("\ninterrupted; everything is stopped and removed");
                Ok(ExitCode::from(130))
            }
            _ = terminate.recv() => Ok(ExitCode::from(143)),
            _ = hang_up.recv() => Ok(ExitCode::from(129)),
            outcome = play::play(arguments) => outcome.map(|()| ExitCode::SUCCESS),
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn run(_: &Arguments) -> Result<ExitCode> {
    anyhow::bail!(
        "this demo gives each pod a network namespace, which only Linux has: run it there, for instance in a container"
    )
}
