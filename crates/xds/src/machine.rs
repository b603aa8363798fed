//! One stream's life as events: requests and newer views come in, the next message is asked for.
//!
//! Knows: the protocol's two spellings, and what a view says of its resources. Must not know: sockets, tasks, the clock
//! (time enters as an argument), what a resource contains. It keeps no view: where the stream stands is a [`Position`],
//! and what differs from that is kept by name. So a client that lags keeps nothing old alive, and skips what it missed.
//! Start at [`Machine::receive`] and [`Machine::next`]; `order.rs` says what waits, `nack.rs` what follows a refusal.
//! Invariant: what the client has is the view at the stream's position, except the names that a [`Watch`] lists.

mod compose;
mod delta;
mod sotw;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use meltemi_catalog::{Change, Generation, Position, ResourceName, View};
use meltemi_names::{TypeUrl, Version};

use crate::form::Form;
use crate::limits::Limits;
use crate::metrics::Tally;
use crate::missing::missing;
use crate::nack::Outcome;
use crate::request::{ErrorDetail, Names, Request, Subject};
use crate::response::{Assembly, Response};
use crate::status::{Refusal, StreamStatus, TypeStatus};
use crate::watch::{Answered, Due, Watch};

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
    /// EDS was asked for and CDS was not: Envoy was cut while a cluster warmed, and will ask for CDS when it is warm.
    pub(crate) clusters_expected: bool,
    /// The client holds something from another stream.
    pub(crate) returning: bool,
    nonce: u64,
    admitted: bool,
    tally: Tally,
    refusals: Vec<Refusal>,
    errors: BTreeMap<TypeUrl, Refusal>,
}

/// A type that is not served.
#[derive(Debug, Default)]
struct Unknown {
    answer: bool,
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
            clusters_expected: false,
            returning: false,
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
                self.delta(type_url, &nonce, error, subscribe, unsubscribe, &versions, view, now);
            }
            Names::Sotw(names) => self.sotw(type_url, &nonce, error, names, view, now),
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
        self.advance();
        Ok(Next::Idle { until: self.wait_ends(view, now) })
    }

    /// The permit that [`Next::Admit`] asked for was given.
    pub fn admit(&mut self) {
        self.admitted = true;
    }

    /// The ID of the client's node, once known.
    pub fn node_id(&self) -> Option<&str> {
        self.node_id.as_deref()
    }

    /// The last generation of the view whose effects the client has acknowledged, all of them.
    pub fn watermark(&self) -> Generation {
        self.watermark
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
                due: if watch.start { view.count(watch.type_url) } else { watch.due.len() },
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
    fn since(&self) -> Generation {
        Generation(self.covered_generation.0 + 1)
    }

    /// Notes what changed between where the stream stands and `view`.
    fn absorb(&mut self, view: &View) -> Result<(), Close> {
        let position = view.position();
        let Some(covered) = self.covered.replace(position) else {
            self.covered_generation = view.generation();
            return Ok(());
        };
        if self.covered.as_ref() == Some(&covered) {
            return Ok(());
        }
        if !view.continues(&covered) {
            return self.moved(view);
        }
        let since = self.since();
        let mut orphans = BTreeSet::new();
        for type_url in TypeUrl::ALL {
            if self.watch(type_url).is_none_or(|watch| watch.start) {
                continue;
            }
            for (_, change) in view.changes_since(type_url, &covered) {
                self.note(type_url, change, since, view, &mut orphans);
            }
        }
        self.covered_generation = self.covered_generation.max(view.generation());
        Ok(())
    }

    /// One change of the view.
    fn note(
        &mut self,
        type_url: TypeUrl,
        change: &Change,
        since: Generation,
        view: &View,
        orphans: &mut BTreeSet<ResourceName>,
    ) {
        let resource = change.resource();
        let name = resource.name();
        let of_subscribed_parent = type_url != TypeUrl::VirtualHost
            || resource.parent().is_none_or(|parent| {
                self.watch(TypeUrl::Route).is_some_and(|routes| routes.subscription.covers(parent.as_str()))
            });
        let Some(watch) = self.watch_mut(type_url) else { return };
        let wanted =
            watch.subscription.named(name.as_str()) || (watch.subscription.wildcard && of_subscribed_parent);
        match change {
            Change::Put(_) => {
                watch.subscription.appeared(name.as_str());
                if !wanted {
                    return;
                }
                let same = watch.aside.get(name).is_some_and(|aside| aside.version == resource.version());
                if !same {
                    let aside = watch.aside.remove(name);
                    let since = aside.map_or(since, |aside| aside.since.min(since));
                    watch.mark(name.clone(), Due::changed(since));
                }
            }
            Change::Removed(_) => {
                watch.subscription.vanished(name);
                if type_url == TypeUrl::Cluster {
                    orphans.extend(compose::endpoints_of(resource.needs()));
                }
                watch.aside.remove(name);
                if !wanted {
                    return;
                }
                // An assignment that goes together with its cluster: nothing to tell, the client will unsubscribe.
                // Unless it was asked for, or its cluster was just sent: a cluster that warms must not do so for ever.
                if type_url == TypeUrl::Endpoint && orphans.contains(name) {
                    if watch.due.get(name).is_some_and(|due| !due.asked) {
                        watch.due.remove(name);
                    }
                    return;
                }
                let parent = resource.parent().cloned();
                let drains = parent
                    .as_ref()
                    .is_some_and(|parent| view.find(TypeUrl::Route, parent.as_str()).is_none());
                watch.mark(name.clone(), Due { parent, drains, ..Due::changed(since) });
            }
        }
    }

    /// The view is not a later state of the one that the stream stands at. State of the world knows what it sent, and
    /// named subscriptions can be answered anew; what a delta client holds by wildcard only it can say.
    fn moved(&mut self, view: &View) -> Result<(), Close> {
        let since = self.since();
        let forgotten = self.form == Form::Delta
            && self.watches.iter().flatten().any(|watch| {
                watch.subscription.wildcard && !watch.start && (watch.answered || !watch.known.is_empty())
            });
        if forgotten {
            return Err(Close::new(
                CloseCode::Unavailable,
                "this proxy is served from another view now, or was too far behind; reconnect with \
                 initial_resource_versions, what is in force stays"
                    .to_owned(),
            ));
        }
        for watch in self.watches.iter_mut().flatten() {
            watch.aside.clear();
            watch.batches.clear();
            if watch.start {
                continue;
            }
            watch.subscription.moved(watch.type_url, view);
            if watch.subscription.wildcard || watch.subscription.is_all() {
                for live in view.all(watch.type_url) {
                    let name = live.resource.name();
                    let same =
                        watch.have.get(name).is_some_and(|have| have.version() == live.resource.version());
                    if !same {
                        watch.mark(name.clone(), Due::changed(since));
                    }
                }
            }
            let named: Vec<ResourceName> = watch.subscription.names().cloned().collect();
            let held: Vec<ResourceName> = watch
                .have
                .keys()
                .filter(|name| view.find(watch.type_url, name.as_str()).is_none())
                .cloned()
                .collect();
            for name in named.into_iter().chain(held) {
                watch.mark(name, Due::changed(since));
            }
        }
        self.covered_generation = view.generation();
        Ok(())
    }

    /// Ends the waits whose time is up.
    fn end_waits(&mut self, now: Instant) {
        let limit = self.limits.ack_wait;
        let endpoints_settled = self
            .watch(TypeUrl::Endpoint)
            .is_none_or(|watch| watch.due.is_empty() && watch.flights.is_empty());
        for watch in self.watches.iter_mut().flatten() {
            for flight in watch.flights.iter_mut().filter(|flight| !flight.overdue) {
                if now >= flight.sent + limit {
                    flight.overdue = true;
                    watch.stuck = true;
                    self.tally.of(watch.type_url).waits_ended += 1;
                } else if watch.type_url == TypeUrl::Cluster && watch.stuck && endpoints_settled {
                    // Envoy acknowledges no CDS while any cluster warms. This client is known to wait for a stuck one; it
                    // has the assignments of the new ones, and must not pay the whole wait again at each step.
                    flight.overdue = true;
                }
            }
        }
    }

    /// When the next wait ends, if something waits for it.
    fn wait_ends(&self, view: &View, now: Instant) -> Option<Instant> {
        let waiting = self.watches.iter().flatten().any(|watch| watch.start || !watch.due.is_empty());
        if !waiting {
            return None;
        }
        let flights = self
            .watches
            .iter()
            .flatten()
            .flat_map(|watch| watch.open())
            .map(|flight| flight.sent + self.limits.ack_wait);
        let early = self.early_until(view).filter(|until| *until > now);
        let expected = self.clusters_expected_until().filter(|until| *until > now);
        flights.chain(early).chain(expected).min()
    }

    /// Virtual hosts of route configurations that were subscribed since: sent unasked, since Envoy asks for virtual hosts
    /// once per stream.
    fn look_through_virtual_hosts(&mut self, view: &View) {
        if self.new_parents.is_empty() {
            return;
        }
        let parents = std::mem::take(&mut self.new_parents);
        let since = self.since();
        let Some(watch) = self.watch_mut(TypeUrl::VirtualHost) else { return };
        if !watch.subscription.wildcard || watch.start {
            return;
        }
        for live in view.all(TypeUrl::VirtualHost) {
            let resource = &live.resource;
            if !resource.parent().is_some_and(|parent| parents.contains(parent)) {
                continue;
            }
            let known = watch.known.remove(resource.name());
            if known != Some(resource.version()) {
                let fresh = known.is_none();
                watch.mark(resource.name().clone(), Due { fresh, ..Due::changed(since) });
            }
        }
        // What a returning client said counts for the routes that it asks for at once; later it may have dropped them.
        watch.known.clear();
    }

    /// Advances the watermark.
    fn advance(&mut self) {
        let unsettled = self.watches.iter().flatten().filter_map(|watch| watch.unsettled_since(true)).min();
        let reached = match unsettled {
            Some(since) => Generation(since.0.saturating_sub(1)).min(self.covered_generation),
            None => self.covered_generation,
        };
        self.watermark = self.watermark.max(reached);
    }

    /// Takes the answer to an earlier response; false if the nonce is none of this stream's last.
    fn answered(
        &mut self,
        type_url: TypeUrl,
        nonce: &str,
        error: Option<ErrorDetail>,
        view: &View,
        now: Instant,
    ) -> Answered {
        let nonce = self.nonce_of(nonce);
        let Some(watch) = self.watches[type_url as usize].as_deref_mut() else { return Answered::Stale };
        let answered = nonce.map_or(Answered::Stale, |nonce| watch.answered_by(nonce));
        match answered {
            Answered::Before => {}
            Answered::Stale => self.tally.of(type_url).stale += 1,
            Answered::Flight(position) => {
                let Some(flight) = watch.take(position) else { return Answered::Stale };
                match error {
                    None => {
                        watch.apply(&flight);
                        self.tally.of(type_url).acks += 1;
                        watch.acked = Some(flight.generation);
                        watch.acked_nonce = flight.nonce;
                        watch.acked_at = Some(now);
                        if flight.entries.iter().any(|entry| entry.version.is_some()) {
                            watch.accepted();
                        }
                        watch.try_again();
                        if watch.aside.is_empty() && watch.batches.is_empty() {
                            self.errors.remove(&type_url);
                        }
                    }
                    Some(error) => self.refused(type_url, flight.entries, error, view, now),
                }
            }
        }
        answered
    }

    fn refused(
        &mut self,
        type_url: TypeUrl,
        entries: Vec<crate::watch::Entry>,
        error: ErrorDetail,
        view: &View,
        now: Instant,
    ) {
        self.tally.of(type_url).nacks += 1;
        let Some(watch) = self.watches[type_url as usize].as_deref_mut() else { return };
        let refused: Vec<(ResourceName, Version)> =
            entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.version?))).collect();
        let outcome = watch.refuse(entries, |name| present_version(type_url, name, view));
        watch.try_again();
        let origins = refused
            .iter()
            .take(Refusal::NAMES)
            .filter_map(|(name, version)| {
                view.find(type_url, name.as_str()).filter(|live| live.resource.version() == *version)
            })
            .flat_map(|live| live.resource.origin().iter().cloned())
            .collect();
        let refusal = Refusal {
            type_url,
            alone: outcome == Outcome::Alone,
            count: refused.len(),
            resources: refused.into_iter().take(Refusal::NAMES).collect(),
            origins,
            code: error.code,
            message: error.message,
            at: now,
        };
        self.errors.insert(type_url, refusal.clone());
        self.refusals.push(refusal);
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

    /// A type that is not served gets an empty answer, not an error: a newer client asks for more than we know.
    fn unknown(&mut self, type_url: String, nonce: &str) -> Result<(), Close> {
        let types = self.unknown.len() + self.watches.iter().flatten().count();
        if !self.unknown.contains_key(&type_url) && types >= self.limits.types {
            return Err(Close::new(
                CloseCode::ResourceExhausted,
                format!("more than {} resource types on one stream", self.limits.types),
            ));
        }
        self.tally.unknown_requests += 1;
        let is_new = !self.unknown.contains_key(&type_url);
        let unknown = self.unknown.entry(type_url).or_default();
        unknown.answer |= is_new || nonce.is_empty();
        Ok(())
    }

    fn answer_unknown(&mut self, view: &View) -> Option<Response> {
        let type_url =
            self.unknown.iter().find(|(_, unknown)| unknown.answer).map(|(text, _)| text.clone())?;
        self.unknown.get_mut(&type_url)?.answer = false;
        self.nonce += 1;
        let nonce = self.nonce_text(self.nonce);
        let assembly = Assembly::new(self.form, 0);
        Some(assembly.finish(None, &type_url, &view.generation().0.to_string(), nonce, false))
    }

    fn nonce_text(&self, nonce: u64) -> String {
        format!("{:x}-{nonce}", self.salt)
    }

    fn nonce_of(&self, text: &str) -> Option<u64> {
        let (salt, nonce) = text.split_once('-')?;
        (u64::from_str_radix(salt, 16).ok()? == self.salt).then(|| nonce.parse().ok())?
    }
}

/// The version of what a request for that name would be answered with.
fn present_version(type_url: TypeUrl, name: &ResourceName, view: &View) -> Option<Version> {
    match view.find(type_url, name.as_str()) {
        Some(live) => Some(live.resource.version()),
        None => missing(type_url, name).map(|resource| resource.version()),
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
