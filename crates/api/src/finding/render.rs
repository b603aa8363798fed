//! The two forms of a finding for people: one line, and several with the source line and a caret.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Finding;

impl std::fmt::Display for Finding {
    /// One line: `file:line:column: severity: object, field: message [code]; in force: ...; hint: ...`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}: ", clean(&place.to_string()))?;
        }
        write!(f, "{}: {}{} [{}]", self.severity, self.subject(), clean(&self.message), self.code)?;
        if let Some(in_force) = &self.in_force {
            write!(f, "; in force: {}", clean(in_force))?;
        }
        if let Some(hint) = &self.hint {
            // Lines to paste stay one line here; a terminal shows them as they are.
            write!(f, "; hint: {}", clean(&hint.replace('\n', "\\n")))?;
        }
        Ok(())
    }
}

/// How wide a source line is shown at most; a minified JSON file is one line.
const WIDTH: usize = 100;

impl Finding {
    /// Several lines for a terminal, ending in a line break. `source` is the line of the file that the place names, if there is one.
    pub fn render(&self, source: Option<&str>) -> String {
        let mut text =
            format!("{}: {}{} [{}]\n", self.severity, self.subject(), clean(&self.message), self.code);
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let _ = writeln!(text, "{margin}--> {}", clean(&place.to_string()));
            if let Some(source) = source {
                let (shown, before, length) = excerpt(source, place.column as usize);
                let _ = writeln!(text, "{margin} |");
                let _ = writeln!(text, "{number} | {shown}");
                let _ = writeln!(text, "{margin} | {}{}", " ".repeat(before), "^".repeat(length));
            }
        }
        if let Some(in_force) = &self.in_force {
            let _ = writeln!(text, "  in force: {}", clean(in_force));
        }
        if let Some(hint) = &self.hint {
            let mut lines = hint.lines();
            let _ = writeln!(text, "  hint: {}", clean(lines.next().unwrap_or_default()));
            for line in lines {
                let _ = writeln!(text, "    {}", clean(line));
            }
        }
        text
    }

    /// `Kind namespace/name, field: `, as far as known.
    fn subject(&self) -> String {
        let field = clean(&self.field);
        match (&self.key, &*field) {
            (None, "") => String::new(),
            (None, field) => format!("{field}: "),
            (Some(key), "") => format!("{}: ", clean(&key.to_string())),
            (Some(key), field) => format!("{}, {field}: ", clean(&key.to_string())),
        }
    }
}

/// The part of a line around a column (from 1): the text, the characters before the caret and the caret's length.
fn excerpt(source: &str, column: usize) -> (String, usize, usize) {
    let line: Vec<char> =
        source.trim_end_matches(['\r', '\n']).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let at = column.saturating_sub(1).min(line.len());
    // A window that has the caret in its first half.
    let start = if line.len() <= WIDTH { 0 } else { at.saturating_sub(WIDTH / 2) };
    let end = line.len().min(start + WIDTH);
    let token = line[at..end].iter().take_while(|c| !c.is_whitespace() && **c != ',').count();
    (line[start..end].iter().collect(), at - start, token.max(1))
}

/// Without control characters, which could move the cursor of a terminal or begin a line of their own.
fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use meltemi_names::{Kind, ObjectKey};

    use crate::field::FieldPath;
    use crate::finding::{Finding, Place};

    fn finding() -> Finding {
        Finding::warning("no-such-subset", "reviews.shop has no subset `v3`")
            .about(&ObjectKey::new(Kind::VirtualService, "shop", "reviews"))
            .at(&FieldPath::of(&["spec", "http"]).index(0))
            .hint("add `v3` to DestinationRule shop/reviews")
            .in_force("this destination answers 503")
            .placed(Some(Place { file: "a/reviews.yaml".into(), line: 23, column: 17 }))
    }

    #[test]
    fn a_line_says_place_finding_what_stays_and_what_to_do() {
        assert_eq!(
            finding().to_string(),
            "a/reviews.yaml:23:17: warning: VirtualService shop/reviews, spec.http[0]: reviews.shop has no \
             subset `v3` [no-such-subset]; in force: this destination answers 503; hint: add `v3` to \
             DestinationRule shop/reviews"
        );
    }

    #[test]
    fn lines_to_paste_stand_below_each_other_on_a_terminal_only() {
        let finding = Finding::info("x", "y").hint("add\nkind: A\n  b: c");
        assert_eq!(finding.render(None), "info: y [x]\n  hint: add\n    kind: A\n      b: c\n");
        assert_eq!(finding.to_string(), "info: y [x]; hint: add\\nkind: A\\n  b: c");
    }

    #[test]
    fn a_terminal_shows_the_source_line_with_a_caret() {
        let text = finding().render(Some("        subset: v3 # new\n"));
        assert_eq!(
            text,
            "warning: VirtualService shop/reviews, spec.http[0]: reviews.shop has no subset `v3` [no-such-subset]\n\
             \u{20}\u{20}--> a/reviews.yaml:23:17\n\
             \u{20}\u{20} |\n\
             23 |         subset: v3 # new\n\
             \u{20}\u{20} |                 ^^\n\
             \u{20}\u{20}in force: this destination answers 503\n\
             \u{20}\u{20}hint: add `v3` to DestinationRule shop/reviews\n"
        );
    }

    #[test]
    fn a_line_of_ten_thousand_characters_is_shown_in_part() {
        let mut finding = finding();
        finding.place = Some(Place { file: "x.json".into(), line: 1, column: 5001 });
        let line = format!("{}\"oops\",{}", "a".repeat(5000), "b".repeat(5000));
        let text = finding.render(Some(&line));
        assert!(text.contains("\"oops\""), "{text}");
        assert!(text.lines().all(|line| line.len() < 160), "{text}");
        // A column beyond the line, as in a file that has changed since, is no harm.
        finding.place = Some(Place { file: "x.json".into(), line: 1, column: 90_000 });
        assert!(finding.render(Some("short")).contains("short"));
    }

    #[test]
    fn what_a_stranger_wrote_cannot_steer_the_terminal() {
        let finding = Finding::error("x", "bad \u{1b}[2J\nname");
        assert_eq!(finding.to_string(), "error: bad \u{fffd}[2J\u{fffd}name [x]");
    }

    #[test]
    fn the_json_has_the_eleven_fields_that_scripts_read() {
        assert_eq!(
            serde_json::to_string(&finding()).unwrap(),
            r#"{"severity":"warning","code":"no-such-subset","kind":"VirtualService","namespace":"shop","name":"reviews","field":"spec.http[0]","message":"reviews.shop has no subset `v3`","hint":"add `v3` to DestinationRule shop/reviews","file":"a/reviews.yaml","line":23,"column":17}"#
        );
        assert_eq!(
            serde_json::to_string(&Finding::info("x", "y")).unwrap(),
            r#"{"severity":"info","code":"x","kind":null,"namespace":null,"name":null,"field":"","message":"y","hint":null,"file":null,"line":null,"column":null}"#
        );
    }

    #[test]
    fn findings_sort_by_place_and_those_without_one_come_last() {
        let at = |line| finding().placed(Some(Place { file: "a".into(), line, column: 1 }));
        let mut all = vec![Finding::info("x", "y"), at(9), at(2)];
        all.sort();
        assert_eq!(all, [at(2), at(9), Finding::info("x", "y")]);
    }
}
