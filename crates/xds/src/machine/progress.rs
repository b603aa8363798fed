//! Waits and what ends them, and the watermark: how far all that was sent is in force.

use std::collections::BTreeMap;
use std::time::Instant;

use meltemi_catalog::{Form, Generation, ResourceName, View};
use meltemi_names::TypeUrl;

use super::Machine;
use crate::flight::Flight;

/// What a client will ask for next, having accepted what names it. Until it has, that is not in force, though nothing is due:
/// a new listener takes no requests before its routes are there.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Route configurations of accepted listeners.
    routes: BTreeMap<ResourceName, Expectation>,
    /// Virtual hosts, after the first route configuration.
    virtual_hosts: Option<Expectation>,
}

#[derive(Clone, Copy, Debug)]
struct Expectation {
    since: Generation,
    /// Not every client asks; it is waited for no longer than for an answer.
    until: Instant,
}

impl Machine {
    /// Notes what the client will ask for, now that it has accepted `flight`.
    pub(super) fn expect_requests(&mut self, type_url: TypeUrl, flight: &Flight, view: &View, now: Instant) {
        let until = now + self.limits.ack_wait;
        if !matches!(type_url, TypeUrl::Listener | TypeUrl::Route) {
            return;
        }
        for (name, since) in flight.carried.resources() {
            let expectation = Expectation { since, until };
            match type_url {
                TypeUrl::Listener => {
                    let Some(live) = view.find(type_url, name.as_str()) else { continue };
                    let routes = live.resource.needs().iter().filter(|need| need.type_url == TypeUrl::Route);
                    for need in routes {
                        self.expected.routes.insert(need.name.clone(), expectation);
                    }
                }
                TypeUrl::Route if self.form == Form::Delta && view.count(TypeUrl::VirtualHost) > 0 => {
                    self.expected.virtual_hosts.get_or_insert(expectation);
                }
                _ => {}
            }
        }
    }

    /// Forgets what was asked for meanwhile, and what was waited for long enough.
    fn end_expectations(&mut self, now: Instant) {
        let mut expected = std::mem::take(&mut self.expected);
        let routes = self.watch(TypeUrl::Route);
        expected.routes.retain(|name, expectation| {
            now < expectation.until && routes.is_none_or(|watch| !watch.subscription.covers(name.as_str()))
        });
        let hosts_asked = self.watch(TypeUrl::VirtualHost).is_some();
        expected.virtual_hosts =
            expected.virtual_hosts.filter(|expectation| now < expectation.until && !hosts_asked);
        self.expected = expected;
    }

    /// Ends the waits whose time is up.
    pub(super) fn end_waits(&mut self, now: Instant) {
        let limit = self.limits.ack_wait;
        let endpoints_settled = self
            .watch(TypeUrl::Endpoint)
            .is_none_or(|watch| watch.due.is_empty() && watch.flights.is_empty());
        for watch in self.watches.iter_mut().flatten() {
            for flight in watch.flights.iter_mut().filter(|flight| !flight.overdue) {
                if now >= flight.sent + limit {
                    flight.give_up();
                    watch.stuck = true;
                    self.tally.of(watch.type_url).waits_ended += 1;
                } else if watch.type_url == TypeUrl::Cluster && watch.stuck && endpoints_settled {
                    // Envoy acknowledges no CDS while any cluster warms. This client is known to wait for a stuck one; it
                    // has the assignments of the new ones, and must not pay the whole wait again at each step.
                    flight.give_up();
                }
            }
        }
    }

    /// When the next wait ends, if something waits for it.
    pub(super) fn wait_ends(&self, view: &View, now: Instant) -> Option<Instant> {
        let asked = self.expected.all().map(|expectation| expectation.until);
        let waiting = self.watches.iter().flatten().any(|watch| watch.start || !watch.due.is_empty());
        if !waiting {
            return asked.min();
        }
        let flights = self
            .watches
            .iter()
            .flatten()
            .flat_map(|watch| watch.open())
            .map(|flight| flight.sent + self.limits.ack_wait);
        let early = self.early_until(view).filter(|until| *until > now);
        let expected = self.clusters_expected_until().filter(|until| *until > now);
        flights.chain(early).chain(expected).chain(asked).min()
    }

    /// Advances the watermark.
    pub(super) fn advance(&mut self, now: Instant) {
        self.end_expectations(now);
        let unsettled = self
            .watches
            .iter()
            .flatten()
            .filter_map(|watch| watch.unsettled_since(true))
            .chain(self.expected.all().map(|expectation| expectation.since))
            .min();
        let reached = match unsettled {
            Some(since) => Generation(since.0.saturating_sub(1)).min(self.covered_generation),
            None => self.covered_generation,
        };
        self.watermark = self.watermark.max(reached);
    }
}

impl Expected {
    fn all(&self) -> impl Iterator<Item = Expectation> {
        self.routes.values().copied().chain(self.virtual_hosts)
    }

    /// Until when, at the latest, something is waited for.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.all().map(|expectation| expectation.until).filter(|until| now < *until).min()
    }

    /// Since when the client lacks the virtual hosts of a route configuration that it will ask for, or those of all.
    pub(super) fn route(&self, name: &ResourceName, now: Instant) -> Option<Generation> {
        let expected = [self.routes.get(name).copied(), self.virtual_hosts];
        let open = expected.into_iter().flatten().filter(|expectation| now < expectation.until);
        open.map(|expectation| expectation.since).min()
    }
}
