//! Asking now, and waiting until it is so or the time is up.
//!
//! Woken by what happens, not by a clock; the one timer beside the deadline keeps a look at thousands of streams from being repeated for
//! each of their acknowledgements.

use std::time::{Duration, Instant};

use super::answer::{InForce, State};
use super::ask::{Ask, Want};
use super::look::{self, Found};
use super::record::Record;
use super::{Propagation, content_of};

/// A waiter looks again only after this many times the time that its last look took, times the number of waiters: all of them together
/// take no more than a quarter of one core.
const SHARE: u32 = 4;

/// However long a look takes, it is repeated as often as this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// An answer, and when time alone may change it.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) answer: InForce,
    pub(super) until: Option<Instant>,
}

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wait for something to be in force already; ask again in a moment, or without a timeout")]
pub struct Busy;

impl Propagation {
    /// Answers about this replica: at once, or if a timeout is given, when it is so or the time is up.
    ///
    /// # Errors
    /// When too many wait.
    pub(super) async fn here(&self, ask: &Ask) -> Result<InForce, Busy> {
        let Some(timeout) = ask.timeout else { return Ok(self.evaluate(ask).answer) };
        let _permit = self.waiters.try_acquire().map_err(|_| Busy)?;
        let deadline = tokio::time::Instant::now() + timeout;
        let mut pulse = self.book.pulse();
        let mut drained = self.drained.clone();
        loop {
            pulse.mark_unchanged();
            let started = now();
            let Evaluated { answer, until } = self.evaluate(ask);
            let took = now().saturating_duration_since(started);
            if answer.met || tokio::time::Instant::now() >= deadline || *drained.borrow() {
                return Ok(answer);
            }
            let again = until.map_or(deadline, |until| deadline.min(until.into()));
            tokio::select! {
                _ = pulse.changed() => {}
                () = tokio::time::sleep_until(again) => {}
                _ = drained.wait_for(|drained| *drained) => return Ok(answer),
            }
            let waiters = super::WAITERS - self.waiters.available_permits();
            let pause = took * SHARE * u32::try_from(waiters).unwrap_or(u32::MAX);
            let rested = tokio::time::Instant::now() + pause.min(LONGEST_PAUSE);
            tokio::time::sleep_until(rested.min(deadline)).await;
        }
    }

    /// Answers about this replica, now.
    pub(super) fn evaluate(&self, ask: &Ask) -> Evaluated {
        let (record, withheld) = self.book.find(&ask.object);
        // After the record: views are handed out before their batch is noted.
        let streams = self.streams.all();
        let known = record.is_some();
        let nothing = Record::unknown();
        let record = record.unwrap_or(nothing);
        let found = self.indexes(|indexes| {
            if indexes.len() > 2 * streams.len() + 8 {
                look::forget(indexes, &streams);
            }
            look::look(&ask.object, &record, &withheld, &streams, indexes, now())
        });
        self.note_cost(&found);
        if known && found.have == found.of && !record.waits {
            self.book.settled(&ask.object, &record);
        }
        let (state, message) = self.verdict(ask, known.then_some(&record), &found);
        let met = match ask.want {
            Want::Deleted => {
                state == State::Deleted || (state == State::NotSeen && !known && found.have == found.of)
            }
            Want::Latest | Want::Generation(_) | Want::Content(_) => state == State::InForce,
        };
        let latest = record.latest.as_ref();
        let answer = InForce {
            object: (&ask.object).into(),
            met,
            state,
            generation: latest.and_then(|object| object.meta.generation),
            content: latest.map(|object| content_of(object)),
            published: record.published.0,
            have: found.have,
            of: found.of,
            starting: found.starting,
            lagging: found.lagging,
            message,
            replicas: Vec::new(),
        };
        Evaluated { answer, until: found.until }
    }

    fn verdict(&self, ask: &Ask, record: Option<&Record>, found: &Found) -> (State, String) {
        let object = &ask.object;
        if !*self.ready.borrow() {
            return (State::NotSeen, "this replica has not read its configuration yet".to_owned());
        }
        let Some(record) = record else {
            let hint = self.similar(object).map(|near| format!("; is {near} meant?")).unwrap_or_default();
            return (State::NotSeen, format!("{object} is not known{hint}"));
        };
        if let Some(reason) = &record.refused {
            let before = match record.latest.as_ref().map(|object| object.meta.generation) {
                Some(Some(generation)) => format!("; generation {generation} stays in force"),
                Some(None) => "; its last good state stays in force".to_owned(),
                None => String::new(),
            };
            return (State::Refused, format!("{object} cannot be used: {reason}{before}"));
        }
        let wants_deletion = ask.want == Want::Deleted;
        if record.deleted && !wants_deletion {
            return (State::Deleted, format!("{object} was deleted"));
        }
        if let Some(unseen) = unseen(ask, record) {
            return (State::NotSeen, unseen);
        }
        if record.waits {
            return (State::Waiting, format!("{object} was read, and waits for what it refers to"));
        }
        if record.aside {
            let why = "it is of another revision, or of a namespace that discoverySelectors leave out";
            return (State::NotSeen, format!("{object} does not count here: {why}"));
        }
        let Found { have, of, .. } = *found;
        match (have == of, record.deleted) {
            (true, true) => (State::Deleted, format!("{object} is gone from every proxy")),
            (true, false) if of == 0 => {
                (State::InForce, format!("{object} is in force: no connected proxy uses it (0 of 0)"))
            }
            (true, false) => (State::InForce, format!("{object} is in force in {have} of {of} proxies")),
            (false, true) => (State::Propagating, format!("{object} is gone from {have} of {of} proxies")),
            (false, false) => (State::Propagating, format!("{object} is in force in {have} of {of} proxies")),
        }
    }
}

/// What of the state that was asked for was not read yet.
fn unseen(ask: &Ask, record: &Record) -> Option<String> {
    let object = &ask.object;
    let latest = record.latest.as_ref()?;
    match (&ask.want, latest.meta.generation) {
        (Want::Generation(wanted), Some(seen)) if seen < *wanted => {
            Some(format!("generation {wanted} of {object} was not seen yet; the latest is {seen}"))
        }
        (Want::Generation(wanted), None) => Some(format!(
            "{object} has no metadata.generation, since it comes from a file; generation {wanted} cannot be waited for, \
             only its content"
        )),
        (Want::Content(wanted), generation) if content_of(latest) != *wanted => Some(match generation {
            None => format!("that state of {object} was not seen yet"),
            Some(seen) => format!(
                "that state of {object} was not seen; it comes from an API server, whose latest is generation {seen}: wait for a \
                 generation"
            ),
        }),
        _ => None,
    }
}

impl Record {
    /// Of an object that nobody has heard of: a proxy that has just come may still have had it elsewhere.
    fn unknown() -> Self {
        Self {
            latest: None,
            deleted: true,
            refused: None,
            waits: false,
            aside: false,
            published: meltemi_catalog::Generation(0),
            youngest: meltemi_catalog::LayerId::latest(),
            touched: std::sync::Arc::default(),
        }
    }
}

/// Time as the runtime tells it, as the streams' own.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
