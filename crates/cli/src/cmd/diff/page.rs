//! The report as a page. Knows words and their layout. Must not know how anything was found.

use anstyle::{AnsiColor, Style};

use super::change::Action;
use super::report::Report;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();

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
        let mut subject = "";
        for change in &group.changes {
            if change.subject != subject {
                subject = &change.subject;
                line(format!("  {subject}"));
            }
            let text = if change.warning.is_some() { styled(BAD, &change.text) } else { change.text.clone() };
            line(format!("    {text}"));
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
