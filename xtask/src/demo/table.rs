//! The table: on a terminal the last row lives; in a pipe each row is a line.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use meltemi_testkit::http::Tally;

use super::PAINT;

/// A table that grows.
pub(super) struct Table {
    is_live: bool,
    title: String,
    wanted: String,
    painted: Option<Instant>,
}

impl Table {
    /// Prints the head.
    pub(super) fn new() -> Self {
        let head = line("", "wanted", "requests", "v1", "v2", "codes", "p50", "p99");
        println!("{head}");
        Self {
            is_live: std::io::stdout().is_terminal(),
            title: String::new(),
            wanted: String::new(),
            painted: None,
        }
    }

    /// The next row is about this.
    pub(super) fn begin(&mut self, title: &str, wanted: &str) {
        title.clone_into(&mut self.title);
        wanted.clone_into(&mut self.wanted);
        self.painted = None;
    }

    /// Shows the row as it is so far, on a terminal and not too often.
    pub(super) fn paint(&mut self, tally: &Tally) {
        if self.is_live && self.painted.is_none_or(|painted| painted.elapsed() >= PAINT) {
            self.painted = Some(Instant::now());
            print!("\r\x1b[2K  {}", self.text(tally));
            flush();
        }
    }

    /// The row is done, and right.
    pub(super) fn row(&mut self, tally: &Tally) {
        let start = if self.is_live { "\r\x1b[2K" } else { "" };
        println!("{start}ok{}", self.text(tally));
    }

    /// The row is wrong; the error is printed by others.
    pub(super) fn failed(&mut self) {
        self.end();
        println!("no {:<26} {}", self.title, self.wanted);
    }

    /// Leaves the living row.
    pub(super) fn end(&mut self) {
        if self.is_live {
            print!("\r\x1b[2K");
            flush();
        }
    }

    fn text(&self, tally: &Tally) -> String {
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
        if tally.failed > 0 {
            let _ = write!(codes, "none×{}", tally.failed);
        }
        line(
            &self.title,
            &self.wanted,
            &tally.total().to_string(),
            &share("v1"),
            &share("v2"),
            codes.trim(),
            &milliseconds(tally.percentile(0.5)),
            &milliseconds(tally.percentile(0.99)),
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
    p50: &str,
    p99: &str,
) -> String {
    format!(" {title:<26} {wanted:<15} {count:>8} {v1:>8} {v2:>8}  {codes:<8} {p50:>8} {p99:>8}")
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A terminal that is gone needs no table.
fn flush() {
    drop(std::io::stdout().flush());
}
