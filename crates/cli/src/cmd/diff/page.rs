//! The report as a page. Knows words and their layout. Must not know how anything was found.

use std::collections::HashMap;

use anstyle::{AnsiColor, Style};

use super::change::{Action, Change};
use super::report::Report;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();

/// Subjects that are named where the same is told of many.
const NAMED: usize = 4;

/// Each subject with what is told of it; those of which the same is told together, if they are many.
fn together(changes: &[Change]) -> Vec<(String, Vec<&Change>)> {
    let mut subjects: Vec<(&str, Vec<&Change>)> = Vec::new();
    for change in changes {
        match subjects.last_mut() {
            Some((subject, all)) if *subject == change.subject => all.push(change),
            _ => subjects.push((&change.subject, vec![change])),
        }
    }
    let mut told: Vec<(Vec<&str>, Vec<&Change>)> = Vec::new();
    let mut known: HashMap<Vec<&str>, usize> = HashMap::new();
    for (subject, all) in subjects {
        let texts: Vec<&str> = all.iter().map(|change| change.text.as_str()).collect();
        match known.get(&texts) {
            Some(&place) => told[place].0.push(subject),
            None => {
                known.insert(texts, told.len());
                told.push((vec![subject], all));
            }
        }
    }
    let named = told.into_iter().map(|(subjects, all)| {
        let rest = subjects.len().saturating_sub(NAMED);
        let mut text = subjects.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        if rest > 0 {
            text += &format!(" and {rest} more");
        }
        (text, all)
    });
    named.collect()
}

/// The page.
pub(crate) fn of(report: &Report, coloured: bool) -> String {
    let styled = |style: Style, text: &str| {
        if coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    };
    let mut page = String::new();
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    if report.objects.is_empty() {
        line("No object changes.".to_owned());
    } else {
        let count = report.objects.len();
        let what = if count == 1 { "1 object changes" } else { &format!("{count} objects change") };
        line(styled(TITLE, what));
        for object in &report.objects {
            let verb = match object.action {
                Action::Added => styled(GOOD, "added  "),
                Action::Removed => styled(BAD, "removed"),
                Action::Changed => "changed".to_owned(),
            };
            let name = match object.namespace.as_str() {
                "" => format!("{} {}", object.kind, object.name),
                namespace => format!("{} {namespace}/{}", object.kind, object.name),
            };
            let place = object.place.as_ref().map(|place| format!(" ({}:{})", place.file, place.line));
            line(format!("  {verb} {name}{}", styled(FAINT, &place.unwrap_or_default())));
        }
    }
    line(String::new());
    if report.groups.is_empty() {
        line(format!("Nothing changes for any of {} proxies.", report.proxies));
        if !report.warnings.is_empty() {
            line(String::new());
        }
    }
    for group in &report.groups {
        let count = format!(" ({} of {} proxies)", group.proxies.count, report.proxies);
        line(format!("{}{}", styled(TITLE, &group.proxies.text), styled(FAINT, &count)));
        for (subjects, changes) in together(&group.changes) {
            line(format!("  {subjects}"));
            for change in changes {
                let text =
                    if change.warning.is_some() { styled(BAD, &change.text) } else { change.text.clone() };
                line(format!("    {text}"));
            }
        }
        line(String::new());
    }
    if !report.warnings.is_empty() {
        line(styled(TITLE, "Warnings"));
    }
    for warning in &report.warnings {
        let place = warning.place.as_ref().map(|place| format!(" ({}:{})", place.file, place.line));
        let whom = warning.proxies.as_ref().map(|who| format!(" [{who}]")).unwrap_or_default();
        let code = styled(BAD, warning.code);
        line(format!("  {code}: {}{}{}", warning.message, place.unwrap_or_default(), styled(FAINT, &whom)));
        for hint in warning.hint.iter().flat_map(|hint| hint.lines()) {
            line(format!("    {hint}"));
        }
    }
    page
}
