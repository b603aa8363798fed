//! `meltemi analyze`: what is wrong, or worth a look, by Istio's codes where Istio has one.
//!
//! Must not know how anything is found: what reading and translation find themselves comes from there, and each further analyzer has a
//! file of its own: a file here, a line in [`all`], and its codes in [`code`].

mod annotations;
mod code;
mod entries;
mod gateways;
mod metrics;
mod patches;
mod pods;
mod policies;
mod rules;
mod telemetries;
mod workloads;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use meltemi_api::{Finding, Severity};
use meltemi_model::Mesh;
use meltemi_names::ObjectKey;
use meltemi_sources::file::texts;
use meltemi_views::Options;
use serde::Serialize;

use self::code::Code;
use crate::args::{Color, TextOrJson, YamlOrJson};
use crate::state::{SourceArgs, State};
use crate::{process, render};

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Exit with 1 if something is at least so bad.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "error", ignore_case = true)]
    pub(crate) failure_threshold: Level,
    /// Leave out a code for objects of that name, where `*` stands for anything: `IST0102=Namespace *`, `IST0109=VirtualService cart.shop`.
    /// Objects may say so themselves, by the annotation galley.istio.io/analyze-suppress.
    #[arg(short = 'S', long, value_name = "CODE=KIND NAME.NS", value_parser = Suppression::parse)]
    pub(crate) suppress: Vec<Suppression>,
    /// Lines to read, or the same as JSON.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
    /// Whether the lines have colours.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Info,
    Warning,
    Error,
}

/// What is not to be told.
#[derive(Clone, Debug)]
pub(crate) struct Suppression {
    code: String,
    kind: String,
    name: String,
}

impl Suppression {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no CODE=KIND NAME.NAMESPACE, as in IST0109=VirtualService cart.shop");
        let (code, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (kind, name) = rest.split_once(' ').ok_or_else(wrong)?;
        Ok(Self { code: code.to_owned(), kind: kind.to_owned(), name: name.to_owned() })
    }

    fn covers(&self, message: &Message) -> bool {
        let name = match (message.name.as_deref(), message.namespace.as_deref()) {
            (Some(name), Some(namespace)) if !namespace.is_empty() => format!("{name}.{namespace}"),
            (name, _) => name.unwrap_or_default().to_owned(),
        };
        (self.code == "*" || self.code == message.code)
            && matches(&self.kind, message.kind.unwrap_or_default())
            && matches(&self.name, &name)
    }
}

/// Whether the text is such, where `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// Something that is told. Its fields are promised.
#[derive(Debug, Serialize)]
struct Message {
    severity: Severity,
    /// Istio's, or where Istio has none Meltemi's own.
    code: String,
    /// What Istio calls the code.
    title: Option<&'static str>,
    /// What `meltemi validate` calls it; none for what only this command finds.
    finding: Option<&'static str>,
    kind: Option<&'static str>,
    namespace: Option<String>,
    name: Option<String>,
    field: String,
    message: String,
    hint: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    column: Option<u32>,
}

#[derive(Serialize)]
struct Report<'a> {
    items: &'a [Message],
}

pub(crate) fn run(args: &AnalyzeArgs) -> anyhow::Result<ExitCode> {
    let state = State::read(&args.source)?;
    let engine = state.engine(Options::default());
    let mut messages: Vec<Message> = all(&state, engine.mesh(), state.findings(&engine), args)
        .into_iter()
        .filter(|message| !args.suppress.iter().any(|suppressed| suppressed.covers(message)))
        .collect();
    messages.sort_by(|one, other| {
        let order = |message: &Message| {
            (
                message.severity,
                message.file.clone(),
                message.line,
                message.code.clone(),
                message.message.clone(),
            )
        };
        order(one).cmp(&order(other))
    });
    match args.output {
        TextOrJson::Json => render::value(&Report { items: &messages }, YamlOrJson::Json)?,
        TextOrJson::Text => {
            render::text_out(&page(&messages, state.objects(), render::coloured(args.color)))?
        }
    }
    let worst = match args.failure_threshold {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Info => Severity::Info,
    };
    let failed = messages.iter().any(|message| message.severity <= worst);
    process::leave((state, engine));
    Ok(ExitCode::from(u8::from(failed)))
}

/// What all analyzers say.
fn all(state: &State, mesh: &Mesh, known: Vec<Finding>, args: &AnalyzeArgs) -> Vec<Message> {
    let alone: BTreeSet<&Finding> = state.own_findings().iter().collect();
    let texts = if state.is_folder() { texts(&args.source.config) } else { Vec::new() };
    let deployments: Vec<pods::OfDeployment> =
        texts.iter().flat_map(|(file, text)| deployments(mesh, file, text, &args.source.namespace)).collect();
    let deployed = deployments.iter().map(|found| found.namespace.clone()).collect();
    let mut further = workloads::findings(mesh, &deployed);
    let analyzers = [
        rules::findings,
        policies::findings,
        patches::findings,
        entries::findings,
        gateways::findings,
        telemetries::findings,
        pods::findings,
    ];
    further.extend(analyzers.into_iter().flat_map(|analyzer| analyzer(mesh)));
    // What an analyzer says by Istio's code is not said again in other words.
    let said: BTreeSet<(&ObjectKey, &str)> = further
        .iter()
        .filter(|finding| patches::IGNORED.contains(&finding.code))
        .filter_map(|finding| Some((finding.key.as_ref()?, finding.field.as_str())))
        .collect();
    let is_said = |finding: &Finding| {
        finding.code == "patch-without-effect"
            && finding.key.as_ref().is_some_and(|key| said.contains(&(key, finding.field.as_str())))
    };
    let mut messages: Vec<Message> = known
        .into_iter()
        .filter(|finding| !is_said(finding))
        .map(|finding| {
            let code = code::of(&finding, alone.contains(&finding));
            (finding.code, code, finding)
        })
        .map(|(own, code, finding)| message(finding, code, Some(own)))
        .collect();
    messages.extend(further.iter().map(|finding| {
        let code = code::of(finding, false);
        message(state.places().locate(finding.clone()), code, None)
    }));
    messages.retain(|message| !is_suppressed(mesh, message));
    messages.extend(deployments.into_iter().flat_map(of_deployment));
    let of_texts = texts.iter().flat_map(|(file, text)| metrics::findings(file, text));
    messages.extend(of_texts.map(|finding| message(finding, None, None)));
    messages
}

/// The Deployments of a text, which the mesh does not read.
fn deployments(mesh: &Mesh, file: &str, text: &str, namespace: &str) -> Vec<pods::OfDeployment> {
    let all = meltemi_api::values(text, file, |document| document.contains("Deployment")).into_iter();
    all.filter_map(|(value, places)| pods::of_deployment(mesh, &value, &places, namespace)).collect()
}

fn of_deployment(found: pods::OfDeployment) -> impl Iterator<Item = Message> {
    let pods::OfDeployment { namespace, name, suppressed, findings } = found;
    let is_told = move |finding: &Finding| {
        !suppressed.split(',').map(str::trim).any(|code| code == "*" || code == finding.code)
    };
    findings.into_iter().filter(is_told).map(move |finding| {
        let code = code::of(&finding, false);
        Message {
            kind: Some("Deployment"),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            ..message(finding, code, None)
        }
    })
}

/// Whether the object itself says that it is not to be told.
fn is_suppressed(mesh: &Mesh, message: &Message) -> bool {
    let (Some(kind), Some(namespace), Some(name)) = (message.kind, &message.namespace, &message.name) else {
        return false;
    };
    let Some(kind) = meltemi_names::Kind::parse(kind) else { return false };
    let key = ObjectKey::new(kind, namespace.as_str(), name.as_str());
    let Some(object) = mesh.object(&key) else { return false };
    let codes = object.meta.annotations.value("galley.istio.io/analyze-suppress").unwrap_or_default();
    codes.split(',').map(str::trim).any(|code| code == "*" || code == message.code)
}

fn message(finding: Finding, code: Option<&'static Code>, own: Option<&'static str>) -> Message {
    let (key, place) = (finding.key, finding.place);
    Message {
        severity: code.map_or(finding.severity, |code| code.severity),
        code: code.map_or(finding.code, |code| code.code).to_owned(),
        title: code.map(|code| code.title),
        finding: own,
        kind: key.as_ref().map(|key| key.kind.as_str()),
        namespace: key.as_ref().map(|key| key.namespace.to_string()),
        name: key.as_ref().map(|key| key.name.to_string()),
        field: finding.field,
        message: finding.message,
        hint: finding.hint,
        file: place.as_ref().map(|place| place.file.to_string()),
        line: place.as_ref().map(|place| place.line),
        column: place.as_ref().map(|place| place.column),
    }
}

fn page(messages: &[Message], objects: usize, coloured: bool) -> String {
    let styled = |style: Style, text: &str| {
        if coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    };
    let mut page = String::new();
    for message in messages {
        let style = match message.severity {
            Severity::Error => AnsiColor::Red.on_default(),
            Severity::Warning => AnsiColor::Yellow.on_default(),
            Severity::Info => Style::new(),
        };
        let place = match (&message.file, message.line) {
            (Some(file), Some(line)) => format!(" {file}:{line}:{}:", message.column.unwrap_or(1)),
            _ => String::new(),
        };
        let about = match (message.kind, message.namespace.as_deref(), &message.name) {
            (Some(kind), Some(""), Some(name)) => format!(" {kind} {name}:"),
            (Some(kind), Some(namespace), Some(name)) => format!(" {kind} {namespace}/{name}:"),
            _ => String::new(),
        };
        let title = message.title.map(|title| format!(" {title}")).unwrap_or_default();
        let severity = styled(style, message.severity.as_str());
        page += &format!("{severity} [{}{title}]{place}{about} {}\n", message.code, message.message);
        for hint in message.hint.iter().flat_map(|hint| hint.lines()) {
            page += &format!("    {hint}\n");
        }
    }
    let count = |severity| messages.iter().filter(|message| message.severity == severity).count();
    page + &format!(
        "{objects} objects: {} errors, {} warnings, {} notes\n",
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Info)
    )
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in
            [("*", ""), ("*", "a.b"), ("cart.*", "cart.shop"), ("*.shop", "cart.shop"), ("a", "a")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches("cart.*", "web.shop") && !matches("a", "ab"));
    }
}
