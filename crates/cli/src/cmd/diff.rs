//! `meltemi diff`: what a change would do, to whom, before it is made.
//!
//! What a proxy is served before and after is compared ([`compare`]), and told ([`report`]). Must not know Istio's rules or Envoy's.

mod chain;
mod change;
mod cluster;
mod compare;
mod extra;
mod fields;
mod host;
mod listener;
mod page;
mod proxies;
mod reach;
mod report;
mod rule;
mod step;
#[cfg(test)]
mod tests;
mod who;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey};
use meltemi_serve::propagation::parse_kind;

use self::report::Report;
use crate::args::{Color, TextOrJson, YamlOrJson};
use crate::state::{SourceArgs, State};
use crate::{process, render};

/// What is compared.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// What changes: folders or files that are laid over the base. An object in them replaces the one of the same kind, namespace and
    /// name; one that is in none of them stays as it is.
    #[arg(long, value_name = "PATH", required_unless_present = "delete")]
    pub(crate) with: Vec<PathBuf>,
    /// What is not in --with goes: the whole of a branch beside the whole of another. Without a folder as the base, of Istio's kinds only,
    /// and in the namespaces only that --with speaks of.
    #[arg(long, requires = "with")]
    pub(crate) replace: bool,
    /// An object that goes, as KIND/NAMESPACE/NAME; repeat it for more.
    #[arg(long, value_name = "KIND/NS/NAME", value_parser = object_key)]
    pub(crate) delete: Vec<ObjectKey>,
    /// Exit with 1 if there is a warning.
    #[arg(long)]
    pub(crate) strict: bool,
    /// A page to read, or the same as JSON.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
    /// Whether the page has colours.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

fn object_key(text: &str) -> Result<ObjectKey, String> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts[..] {
        [kind, namespace, name] if !name.is_empty() => Ok(ObjectKey::new(parse_kind(kind)?, namespace, name)),
        _ => Err(format!("`{text}` is no KIND/NAMESPACE/NAME, as in virtualservice/shop/cart")),
    }
}

pub(crate) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let base = State::read(&args.source)?;
    let with = match args.with.is_empty() {
        // The settings of --mesh-config are the same before and after.
        false => State::folders(&args.with, &SourceArgs { mesh_config: None, ..args.source.clone() })?,
        true => State::empty(),
    };
    let report = Report::of(&base, &with, &events(&base, &with, args))?;
    match args.output {
        TextOrJson::Json => render::value(&report, YamlOrJson::Json)?,
        TextOrJson::Text => render::text_out(&page::of(&report, render::coloured(args.color)))?,
    }
    let failed = args.strict && !report.warnings.is_empty();
    process::leave((base, with));
    Ok(ExitCode::from(u8::from(failed)))
}

/// The change, as events for an engine that has the base.
fn events(base: &State, with: &State, args: &DiffArgs) -> Vec<Event> {
    let mut events = with.events().to_vec();
    events.extend(args.delete.iter().cloned().map(Event::Delete));
    if args.replace {
        let kept = with.keys();
        let namespaces: BTreeSet<&str> = kept.iter().map(|key| key.namespace.as_str()).collect();
        let is_ours = |key: &ObjectKey| {
            let written = key.kind.is_configuration() && key.kind != Kind::WorkloadEntry;
            base.is_folder() || (written && namespaces.contains(key.namespace.as_str()))
        };
        let gone = base.keys().into_iter().filter(|key| !kept.contains(key) && is_ours(key));
        events.extend(gone.cloned().map(Event::Delete));
    }
    events
}
