//! `meltemi ca`: what signs, and its change; asked of the control plane that uses a state folder, or by way of a cluster's Secret.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use meltemi_serve::Access;
use meltemi_serve::identity::control::{Preview, Status, Wait, client};
use meltemi_serve::identity::kube::operator::{Failed, Operator};
use tokio::runtime::Runtime;

use crate::args::{TextOrJson, YamlOrJson};
use crate::ca_args::{CaCommand, CaPlace, CaRotateArgs, CaStatusArgs};
use crate::{process, render};

pub(crate) fn run(command: &CaCommand) -> anyhow::Result<ExitCode> {
    match command {
        CaCommand::Status(args) => status(args),
        CaCommand::Rotate(args) => rotate(args),
    }
}

fn status(args: &CaStatusArgs) -> anyhow::Result<ExitCode> {
    let status = Place::of(&args.at)?.status()?;
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
    Place::of(&args.at)?.rotate(args.timeout)?;
    say("the change is done");
    Ok(ExitCode::SUCCESS)
}

/// Where the authority is asked.
enum Place {
    Folder(PathBuf),
    Cluster(Box<Operator>, Runtime),
}

impl Place {
    fn of(args: &CaPlace) -> anyhow::Result<Self> {
        if let Some(folder) = &args.state_dir {
            return Ok(Self::Folder(folder.clone()));
        }
        let runtime = process::one_thread()?;
        let access = Access::Kubeconfig { file: args.kubeconfig.clone(), context: args.context.clone() };
        let connecting = Operator::connect(&access, &args.namespace, &args.service_name);
        let operator = runtime.block_on(connecting).map_err(|error| match error {
            Failed::Cluster(error) => anyhow::anyhow!(
                "{error} (or name the folder of a control plane without a cluster with --state-dir DIR)"
            ),
            error => error.into(),
        })?;
        Ok(Self::Cluster(Box::new(operator), runtime))
    }

    fn status(&self) -> anyhow::Result<Status> {
        Ok(match self {
            Self::Folder(folder) => client::status(folder)?,
            Self::Cluster(operator, runtime) => runtime.block_on(operator.status())?,
        })
    }

    fn begin(&self) -> anyhow::Result<Status> {
        Ok(match self {
            Self::Folder(folder) => client::begin(folder)?,
            Self::Cluster(operator, runtime) => runtime.block_on(operator.begin())?,
        })
    }

    fn preview(&self) -> anyhow::Result<Preview> {
        Ok(match self {
            Self::Folder(folder) => client::preview(folder)?,
            Self::Cluster(operator, runtime) => runtime.block_on(operator.preview())?,
        })
    }

    fn force(&self, preview: &Preview) -> anyhow::Result<Status> {
        Ok(match self {
            Self::Folder(folder) => client::force(folder, preview)?,
            Self::Cluster(operator, runtime) => runtime.block_on(operator.force(preview))?,
        })
    }

    fn rotate(&self, timeout: Option<Duration>) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => client::rotate(folder, timeout, tell)?,
            Self::Cluster(operator, runtime) => runtime.block_on(operator.rotate(timeout, tell))?,
        }
        Ok(())
    }
}

/// One step, after it is said who loses by it.
fn force(args: &CaRotateArgs) -> anyhow::Result<ExitCode> {
    let place = Place::of(&args.at)?;
    if place.status()?.phase == "steady" {
        tell(&place.begin()?);
    }
    let preview = place.preview()?;
    match &preview.waiting {
        Some(waiting) => say(&format!("{}: not waiting for {waiting}", preview.phase)),
        None => say(&format!("{}: nothing is waited for", preview.phase)),
    }
    if let Some(waiting) = &preview.waiting {
        say(breaks(waiting));
    }
    tell(&place.force(&preview)?);
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
