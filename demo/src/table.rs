//! The table: on a terminal the last row lives; in a pipe each row is a line. Beneath a row stands what else was seen.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use meltemi_testkit::http::Tally;

/// How often the living row is painted.
const PAINT: Duration = Duration::from_millis(100);

/// A table that grows.
pub(crate) struct Table {
    is_live: bool,
    title: String,
    wanted: String,
    painted: Option<Instant>,
}

impl Table {
    /// Prints the head.
    pub(crate) fn new() -> Self {
        println!("{}", line("", "wanted", "requests", "v1", "v2", "codes", "first new", "last old"));
        Self {
            is_live: std::io::stdout().is_terminal(),
            title: String::new(),
            wanted: String::new(),
            painted: None,
        }
    }

    /// The next row is about this.
    pub(crate) fn begin(&mut self, title: &str, wanted: &str) {
        title.clone_into(&mut self.title);
        wanted.clone_into(&mut self.wanted);
        self.painted = None;
    }

    /// Shows the row as it is so far, on a terminal and not too often.
    pub(crate) fn paint(&mut self, tally: &Tally) {
        if self.is_live && self.painted.is_none_or(|painted| painted.elapsed() >= PAINT) {
            self.painted = Some(Instant::now());
            print!("\r\x1b[2K  {}", self.text(tally, "", ""));
            flush();
        }
    }

    /// The row is done, and right.
    pub(crate) fn row(&mut self, tally: &Tally, first_new: &str, last_old: &str) {
        let start = if self.is_live { "\r\x1b[2K" } else { "" };
        println!("{start}ok{}", self.text(tally, first_new, last_old));
    }

    /// Lines that belong to the row above, or to the one that begins.
    pub(crate) fn note(&mut self, text: &str) {
        self.end();
        for line in text.lines() {
            println!("   {line}");
        }
    }

    /// The row is wrong; the error is printed by others.
    pub(crate) fn failed(&mut self) {
        self.end();
        println!("no {:<26} {}", self.title, self.wanted);
    }

    /// Leaves the living row.
    pub(crate) fn end(&mut self) {
        if self.is_live {
            print!("\r\x1b[2K");
            flush();
        }
    }

    fn text(&self, tally: &Tally, first_new: &str, last_old: &str) -> String {
        let share = |version| format!("{:.1} %", tally.share(version) * 100.0);
        let mut codes = String::new();
        for (code, count) in &tally.statuses {
            // Writing to a string cannot fail.
            let _ = if tally.statuses.len() == 1 {
                write!(codes, "{code}")
            } else {
                write!(codes, "{code}×{count} ")
            };
        }
        line(
            &self.title,
            &self.wanted,
            &tally.total().to_string(),
            &share("v1"),
            &share("v2"),
            codes.trim(),
            first_new,
            last_old,
        )
    }
}

#[allow(clippy::too_many_arguments, reason = "the columns of the table")]
fn line(
    title: &str,
    wanted: &str,
    count: &str,
    v1: &str,
    v2: &str,
    codes: &str,
    first_new: &str,
    last_old: &str,
) -> String {
    format!(" {title:<26} {wanted:<15} {count:>8} {v1:>8} {v2:>8}  {codes:<8} {first_new:>9} {last_old:>9}")
}

/// A time, for people.
pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A terminal that is gone needs no table.
fn flush() {
    drop(std::io::stdout().flush());
}
