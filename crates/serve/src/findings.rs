//! All findings of now: those of the source, which know their places, and those across objects, which are placed here. New ones are
//! told on standard error once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use meltemi_api::Finding;
use meltemi_sources::PlaceIndex;

use crate::file::source_line;
use crate::pace::Allowance;
use crate::status::Ledger;

/// The findings in force, and which of them were told.
#[derive(Debug)]
pub(crate) struct Findings {
    source: Arc<[Finding]>,
    places: PlaceIndex,
    semantic: Vec<Finding>,
    told: BTreeSet<Finding>,
    /// Something differs from what was told.
    differs: bool,
    pace: Allowance,
    terminal: bool,
}

impl Findings {
    /// For a terminal, with the source line; else a line each.
    pub(crate) fn new(terminal: bool) -> Self {
        Self {
            source: Arc::default(),
            places: PlaceIndex::default(),
            semantic: Vec::new(),
            told: BTreeSet::new(),
            differs: false,
            pace: Allowance::new(RATE, BURST, now()),
            terminal,
        }
    }

    /// The source's findings are now these.
    pub(crate) fn replace(&mut self, findings: Arc<[Finding]>, places: PlaceIndex) {
        // What was found across objects stands where they stand now.
        let moved = !self.semantic.is_empty() && !self.places.is_same(&places);
        self.differs |= moved || !Arc::ptr_eq(&self.source, &findings);
        self.source = findings;
        self.places = places;
    }

    /// The findings across objects are now these.
    pub(crate) fn semantic(&mut self, findings: Vec<Finding>) {
        self.semantic = findings;
        self.differs = true;
    }

    /// All of them, placed, sorted.
    pub(crate) fn all(&self) -> BTreeSet<Finding> {
        let placed = self.semantic.iter().cloned().map(|finding| self.places.locate(finding));
        self.source.iter().cloned().chain(placed).collect()
    }

    /// Tells those that are new, and notes all of them for who writes status. One that is gone is told again when it comes back.
    #[allow(clippy::print_stderr, reason = "findings are promised on standard error, one a line")]
    pub(crate) fn say(&mut self, ledger: Option<&Ledger>) {
        if !std::mem::take(&mut self.differs) {
            return;
        }
        let all = self.all();
        if let Some(ledger) = ledger {
            ledger.found(&all);
        }
        let mut untold = 0;
        for finding in all.difference(&self.told) {
            if !self.pace.take(now()) {
                untold += 1;
            } else if self.terminal {
                eprint!("{}", finding.render(source_line(finding).as_deref()));
            } else {
                eprintln!("{finding}");
            }
        }
        if untold > 0 {
            tracing::warn!(
                untold,
                "so many findings that not all are told here; `meltemi validate` tells those of a folder, and in a cluster each object's \
                 status has its own"
            );
        }
        self.told = all;
    }
}

/// How many findings may be told at once: all of a folder that was never cleaned up.
const BURST: f64 = 1_000.0;

/// Then per second, what a person can follow: while thousands of objects arrive one after the other, each may miss another one for a moment,
/// and a log of that helps nobody.
const RATE: f64 = 20.0;

fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use meltemi_api::Finding;
    use meltemi_sources::PlaceIndex;

    use super::{Allowance, BURST, Findings, RATE};

    #[test]
    fn a_batch_that_moves_nothing_gathers_no_findings_again() {
        let mut findings = Findings::new(false);
        let (source, places) = (Arc::from([]), PlaceIndex::default());
        findings.semantic(vec![Finding::info("a-code", "across objects")]);
        findings.replace(Arc::clone(&source), places.clone());
        findings.say(None);
        findings.replace(Arc::clone(&source), places.clone());
        assert!(!findings.differs);
        findings.replace(Arc::from([Finding::info("another", "of the source")]), places);
        assert!(findings.differs);
    }

    #[test]
    fn many_findings_are_told_and_not_without_end() {
        let start = Instant::now();
        let mut pace = Allowance::new(RATE, BURST, start);
        assert_eq!((0..5_000).filter(|_| pace.take(start)).count(), 1_000);
        assert_eq!((0..5_000).filter(|_| pace.take(start + Duration::from_secs(2))).count(), 40);
    }
}
