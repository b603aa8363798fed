//! One stream's life as events: requests and newer views come in, the next message is asked for.
//!
//! Knows: the protocol's two spellings, and what a view says of its resources. Must not know: sockets, tasks, the clock
//! (time enters as an argument), what a resource contains. It keeps no view: where the stream stands is a [`Position`],
//! and what differs from that is kept by name. So a client that lags keeps nothing old alive, and skips what it missed.
//! Start at [`Machine::receive`] and [`Machine::next`]; `order.rs` says what waits, `nack.rs` what follows a refusal.
//! Invariant: what the client has is the view at the stream's position, except the names that a watch (`watch.rs`) lists.

mod absorb;
mod answer;
mod compose;
mod delta;
mod progress;
mod sotw;
pub(crate) mod standing;
mod unknown;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use meltemi_catalog::{Form, Generation, Position, ResourceName, View};
use meltemi_names::TypeUrl;

use self::answer::present_version;
use self::progress::Expected;
use self::unknown::Unknown;
use crate::limits::Limits;
use crate::metrics::Tally;
use crate::request::{Names, Request, Subject};
use crate::response::Response;
use crate::status::{Refusal, StreamStatus, TypeStatus};
use crate::watch::Watch;

/// Why a stream must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Close {
    /// Who must act.
    pub code: CloseCode,
    /// What was found, for the client's log.
    pub message: String,
}

impl Close {
    pub(crate) fn new(code: CloseCode, message: String) -> Self {
        Self { code, message }
    }
}

/// The gRPC code that a stream ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// The client sent what no client should.
    InvalidArgument,
    /// The client exceeded a bound.
    ResourceExhausted,
    /// Nothing is wrong; the client is to come back with what it has.
    Unavailable,
}

/// What the stream does next.
#[derive(Debug)]
pub enum Next {
    /// Send this.
    Send(Response),
    /// A large first answer: ask again after [`Machine::admit`], when there is room for about so many bytes.
    Admit {
        /// Bytes that the answer will have, about.
        bytes: usize,
        /// The client has had a first answer of another type.
        has_begun: bool,
    },
    /// Nothing, until a request, a newer view, or that time.
    Idle {
        /// When a wait ends; none if nothing waits.
        until: Option<Instant>,
    },
}

/// The state of one stream.
#[derive(Debug)]
pub struct Machine {
    pub(crate) form: Form,
    pub(crate) limits: Limits,
    /// Distinguishes this stream's nonces from those of any other stream that the client may still have in hand.
    salt: u64,
    node_id: Option<String>,
    pub(crate) born: Option<Instant>,
    covered: Option<Position>,
    /// The generation of the view at `covered`.
    covered_generation: Generation,
    watermark: Generation,
    watches: [Option<Box<Watch>>; TypeUrl::ALL.len()],
    /// Types that are not served: answered once, with nothing.
    unknown: BTreeMap<String, Unknown>,
    /// Route configurations subscribed since the virtual hosts were last looked through.
    new_parents: BTreeSet<ResourceName>,
    /// Assignments of clusters that were sent before EDS was asked for: their clusters warm on them.
    touched: BTreeSet<ResourceName>,
    /// All clusters were sent before EDS was asked for.
    all_touched: bool,
    /// EDS was asked for and CDS was not: Envoy was cut while a cluster warmed, and will ask for CDS when it is warm.
    pub(crate) clusters_expected: bool,
    /// The client holds something from another stream.
    pub(crate) returning: bool,
    /// It was given all of its first answers, and has answered them.
    begun: bool,
    /// There was nothing to send after the last request.
    rested: bool,
    /// What it will ask for next.
    expected: Expected,
    nonce: u64,
    admitted: bool,
    tally: Tally,
    refusals: Vec<Refusal>,
    errors: BTreeMap<TypeUrl, Refusal>,
}

impl Machine {
    /// A stream that has heard nothing yet. `salt` makes its nonces its own.
    pub fn new(form: Form, limits: Limits, salt: u64) -> Self {
        Self {
            form,
            limits,
            salt,
            node_id: None,
            born: None,
            covered: None,
            covered_generation: Generation(0),
            watermark: Generation(0),
            watches: Default::default(),
            unknown: BTreeMap::new(),
            new_parents: BTreeSet::new(),
            touched: BTreeSet::new(),
            all_touched: false,
            clusters_expected: false,
            returning: false,
            begun: false,
            rested: false,
            expected: Expected::default(),
            nonce: 0,
            admitted: false,
            tally: Tally::default(),
            refusals: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Takes a request; sends nothing. `view` is what the client may have now.
    ///
    /// # Errors
    /// When the stream must end; it must not be used afterwards.
    pub fn receive(&mut self, request: Request, view: &View, now: Instant) -> Result<(), Close> {
        let Request { node, subject, nonce, error, names } = request;
        self.born.get_or_insert(now);
        self.rested = false;
        // Istio's agent may open with a health report, which is not answered and is no first request.
        if subject == Subject::Health {
            return Ok(());
        }
        if self.node_id.is_none() {
            match node {
                Some(node) if !node.id.is_empty() => self.node_id = Some(node.id),
                _ => {
                    let message = "missing node information".to_owned();
                    return Err(Close::new(CloseCode::InvalidArgument, message));
                }
            }
        }
        self.absorb(view)?;
        let type_url = match subject {
            // Virtual hosts of their own exist only in delta (Envoy's VHDS documentation).
            Subject::Known(TypeUrl::VirtualHost) if self.form == Form::Sotw => {
                return self.unknown(TypeUrl::VirtualHost.as_str().to_owned(), &nonce);
            }
            Subject::Known(type_url) => type_url,
            Subject::Unknown(text) => return self.unknown(text, &nonce),
            Subject::Health => return Ok(()),
        };
        self.tally.of(type_url).requests += 1;
        if type_url == TypeUrl::Endpoint && self.watch(TypeUrl::Cluster).is_none() {
            self.clusters_expected = true;
        }
        match names {
            Names::Delta { subscribe, unsubscribe, versions } => {
                self.delta(type_url, &nonce, error, &subscribe, &unsubscribe, &versions, view, now);
            }
            Names::Sotw(names) => self.sotw(type_url, &nonce, error, &names, view, now),
        }
        self.bound(type_url)
    }

    /// What to do next. Ask again after each event, and after each [`Next::Send`].
    ///
    /// # Errors
    /// As [`Machine::receive`].
    pub fn next(&mut self, view: &View, now: Instant) -> Result<Next, Close> {
        self.absorb(view)?;
        self.end_waits(now);
        self.look_through_virtual_hosts(view);
        for type_url in TypeUrl::ALL {
            if let Some(next) = self.compose(type_url, view, now) {
                return Ok(next);
            }
        }
        if let Some(response) = self.answer_unknown(view) {
            return Ok(Next::Send(response));
        }
        self.advance(now);
        self.begin(view, now);
        Ok(Next::Idle { until: self.wait_ends(view, now) })
    }

    /// The permit that [`Next::Admit`] asked for was given.
    pub fn admit(&mut self) {
        self.admitted = true;
    }

    /// Asks for a permit.
    fn ask(&self, bytes: usize) -> Next {
        let has_begun = self.watches.iter().flatten().any(|watch| watch.answered);
        Next::Admit { bytes, has_begun }
    }

    /// The ID of the client's node, once known.
    pub fn node_id(&self) -> Option<&str> {
        self.node_id.as_deref()
    }

    /// The last generation of the view whose effects the client has acknowledged, all of them.
    pub fn watermark(&self) -> Generation {
        self.watermark
    }

    /// Whether the client has that name as the stream's view says, and has acknowledged it.
    pub(crate) fn has_settled(&self, type_url: TypeUrl, name: &ResourceName) -> bool {
        self.watch(type_url).is_some_and(|watch| {
            watch.answered
                && watch.flights.is_empty()
                && !watch.unsettled(name.as_str())
                && !watch.aside.contains_key(name)
                && (watch.subscription.wildcard || watch.subscription.covers(name.as_str()))
        })
    }

    /// Refusals since this was last asked.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// What was counted since this was last asked.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The state of the stream as people want to see it.
    pub fn status(&self, view: &View) -> StreamStatus {
        let types = self
            .watches
            .iter()
            .flatten()
            .map(|watch| TypeStatus {
                type_url: watch.type_url,
                wildcard: watch.subscription.wildcard,
                subscribed: watch.subscription.count(watch.type_url, view),
                sent_nonce: (watch.last_nonce > 0).then(|| self.nonce_text(watch.last_nonce)),
                acked_nonce: (watch.acked_nonce > 0).then(|| self.nonce_text(watch.acked_nonce)),
                due: if watch.start {
                    view.count(watch.type_url)
                } else {
                    watch.due.values().filter(|due| !due.drains).count()
                },
                unanswered: watch.flights.len(),
                aside: watch.aside.keys().cloned().collect(),
                sent_at: watch.sent_at,
                acked: watch.acked,
                acked_at: watch.acked_at,
                error: self.errors.get(&watch.type_url).cloned(),
            })
            .collect();
        StreamStatus {
            node_id: self.node_id.clone().unwrap_or_default(),
            form: self.form,
            since: self.born,
            served: self.covered_generation,
            watermark: self.watermark,
            types,
        }
    }

    pub(crate) fn watch(&self, type_url: TypeUrl) -> Option<&Watch> {
        self.watches[type_url as usize].as_deref()
    }

    fn watch_mut(&mut self, type_url: TypeUrl) -> Option<&mut Watch> {
        self.watches[type_url as usize].as_deref_mut()
    }

    /// The generation that a name marked now lacks at the earliest.
    pub(crate) fn since(&self) -> Generation {
        Generation(self.covered_generation.0 + 1)
    }

    /// Holds the bounds on what one client may make the stream keep.
    fn bound(&self, type_url: TypeUrl) -> Result<(), Close> {
        let kept = self.watch(type_url).map_or(0, |watch| watch.subscription.kept());
        if kept > self.limits.names {
            return Err(Close::new(
                CloseCode::ResourceExhausted,
                format!("{kept} {type_url} names in one subscription; the bound is {}", self.limits.names),
            ));
        }
        Ok(())
    }

    fn nonce_text(&self, nonce: u64) -> String {
        format!("{:x}-{nonce}", self.salt)
    }

    fn nonce_of(&self, text: &str) -> Option<u64> {
        let (salt, nonce) = text.split_once('-')?;
        (u64::from_str_radix(salt, 16).ok()? == self.salt).then(|| nonce.parse().ok())?
    }
}

/// Types whose first request without names means all of them (xDS protocol, "legacy wildcard"; Istio adds its own types).
/// The others are asked for by name only.
fn legacy_wildcard(type_url: TypeUrl) -> bool {
    match type_url {
        TypeUrl::Cluster | TypeUrl::Listener | TypeUrl::VirtualHost | TypeUrl::NameTable => true,
        TypeUrl::Endpoint | TypeUrl::Route | TypeUrl::Secret | TypeUrl::ExtensionConfig => false,
    }
}

#[cfg(test)]
mod tests;
