//! Where a stream stands with single resources: what "in force" is made of.
//!
//! The watermark says how far everything is in force; it stays behind for as long as anything does. Here one resource is asked about,
//! so that what is refused or late of others does not count against it.
//! Invariant: a client that may still have an older state of a resource than its view is said to lack it.

use std::sync::Arc;
use std::time::Instant;

use meltemi_catalog::{Generation, ResourceName, View};
use meltemi_names::TypeUrl;

use super::Machine;
use crate::watch::Watch;

/// A resource whose present state is not in force at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The first generation whose effect the client lacks for it: what was made of it before is in force.
    pub since: Generation,
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: ResourceName,
    /// Why.
    pub lack: Lack,
}

/// Why the present state of a resource is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The client has come and has not got all of its first answers. If it may ask for nothing more, then that is known at the
    /// latest at `until`.
    Starting {
        /// None: something of it is under way.
        until: Option<Instant>,
    },
    /// It was sent, or is to be sent, and is not acknowledged.
    Unacknowledged,
    /// The client refused it, or something that it needs.
    Refused {
        /// What was refused.
        resource: ResourceName,
        /// The client's words.
        words: Arc<str>,
    },
}

/// What a client that is not there yet waits for.
enum Wait {
    /// Something is to be sent, or answered.
    Events,
    /// It may ask for more, and is waited for so long.
    Until(Instant),
}

impl Machine {
    /// Notes that the client has all of its first answers. To be called when there is nothing to send now: what is due then waits
    /// for something that was refused.
    pub(super) fn begin(&mut self, view: &View, now: Instant) {
        self.rested = true;
        self.begun = self.has_begun(view, now);
    }

    fn has_begun(&self, view: &View, now: Instant) -> bool {
        let mut watches = self.watches.iter().flatten();
        // What a state-of-the-world client held before goes with the first list that it accepts.
        let has_list = |watch: &Watch| !watch.complete || watch.acked.is_some();
        self.begun
            || (self.rested
                && self.start_wait(view, now).is_none()
                && watches.all(|watch| !watch.start && watch.flights.is_empty() && has_list(watch)))
    }

    /// Whether the client may hold something that the view does not have and that it has not been told of.
    pub(crate) fn may_hold_more(&self, view: &View, now: Instant) -> bool {
        // A state-of-the-world client does not say what it holds.
        (self.returning || self.form == crate::Form::Sotw) && !self.has_begun(view, now)
    }

    /// Whether all of the view is acknowledged.
    pub(crate) fn is_settled(&self, view: &View, now: Instant) -> bool {
        self.has_begun(view, now)
            && self.has_looked(view)
            && self.watches.iter().flatten().all(|watch| watch.is_settled())
            && self.expected.until(now).is_none()
    }

    /// Whether the stream has taken note of that very view.
    fn has_looked(&self, view: &View) -> bool {
        self.covered.as_ref().is_some_and(|covered| *covered == view.position())
    }

    /// Why the client does not have the resource as the view says, if it does not.
    pub(crate) fn lacks(
        &self,
        type_url: TypeUrl,
        name: &ResourceName,
        view: &View,
        now: Instant,
    ) -> Option<Lacking> {
        if !self.has_begun(view, now) {
            return Some(self.starting(type_url, name, view, now));
        }
        self.unsettled(type_url, name, view).or_else(|| self.unreached(type_url, name, view, now))
    }

    /// The first resource that the client lacks.
    pub(crate) fn lacks_anything(&self, view: &View, now: Instant) -> Option<Lacking> {
        if self.is_settled(view, now) {
            return None;
        }
        let owed = self.watches.iter().flatten().find_map(|watch| {
            let due = watch.due.iter().filter(|(_, due)| !due.drains).map(|(name, _)| name);
            let sent = watch.flights.iter().filter_map(|flight| flight.carried.any());
            let name = watch.aside.keys().chain(due).chain(sent).next()?;
            Some((watch.type_url, name.clone()))
        });
        // With nothing owed it has not looked at its view, or will ask for more.
        let (type_url, name) = owed.unwrap_or((TypeUrl::Cluster, ResourceName::from("")));
        let otherwise =
            || self.lacking(Generation(self.watermark.0 + 1), type_url, &name, Lack::Unacknowledged);
        self.lacks(type_url, &name, view, now).or_else(|| Some(otherwise()))
    }

    /// What is known of the name itself.
    fn unsettled(&self, type_url: TypeUrl, name: &ResourceName, view: &View) -> Option<Lacking> {
        let watch = self.watch(type_url)?;
        if let Some(aside) = watch.aside.get(name) {
            let lack = Lack::Refused { resource: name.clone(), words: Arc::clone(&aside.words) };
            return Some(self.lacking(aside.since, type_url, name, lack));
        }
        let due = watch.due.get(name).filter(|due| !due.drains).map(|due| due.since);
        let sent = watch.flights.iter().filter_map(|flight| flight.carried.since(name.as_str()));
        let unseen = self.covered.as_ref().is_none_or(|covered| {
            watch.subscription.covers(name.as_str()) && view.touched_since(covered, type_url, name.as_str())
        });
        let unseen = unseen.then(|| self.since());
        let begun = watch.start.then_some(Generation(0));
        let since = due.into_iter().chain(sent).chain(unseen).chain(begun).chain(watch.lost).min()?;
        let lack = self.refused_need(type_url, name, view).unwrap_or(Lack::Unacknowledged);
        Some(self.lacking(since, type_url, name, lack))
    }

    /// What the resource needs and the client refused: it waits for that.
    fn refused_need(&self, type_url: TypeUrl, name: &ResourceName, view: &View) -> Option<Lack> {
        let live = view.find(type_url, name.as_str())?;
        live.resource.needs().iter().find_map(|need| {
            let aside = self.watch(need.type_url)?.aside.get(&need.name)?;
            Some(Lack::Refused { resource: need.name.clone(), words: Arc::clone(&aside.words) })
        })
    }

    /// A route that the client has not asked for, since it has not accepted, or not yet followed, what names it.
    fn unreached(
        &self,
        type_url: TypeUrl,
        name: &ResourceName,
        view: &View,
        now: Instant,
    ) -> Option<Lacking> {
        let live = view.find(type_url, name.as_str());
        let route = match type_url {
            TypeUrl::Route => name,
            TypeUrl::VirtualHost => live?.resource.parent()?,
            _ => return None,
        };
        let unasked = self.expected.route(route, now);
        if let Some(since) = unasked {
            return Some(self.lacking(since, type_url, name, Lack::Unacknowledged));
        }
        let covered =
            self.watch(TypeUrl::Route).is_some_and(|watch| watch.subscription.covers(route.as_str()));
        if covered {
            // A virtual host is of no use without the head of its route configuration.
            let head =
                (type_url == TypeUrl::VirtualHost).then(|| self.unsettled(TypeUrl::Route, route, view));
            return head.flatten().map(|head| Lacking { type_url, name: name.clone(), ..head });
        }
        let has_looked = self.has_looked(view);
        if self.watch(TypeUrl::Listener).is_none_or(|watch| has_looked && watch.is_settled()) {
            return None;
        }
        let names_it = |live: &&meltemi_catalog::Live| {
            live.resource.needs().iter().any(|need| need.type_url == TypeUrl::Route && need.name == *route)
        };
        view.all(TypeUrl::Listener)
            .filter(names_it)
            .find_map(|live| self.unsettled(TypeUrl::Listener, live.resource.name(), view))
            .map(|listener| Lacking { type_url, name: name.clone(), ..listener })
    }

    fn starting(&self, type_url: TypeUrl, name: &ResourceName, view: &View, now: Instant) -> Lacking {
        let until = match self.start_wait(view, now) {
            Some(Wait::Until(until)) => Some(until),
            Some(Wait::Events) | None => None,
        };
        self.lacking(Generation(0), type_url, name, Lack::Starting { until })
    }

    /// What a client that has come waits for, apart from answers: Envoy asks for listeners when its clusters are warm, for the routes
    /// that these name, and for virtual hosts once it has one. Who never does is no proxy with traffic to route, and is not waited for
    /// long.
    fn start_wait(&self, view: &View, now: Instant) -> Option<Wait> {
        let clusters = self.watch(TypeUrl::Cluster);
        if self.covered.is_none() || (clusters.is_none() && self.clusters_expected) {
            return Some(Wait::Events);
        }
        if self.watches.iter().flatten().next().is_none() {
            // It has introduced itself, and asked for nothing that is served.
            let until = self.born.map(|born| born + self.limits.ack_wait);
            return until.map_or(Some(Wait::Events), |until| (now < until).then_some(Wait::Until(until)));
        }
        let names_route = |live: &meltemi_catalog::Live| {
            live.resource.needs().iter().any(|need| need.type_url == TypeUrl::Route)
        };
        let listeners = self.watch(TypeUrl::Listener);
        let routes = self.watch(TypeUrl::Route);
        let last = if listeners.is_none() {
            clusters
        } else if routes.is_none() {
            listeners.filter(|_| view.all(TypeUrl::Listener).any(names_route))
        } else if self.watch(TypeUrl::VirtualHost).is_none() {
            routes.filter(|_| {
                self.form == crate::Form::Delta
                    && listeners.is_some_and(|watch| watch.subscription.wildcard)
                    && view.count(TypeUrl::VirtualHost) > 0
            })
        } else {
            None
        };
        if let Some(last) = last.filter(|last| last.subscription.wildcard || last.type_url == TypeUrl::Route)
        {
            if last.start || !last.flights.is_empty() {
                return Some(Wait::Events);
            }
            let until = last.acked_at.or(self.born)? + self.limits.ack_wait;
            if now < until {
                return Some(Wait::Until(until));
            }
        }
        self.expected.until(now).map(Wait::Until)
    }

    fn lacking(&self, since: Generation, type_url: TypeUrl, name: &ResourceName, lack: Lack) -> Lacking {
        Lacking { since, type_url, name: name.clone(), lack }
    }
}
