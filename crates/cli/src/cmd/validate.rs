//! `meltemi validate`: every finding of some folders.

use std::io::IsTerminal;
use std::process::ExitCode;

use meltemi_api::{Finding, Severity};
use meltemi_views::Options;
use serde::Serialize;

use crate::args::{TextOrJson, ValidateArgs, YamlOrJson};
use crate::render;
use crate::state::{SourceArgs, State};

#[derive(Serialize)]
struct Report<'a> {
    items: &'a [Finding],
}

pub(crate) fn run(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let source = SourceArgs { namespace: args.namespace.clone(), ..SourceArgs::default() };
    let state = State::folders(&args.folders, &source)?;
    let findings = state.findings(&state.engine(Options::default()));
    match args.output {
        TextOrJson::Json => render::value(&Report { items: &findings }, YamlOrJson::Json)?,
        TextOrJson::Text => {
            let with_source = std::io::stdout().is_terminal();
            for finding in &findings {
                let text = if with_source {
                    finding.render(meltemi_serve::source_line(finding).as_deref())
                } else {
                    format!("{finding}\n")
                };
                render::text_out(&text)?;
            }
            let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
            render::text_out(&format!(
                "{} objects: {} errors, {} warnings, {} notes\n",
                state.objects(),
                count(Severity::Error),
                count(Severity::Warning),
                count(Severity::Info),
            ))?;
        }
    }
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
