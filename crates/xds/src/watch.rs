//! What one client asked for and was sent of one type: a subscription, and the exceptions to "it has what the view has".
//!
//! Knows: names, versions, nonces. Must not know: other types, the view.
//! Invariant: a name that is neither due, nor in a flight, nor aside, is at the client as the stream's position has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use meltemi_catalog::{Generation, Resource, ResourceName};
use meltemi_names::{TypeUrl, Version};

use crate::flight::{Entry, Flight};
use crate::nack::{Aside, Batches};
use crate::subscription::Subscription;

/// A name whose present state the client has not been sent.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// The first generation whose effect the client lacks for it.
    pub(crate) since: Generation,
    /// Asked for by name and not answered yet: answered even if it does not exist.
    pub(crate) asked: bool,
    /// The client has no version of it that would stay in force meanwhile.
    pub(crate) fresh: bool,
    /// Was in a response that was refused with others in it.
    pub(crate) halved: bool,
    /// Refused once already, alone; the next refusal is final.
    pub(crate) again: bool,
    /// A virtual host whose route configuration the client dropped: to be told as removed, so that it is not listed as held
    /// when the client comes back.
    pub(crate) dropped: bool,
    /// A virtual host that went with its route configuration: it stays while the listener drains, and nobody waits for it.
    pub(crate) drains: bool,
    /// The route configuration of a virtual host that was removed (the view no longer tells).
    pub(crate) parent: Option<ResourceName>,
}

impl Due {
    /// Changed, at the earliest in `since`.
    pub(crate) fn changed(since: Generation) -> Self {
        Self {
            since,
            asked: false,
            fresh: false,
            halved: false,
            again: false,
            dropped: false,
            drains: false,
            parent: None,
        }
    }

    /// Owed to a client that has nothing, from the first generation on.
    pub(crate) fn first() -> Self {
        Self { fresh: true, ..Self::changed(Generation(0)) }
    }

    /// Asked for by name; the client may have dropped what it had.
    pub(crate) fn asked(since: Generation) -> Self {
        Self {
            since,
            asked: true,
            fresh: true,
            halved: false,
            again: false,
            dropped: false,
            drains: false,
            parent: None,
        }
    }
}

/// How many overdue flights are remembered with their names; what is older is only a generation.
const REMEMBERED: usize = 8;

/// One type on one stream.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) type_url: TypeUrl,
    /// State of the world, and a response lists everything.
    pub(crate) complete: bool,
    pub(crate) subscription: Subscription,
    /// The first request has been answered.
    pub(crate) answered: bool,
    /// All that the subscription covers is due, and not listed yet (so that a stream that waits for its turn stays small).
    pub(crate) start: bool,
    pub(crate) due: BTreeMap<ResourceName, Due>,
    pub(crate) batches: Batches,
    pub(crate) aside: BTreeMap<ResourceName, Aside>,
    pub(crate) flights: VecDeque<Flight>,
    /// Effects of flights that are remembered no more.
    pub(crate) lost: Option<Generation>,
    /// The last flight ran out of time, and nothing was answered since: the client is stuck (a warming cluster).
    pub(crate) stuck: bool,
    /// State of the world, complete types: the list that the client accepted last.
    pub(crate) have: BTreeMap<ResourceName, Arc<Resource>>,
    /// Virtual hosts whose route configuration is not subscribed (yet), as the client says it holds them.
    pub(crate) known: BTreeMap<ResourceName, Version>,
    pub(crate) last_nonce: u64,
    pub(crate) acked_nonce: u64,
    pub(crate) acked: Option<Generation>,
    pub(crate) sent_at: Option<Instant>,
    pub(crate) acked_at: Option<Instant>,
}

/// What a nonce refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// A flight, by position.
    Flight(usize),
    /// The last response, answered before.
    Before,
    /// None of this stream, or superseded.
    Stale,
}

impl Watch {
    pub(crate) fn new(type_url: TypeUrl, complete: bool) -> Self {
        Self {
            type_url,
            complete,
            subscription: Subscription::default(),
            answered: false,
            start: false,
            due: BTreeMap::new(),
            batches: Batches::default(),
            aside: BTreeMap::new(),
            flights: VecDeque::new(),
            lost: None,
            stuck: false,
            have: BTreeMap::new(),
            known: BTreeMap::new(),
            last_nonce: 0,
            acked_nonce: 0,
            acked: None,
            sent_at: None,
            acked_at: None,
        }
    }

    /// Marks a name; what it was marked with before stays true.
    pub(crate) fn mark(&mut self, name: ResourceName, due: Due) {
        match self.due.get_mut(name.as_str()) {
            Some(present) => {
                present.since = present.since.min(due.since);
                present.asked |= due.asked;
                // Known not to have it, unless something says that it may.
                present.fresh &= due.fresh;
                present.halved |= due.halved;
                present.dropped = due.dropped;
                present.drains = due.drains;
                if due.parent.is_some() {
                    present.parent = due.parent;
                }
            }
            None => {
                self.due.insert(name, due);
            }
        }
    }

    /// Whether that name was sent and may still be on its way, or is to be sent.
    pub(crate) fn unsettled(&self, name: &str) -> bool {
        self.start || self.due.contains_key(name) || self.open().any(|flight| flight.contains(name))
    }

    /// Flights that are still waited for.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().filter(|flight| !flight.overdue)
    }

    /// Nothing is due, waited for or refused.
    pub(crate) fn quiet(&self) -> bool {
        !self.start && self.due.is_empty() && self.aside.is_empty() && self.open().next().is_none()
    }

    /// All that the client was to have of this type it has acknowledged, however long that took.
    pub(crate) fn is_settled(&self) -> bool {
        let waits = |due: &Due| !due.drains;
        let owes = self.start || self.due.values().any(waits) || !self.flights.is_empty();
        !owes && self.aside.is_empty() && self.lost.is_none()
    }

    /// The first generation whose effects are not all in force here; none if all are. With `patient`, flights whose wait
    /// has ended count too: they are not in force, but nobody waits for them.
    pub(crate) fn unsettled_since(&self, patient: bool) -> Option<Generation> {
        if self.start {
            return Some(Generation(0));
        }
        let due = self.due.values().filter(|due| !due.drains).map(|due| due.since);
        let aside = self.aside.values().map(|aside| aside.since);
        let flights =
            self.flights.iter().filter(|flight| patient || !flight.overdue).filter_map(|flight| flight.since);
        let lost = if patient { self.lost } else { None };
        due.chain(aside).chain(flights).chain(lost).min()
    }

    /// What `nonce` answers.
    pub(crate) fn answered_by(&self, nonce: u64) -> Answered {
        match self.flights.iter().position(|flight| flight.nonce == nonce) {
            Some(position) => Answered::Flight(position),
            None if nonce == self.last_nonce => Answered::Before,
            None => Answered::Stale,
        }
    }

    /// Takes the flight at `position`; those before it were answered by being passed over, since a client answers in order.
    pub(crate) fn take(&mut self, position: usize) -> Option<Flight> {
        let mut passed: Vec<Flight> = self.flights.drain(..=position).collect();
        let flight = passed.pop();
        for flight in &passed {
            self.apply(flight);
        }
        self.lost = None;
        self.stuck = false;
        flight
    }

    /// State of the world, complete types: the client's list is now the one of that flight.
    pub(crate) fn apply(&mut self, flight: &Flight) {
        if self.complete {
            list_changes(&mut self.have, flight.carried.listed());
        }
    }

    /// State of the world, complete types: the list that the client has when it has accepted all that is on its way.
    pub(crate) fn listing(&self, entries: &[Entry]) -> BTreeMap<ResourceName, Arc<Resource>> {
        let mut list = self.have.clone();
        for flight in &self.flights {
            list_changes(&mut list, flight.carried.listed());
        }
        list_changes(&mut list, entries);
        list
    }

    /// Notes a response.
    pub(crate) fn depart(&mut self, flight: Flight) {
        self.last_nonce = flight.nonce;
        self.sent_at = Some(flight.sent);
        while self.flights.len() >= REMEMBERED && self.flights.front().is_some_and(|oldest| oldest.overdue) {
            if let Some(oldest) = self.flights.pop_front() {
                self.apply(&oldest);
                self.lost = [self.lost, oldest.since].into_iter().flatten().min();
            }
        }
        self.flights.push_back(flight);
    }
}

fn list_changes(list: &mut BTreeMap<ResourceName, Arc<Resource>>, entries: &[Entry]) {
    for entry in entries {
        match &entry.listed {
            Some(resource) => {
                list.insert(entry.name.clone(), Arc::clone(resource));
            }
            None => {
                list.remove(&entry.name);
            }
        }
    }
}
