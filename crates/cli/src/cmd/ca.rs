//! `meltemi ca`: what signs, and its change; asked of the control plane that uses a state folder.

use std::process::ExitCode;

use meltemi_serve::identity::control::{Status, Wait, client};

use crate::args::{TextOrJson, YamlOrJson};
use crate::ca_args::{CaCommand, CaRotateArgs, CaStatusArgs};
use crate::render;

pub(crate) fn run(command: &CaCommand) -> anyhow::Result<ExitCode> {
    match command {
        CaCommand::Status(args) => status(args),
        CaCommand::Rotate(args) => rotate(args),
    }
}

fn status(args: &CaStatusArgs) -> anyhow::Result<ExitCode> {
    let status = client::status(&args.state_dir)?;
    match args.output {
        TextOrJson::Json => render::value(&status, YamlOrJson::Json)?,
        TextOrJson::Text => show(&status)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate(args: &CaRotateArgs) -> anyhow::Result<ExitCode> {
    if args.force {
        return force(args);
    }
    client::rotate(&args.state_dir, args.timeout, tell)?;
    say("the change is done");
    Ok(ExitCode::SUCCESS)
}

/// One step, after it is said who loses by it.
fn force(args: &CaRotateArgs) -> anyhow::Result<ExitCode> {
    if client::status(&args.state_dir)?.phase == "steady" {
        tell(&client::begin(&args.state_dir)?);
    }
    let preview = client::preview(&args.state_dir)?;
    match &preview.waiting {
        Some(waiting) => say(&format!("{}: not waiting for {waiting}", preview.phase)),
        None => say(&format!("{}: nothing is waited for", preview.phase)),
    }
    if let Some(waiting) = &preview.waiting {
        say(breaks(waiting));
    }
    tell(&client::force(&args.state_dir, &preview)?);
    Ok(ExitCode::SUCCESS)
}

/// Who loses by a step that does not wait.
fn breaks(waiting: &Wait) -> &'static str {
    match waiting {
        Wait::Replicas { .. } => {
            "workloads that are answered by these replicas do not learn of the new root, and refuse peers once it signs"
        }
        Wait::Workloads { .. } => {
            "those workloads refuse every peer, and the control plane, whose certificate the new root signs, until they renew"
        }
        Wait::Expiry { .. } => {
            "workloads whose certificates the old root signed are refused by every peer that has renewed, until they renew; so is their \
             way to the control plane by certificate: they need a token"
        }
    }
}

/// One line for each state.
fn tell(status: &Status) {
    let names = |signs: bool| {
        let found = status.signers.iter().filter(|signer| signer.signs == signs);
        found.map(|signer| signer.id.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut line = format!("{}: {} signs", status.phase, names(true));
    let others = names(false);
    if !others.is_empty() {
        line += &format!(", {others} is trusted besides");
    }
    if let Some(waiting) = &status.waiting {
        line += &format!("; waiting for {waiting}");
    }
    say(&line);
}

#[allow(clippy::print_stderr, reason = "progress is for whoever watches")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn show(status: &Status) -> anyhow::Result<()> {
    let dash = || "-".to_owned();
    let rows = status.signers.iter().map(|signer| {
        vec![
            signer.id.clone(),
            if signer.signs { "signs" } else { "trusted" }.to_owned(),
            signer.expires.clone().unwrap_or_else(dash),
            signer.signed_until.clone().unwrap_or_else(dash),
            status.phase.clone(),
            status.waiting.as_ref().map_or_else(dash, Wait::to_string),
        ]
    });
    render::table(&["SIGNER", "ROLE", "EXPIRES", "SIGNED UNTIL", "PHASE", "WAITING FOR"], rows)
}
