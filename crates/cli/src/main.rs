//! `meltemi`: one binary for the control plane and for looking at what it does.
//!
//! Knows: arguments, and how to show what the other crates say. Must not know: rules of the mesh.   Start at [`args`], one file for
//! each command in `cmd`.
//! Exit codes: 0 fine, 1 a check failed or work could not be done, 2 wrong use.

mod agent_args;
mod args;
mod ca_args;
mod cmd;
mod failure;
mod logging;
mod process;
mod proxy_args;
mod render;
mod state;

use std::process::ExitCode;

use clap::Parser;

/// Connections come in crowds, and what each needs for its first answer is free a moment later: memory at rest must not be that of the
/// worst moment. Here, since every allocation of the program is its.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match cmd::run(arguments.command) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
