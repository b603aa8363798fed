//! All findings of now: those of the source, which know their places, and those across objects, which are placed here. New ones are
//! told on standard error once.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::Finding;
use meltemi_sources::PlaceIndex;

use crate::file::source_line;
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
            terminal,
        }
    }

    /// The source's findings are now these.
    pub(crate) fn replace(&mut self, findings: Arc<[Finding]>, places: PlaceIndex) {
        self.differs |= !Arc::ptr_eq(&self.source, &findings);
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
        let now = self.all();
        if let Some(ledger) = ledger {
            ledger.found(&now);
        }
        for finding in now.difference(&self.told) {
            if self.terminal {
                eprint!("{}", finding.render(source_line(finding).as_deref()));
            } else {
                eprintln!("{finding}");
            }
        }
        self.told = now;
    }
}
