//! `meltemi-bench`: measures, or runs a part of it; `cargo xtask bench` builds and calls it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its terminal")]

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use meltemi_benches::args::{Arguments, Command, Output};
use meltemi_benches::mesh::{Mesh, Shape};
use meltemi_benches::{floor, goals, hear, run};

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.command {
        Some(Command::Mesh { folder, shape, beside }) => {
            let staging = run::staging(&folder)?;
            Mesh::write(&folder, &staging, Shape { beside, ..shape.shape() })?;
            std::fs::remove_dir_all(&staging).with_context(|| format!("removing {}", staging.display()))?;
        }
        Some(Command::Floor { address, bytes }) => runtime.block_on(floor::serve(address, bytes))?,
        Some(Command::Hear { folder }) => hear::run(&folder)?,
        Some(Command::Goals(goals)) => {
            let outcome = runtime.block_on(goals::run(&goals, |line| eprintln!("{line}")))?;
            match goals.output {
                Output::Text => print!("{outcome}"),
                Output::Json => println!("{}", serde_json::to_string_pretty(&outcome)?),
            }
            if !outcome.is_fine() {
                return Ok(ExitCode::FAILURE);
            }
        }
        None => {
            let report = runtime.block_on(run::run(&arguments.run, |line| eprintln!("{line}")))?;
            match arguments.run.output {
                Output::Text => print!("{report}"),
                Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
            }
            if !report.is_fine() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    // A blocking read of standard input would hold the runtime's end up.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
