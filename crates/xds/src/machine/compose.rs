//! Composing the next response of one type.
//!
//! Invariant: at most one unanswered response per type, EDS apart; a first answer is whole; all that changed in one route
//! configuration goes in one response, unless it was refused or would be too large.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use meltemi_catalog::{Generation, Need, Resource, ResourceName, View};
use meltemi_names::TypeUrl;

use super::{Machine, Next};
use crate::flight::{Entry, Flight, Sent};
use crate::missing::missing;
use crate::order::Hold;
use crate::response::Assembly;
use crate::watch::{Due, Watch};

/// What is to be told about one name.
struct Item {
    name: ResourceName,
    due: Due,
    /// None: that it is gone.
    resource: Option<Arc<Resource>>,
}

impl Item {
    fn bytes(&self) -> usize {
        self.name.wire_len(self.resource.as_ref().map_or(0, |resource| resource.body().len()))
    }

    /// What must not be split: the virtual hosts of one route configuration.
    fn group(&self) -> Option<&ResourceName> {
        self.resource.as_ref().and_then(|resource| resource.parent()).or(self.due.parent.as_ref())
    }
}

/// The due names of one type, sorted out.
struct Sorted {
    ready: Vec<Item>,
    moot: Vec<ResourceName>,
    waiting: bool,
}

impl Machine {
    /// The next message of that type, if one may go now.
    pub(super) fn compose(&mut self, type_url: TypeUrl, view: &View, now: Instant) -> Option<Next> {
        if !self.may_send(type_url) {
            return None;
        }
        if let Some(bytes) = self.admission(type_url, view) {
            return Some(self.ask(bytes));
        }
        if let Some(next) = self.whole(type_url, view, now) {
            return Some(next);
        }
        self.list(type_url, view);
        loop {
            self.watch_mut(type_url)?.try_again();
            let sorted = self.sort_out(type_url, view, now)?;
            let (needs_permit, bound) = (self.limits.admit_bytes, self.limits.response_bytes);
            let admitted = self.admitted;
            let watch = self.watch_mut(type_url)?;
            for name in &sorted.moot {
                watch.due.remove(name);
            }
            if !watch.answered && sorted.waiting {
                return None;
            }
            if sorted.ready.is_empty() && watch.answered {
                // The names of this half are all settled otherwise: on to the next.
                if !sorted.waiting && !watch.batches.is_empty() {
                    watch.batches.pop();
                    continue;
                }
                return None;
            }
            let first = !watch.answered;
            let bytes: usize = sorted.ready.iter().map(Item::bytes).sum();
            if first && !admitted && bytes > needs_permit {
                return Some(self.ask(bytes));
            }
            let items = if watch.complete { sorted.ready } else { within(sorted.ready, bound) };
            return Some(self.depart(type_url, items, view, now));
        }
    }

    /// Whether nothing of that type is on its way that must be answered first.
    fn may_send(&self, type_url: TypeUrl) -> bool {
        let Some(watch) = self.watch(type_url) else { return false };
        if watch.answered && !watch.start && watch.due.is_empty() && watch.aside.is_empty() {
            return false;
        }
        let open = watch.open().count();
        match type_url {
            TypeUrl::Endpoint if watch.batches.is_empty() => open < self.limits.endpoint_flights,
            _ => open == 0,
        }
    }

    /// The bytes of a first answer that is not even listed yet, if it must wait for a permit.
    fn admission(&self, type_url: TypeUrl, view: &View) -> Option<usize> {
        let watch = self.watch(type_url)?;
        // What may have to wait for clusters is listed first: a permit must not be held while waiting for a client.
        let waits = type_url > TypeUrl::Endpoint
            && type_url <= TypeUrl::VirtualHost
            && !self.watch(TypeUrl::Cluster).is_none_or(Watch::quiet);
        if self.admitted || !watch.start || watch.answered || waits {
            return None;
        }
        let bytes = view.summary(type_url).bytes();
        (bytes > self.limits.admit_bytes).then_some(bytes)
    }

    /// Lists what "all of it" means, now that it is about to be sent.
    fn list(&mut self, type_url: TypeUrl, view: &View) {
        if self.watch(type_url).is_none_or(|watch| !watch.start) {
            return;
        }
        let all: Vec<ResourceName> = view
            .all(type_url)
            .filter(|live| self.covers(type_url, &live.resource))
            .map(|live| live.resource.name().clone())
            .collect();
        let Some(watch) = self.watch_mut(type_url) else { return };
        watch.start = false;
        if watch.due.is_empty() {
            // Sorted within a layer: built in one go.
            watch.due = all.into_iter().map(|name| (name, Due::first())).collect();
        } else {
            for name in all {
                watch.mark(name, Due::first());
            }
        }
    }

    /// Whether the client asked for that resource: a virtual host by asking for its route configuration.
    pub(super) fn covers(&self, type_url: TypeUrl, resource: &Resource) -> bool {
        let Some(watch) = self.watch(type_url) else { return false };
        if watch.subscription.named(resource.name().as_str()) {
            return true;
        }
        let Some(parent) = resource.parent().filter(|_| type_url == TypeUrl::VirtualHost) else {
            return watch.subscription.wildcard;
        };
        watch.subscription.wildcard
            && self.watch(TypeUrl::Route).is_some_and(|routes| routes.subscription.covers(parent.as_str()))
    }

    /// Sorts the due names of a type by whether they may go now.
    fn sort_out(&self, type_url: TypeUrl, view: &View, now: Instant) -> Option<Sorted> {
        let watch = self.watch(type_url)?;
        let standing = self.standing(type_url, view, now);
        let only = watch.batches.front();
        let mut sorted = Sorted { ready: Vec::new(), moot: Vec::new(), waiting: false };
        let mut held_groups = BTreeSet::new();
        for (name, due) in &watch.due {
            if only.is_some_and(|only| !only.contains(name)) {
                continue;
            }
            let live = view.find(type_url, name.as_str()).map(|live| Arc::clone(&live.resource));
            match self.hold(watch, name, due, live.as_deref(), view, &standing) {
                Hold::Ready => {
                    let resource = if due.dropped { None } else { live.or_else(|| missing(type_url, name)) };
                    sorted.ready.push(Item { name: name.clone(), due: due.clone(), resource });
                }
                Hold::Wait => {
                    sorted.waiting = true;
                    let group = live.as_ref().and_then(|resource| resource.parent()).or(due.parent.as_ref());
                    held_groups.extend(group.cloned());
                }
                Hold::Keep | Hold::Refused => {}
                Hold::Moot => sorted.moot.push(name.clone()),
            }
        }
        if !held_groups.is_empty() {
            // A domain may move between two of them: in two responses it would be refused or missing meanwhile.
            sorted.ready.retain(|item| item.group().is_none_or(|group| !held_groups.contains(group)));
        }
        Some(sorted)
    }

    /// Makes the response, and notes what it changes.
    fn depart(&mut self, type_url: TypeUrl, items: Vec<Item>, view: &View, now: Instant) -> Next {
        let mut assembly = Assembly::new(self.form, items.len());
        let mut entries = Vec::with_capacity(items.len());
        let mut since: Option<Generation> = None;
        let mut assignments: Vec<ResourceName> = Vec::new();
        if let Some(watch) = self.watch_mut(type_url) {
            for Item { name, due, resource } in items {
                watch.due.remove(&name);
                since = Some(since.map_or(due.since, |since| since.min(due.since)));
                match &resource {
                    Some(resource) => {
                        if type_url == TypeUrl::Cluster {
                            assignments.extend(endpoints_of(resource.needs()));
                        }
                        if !watch.complete {
                            assembly.put(resource);
                        }
                    }
                    None => assembly.remove(&name),
                }
                let version = resource.as_ref().map(|resource| resource.version());
                let listed = resource.filter(|_| watch.complete);
                entries.push(Entry { name, version, due: Due { asked: false, ..due }, listed });
            }
            if watch.complete {
                // The list also says again what is on its way unanswered; refused, it may be refused for that.
                for entry in watch.flights.iter().rev().flat_map(|flight| flight.carried.listed()) {
                    if !entries.iter().any(|newer| newer.name == entry.name) {
                        since = Some(since.map_or(entry.due.since, |since| since.min(entry.due.since)));
                        entries.push(entry.clone());
                    }
                }
                for resource in watch.listing(&entries).values() {
                    assembly.put(resource);
                }
            }
            entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        self.assignments_follow(assignments, view);
        self.send(type_url, assembly, Sent::Listed(entries), since, view, now)
    }

    /// Sends what was assembled.
    pub(super) fn send(
        &mut self,
        type_url: TypeUrl,
        assembly: Assembly,
        carried: Sent,
        since: Option<Generation>,
        view: &View,
        now: Instant,
    ) -> Next {
        self.nonce += 1;
        let nonce = self.nonce;
        let generation = self.covered_generation;
        let mut first = false;
        if let Some(watch) = self.watch_mut(type_url) {
            first = !std::mem::replace(&mut watch.answered, true);
            watch.depart(Flight { nonce, sent: now, overdue: false, carried, since, generation });
        }
        if first {
            self.admitted = false;
        }
        let nonce = self.nonce_text(nonce);
        let version = view.generation().0.to_string();
        let response = assembly.finish(Some(type_url), type_url.as_str(), &version, nonce, first);
        let tally = self.tally.of(type_url);
        tally.responses += 1;
        tally.resources += response.resources as u64;
        tally.removed += response.removed as u64;
        tally.bytes += response.len() as u64;
        Next::Send(response)
    }

    /// A cluster that is new or changed warms at the client until its assignment is sent again, even an equal one.
    pub(super) fn assignments_follow(&mut self, assignments: Vec<ResourceName>, view: &View) {
        let since = self.since();
        let Some(watch) = self.watch_mut(TypeUrl::Endpoint) else {
            self.touched.extend(assignments);
            return;
        };
        if watch.start {
            return;
        }
        for name in assignments {
            let refused = watch.aside.get(&name).is_some_and(|aside| {
                super::present_version(TypeUrl::Endpoint, &name, view) == Some(aside.version)
            });
            if watch.subscription.covers(name.as_str()) && !refused {
                // Answered even if the view lacks it: the cluster warms for it.
                watch.mark(name, Due { fresh: false, ..Due::asked(since) });
            }
        }
    }
}

/// The assignments that a cluster takes its endpoints from.
pub(super) fn endpoints_of(needs: &[Need]) -> impl Iterator<Item = ResourceName> {
    needs.iter().filter(|need| need.type_url == TypeUrl::Endpoint).map(|need| need.name.clone())
}

/// As many items as fit one response, groups whole where they can be; at least one.
fn within(mut items: Vec<Item>, bound: usize) -> Vec<Item> {
    let total: usize = items.iter().map(Item::bytes).sum();
    if total <= bound {
        return items;
    }
    items.sort_by(|a, b| a.group().cmp(&b.group()).then_with(|| a.name.cmp(&b.name)));
    let mut bytes = 0;
    // The end of the last whole group, and of the last item, that fit.
    let (mut groups, mut fit) = (0, 0);
    for (at, item) in items.iter().enumerate() {
        bytes += item.bytes();
        if bytes > bound && fit > 0 {
            break;
        }
        fit = at + 1;
        let ends_group =
            items.get(fit).is_none_or(|next| item.group().is_none() || next.group() != item.group());
        if ends_group {
            groups = fit;
        }
    }
    items.truncate(if groups > 0 { groups } else { fit });
    items
}
