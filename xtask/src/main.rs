//! Every developer command: `cargo xtask --help` lists them.
//!
//! Knows: the workspace as files and as `cargo metadata` tells it, and the tools its checks run. Must not know: what the
//! crates do.   Start at [`ci::STEPS`], the list that the continuous integration and a developer share.
//! Invariant: a step that fails says how to mend it; a step changes no tracked file.

#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a command line talks to its terminal")]

mod bench;
mod ci;
mod demo;
mod fuzz;
mod instructions;
mod layers;
mod process;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Meltemi's developer commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From a folder of YAML to live traffic, on this machine, in less than a minute
    Demo {
        /// The same in a Kubernetes cluster of its own, whose pods are network namespaces; as root, on Linux
        #[arg(long)]
        kubernetes: bool,
        /// Leave it running when the script is through, and say what to try
        #[arg(long)]
        keep: bool,
    },
    /// Fetch or build the pinned tools: Envoy, Kubernetes, cargo-deny, and what the tests in network namespaces need
    Tools,
    /// Run the tests with the pinned Envoy and Kubernetes at hand
    Test {
        /// Given to `cargo test` instead of `--workspace`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure what a change costs, beside the machine's floor (benches/README.md); `--help` lists what may be set
    #[command(disable_help_flag = true)]
    Bench {
        /// Given to `meltemi-bench`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// `ci`: try the inputs that strangers send, mutated, for some seconds each
    Fuzz(fuzz::Options),
    /// `ci`: what the hot paths cost in instructions, beside what they did (benches/instructions.json)
    Instructions {
        /// Write the counts down, with the reason in the commit
        #[arg(long)]
        update: bool,
    },
    /// Run every check that a change must pass, in order, and say how to mend what fails
    Ci,
    /// `ci`: formatting
    Fmt,
    /// `ci`: lints
    Clippy,
    /// `ci`: charters, orphan files, sizes, words that must not stand in the code
    Tidy,
    /// `ci`: which crate may use which
    Layers,
    /// `ci`: licences, sources and rival libraries of the dependencies
    Deny,
    /// `ci`: the links in the documentation
    Docs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Workspace::find().and_then(|workspace| run(&workspace, arguments.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(workspace: &Workspace, command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo { kubernetes: true, keep } => return demo::kubernetes::run(workspace, keep),
        Command::Demo { kubernetes: false, keep } => return demo::run(workspace, keep),
        Command::Tools => tools::all(workspace),
        Command::Test { arguments } => ci::test(workspace, &arguments),
        Command::Bench { arguments } => bench::run(workspace, &arguments),
        Command::Fuzz(options) => fuzz::run(workspace, &options),
        Command::Instructions { update } => instructions::run(workspace, update),
        Command::Ci => ci::all(workspace),
        Command::Fmt => ci::one(workspace, "fmt"),
        Command::Clippy => ci::one(workspace, "clippy"),
        Command::Tidy => ci::one(workspace, "tidy"),
        Command::Layers => ci::one(workspace, "layers"),
        Command::Deny => ci::one(workspace, "deny"),
        Command::Docs => ci::one(workspace, "docs"),
    }
    .map(|()| ExitCode::SUCCESS)
}
