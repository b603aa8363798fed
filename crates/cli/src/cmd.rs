//! The commands.

mod agent;
mod analyze;
mod bootstrap;
mod ca;
pub(crate) mod crds;
mod diff;
pub(crate) mod explain;
mod proxy_status;
mod serve;
mod token;
mod translate;
mod validate;
mod wait;

use std::process::ExitCode;

pub(crate) use self::analyze::AnalyzeArgs;
pub(crate) use self::diff::DiffArgs;
pub(crate) use self::wait::KindName;
use crate::args::Command;

/// Runs a command.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Agent(args) => agent::run(*args),
        Command::Serve(args) => serve::run(*args),
        Command::Validate(args) => validate::run(&args),
        Command::Translate(args) => translate::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Bootstrap(args) => bootstrap::run(&args),
        Command::ProxyStatus(args) => proxy_status::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Ca(command) => ca::run(&command),
        Command::Wait(args) => wait::run(&args),
    }
}
