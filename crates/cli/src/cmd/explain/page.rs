//! The explanation as a page that a person would write.
//!
//! Knows words and their layout. Must not know how anything was found.

mod identity;
mod outcome;
mod reports;
mod routing;
mod traffic;

use anstyle::{AnsiColor, Style};

use super::explanation::Explanation;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();

/// Where lines of a section begin.
const INDENT: usize = 10;

/// The page.
pub(crate) fn of(explanation: &Explanation, coloured: bool) -> String {
    let mut page = Page { text: String::new(), coloured };
    let request = &explanation.request;
    page.text.push_str(&page.styled(TITLE, &format!("{} {}", request.method, explanation.url)));
    page.text.push('\n');
    for (name, value) in &request.headers {
        page.text.push_str(&format!("{name}: {value}\n"));
    }
    page.text.push('\n');
    routing::write(explanation, &mut page);
    traffic::write(explanation, &mut page);
    identity::write(explanation, &mut page);
    reports::write(explanation, &mut page);
    outcome::write(explanation, &mut page);
    page.text
}

/// A page that is being written.
struct Page {
    text: String,
    coloured: bool,
}

impl Page {
    fn styled(&self, style: Style, text: &str) -> String {
        if self.coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The first line of a section.
    fn section(&mut self, title: &str, line: &str) {
        let title = self.styled(TITLE, &format!("{title:<INDENT$}"));
        self.text.push_str(&format!("{title}{line}\n"));
    }

    /// A further line of it, so many steps further in.
    fn line(&mut self, steps: usize, line: &str) {
        self.text.push_str(&format!("{:width$}{line}\n", "", width = INDENT + 2 * steps));
    }
}

/// A cluster as people speak of it: `subset v1 of reviews.shop.svc.cluster.local`.
fn title(cluster: &str) -> String {
    match cluster.split('|').collect::<Vec<_>>()[..] {
        ["outbound", _, "", host] => host.to_owned(),
        ["outbound", _, subset, host] => format!("subset {subset} of {host}"),
        _ => cluster.to_owned(),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// Milliseconds as people write them: `250ms`, `2s`, `1.5s`, `5m`.
fn span(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds}ms"),
        _ if milliseconds.is_multiple_of(60_000) => format!("{}m", milliseconds / 60_000),
        _ if milliseconds.is_multiple_of(1000) => format!("{}s", milliseconds / 1000),
        _ => format!("{}.{:03}s", milliseconds / 1000, milliseconds % 1000),
    }
}

/// `once`, `twice`, `5 times`.
fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::{list, span, times};

    #[test]
    fn lists_times_and_counts_read_as_people_write_them() {
        let words =
            |count: usize| ["a", "b", "c"][..count].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!([list(&words(1)), list(&words(2)), list(&words(3))], ["a", "a and b", "a, b and c"]);
        assert_eq!([span(250), span(2000), span(1500), span(300_000)], ["250ms", "2s", "1.500s", "5m"]);
        assert_eq!([times(1), times(2), times(3)], ["once", "twice", "3 times"]);
    }
}
