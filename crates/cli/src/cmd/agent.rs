//! `meltemi agent`: the companion of one Envoy.

use std::process::ExitCode;

use anyhow::Context;
use meltemi_agent::{Options, Surroundings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::agent_args::AgentArgs;
use crate::{logging, process};

/// A signal that asks for the end, and a second one that asks for it at once.
const STOPS: usize = 2;

pub(crate) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.log_format);
    // A variable that is no text is none of ours.
    let env = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
    let around = Surroundings { env: env.collect(), ..Surroundings::default() }.with_files();
    let (options, notes) = Options::read(args.flags(), &args.words, &around)?;
    // One thread: beside every workload there is one of these, and it does almost nothing.
    let runtime = process::one_thread()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let (sender, stop) = mpsc::channel(STOPS);
        let by_signal = sender.clone();
        let signals = async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                let _full = by_signal.try_send(());
            }
        };
        tokio::select! {
            ended = meltemi_agent::run(options, &notes, sender, stop) => ended?,
            () = signals => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
