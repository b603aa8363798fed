//! Taking note of newer views: what changed is marked as due, by name.
//!
//! Invariant: after this the stream stands at the given view; what the client lacks of it is in its watches.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_catalog::{Change, Form, Generation, Position, ResourceName, View};
use meltemi_names::{TypeUrl, Version};

use super::{Close, CloseCode, Machine, compose};
use crate::watch::{Due, Watch};

impl Machine {
    /// Notes what changed between where the stream stands and `view`.
    pub(super) fn absorb(&mut self, view: &View) -> Result<(), Close> {
        let position = view.position();
        let Some(covered) = self.covered.replace(position) else {
            self.covered_generation = view.generation();
            return Ok(());
        };
        if self.covered.as_ref() == Some(&covered) {
            return Ok(());
        }
        if !view.continues(&covered) {
            return self.moved(view, &covered);
        }
        let since = self.since();
        let mut orphans = BTreeSet::new();
        for type_url in TypeUrl::ALL {
            let Some(watch) = self.watch_mut(type_url) else { continue };
            let has_started = !watch.start;
            for (_, change) in view.changes_since(type_url, &covered) {
                if has_started {
                    self.note(type_url, change, since, view, &mut orphans);
                } else if let Some(watch) = self.watch_mut(type_url) {
                    note_early(watch, change, since);
                }
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

    /// The view is not a later state of the one that the stream stands at. What the client holds is known if the view says
    /// where it was before, from what was sent (state of the world), or asked for by name; else only the client knows.
    fn moved(&mut self, view: &View, covered: &Position) -> Result<(), Close> {
        let since = self.since();
        let left = view.left().filter(|left| left.continues(covered));
        let forgotten = self.form == Form::Delta
            && left.is_none()
            && self.watches.iter().flatten().any(|watch| {
                let is_told = watch.subscription.wildcard && !watch.start;
                // Names that were asked for, and of which nothing is known but that the old view had them.
                let is_asked = watch.start && watch.subscription.is_all();
                (is_told && (watch.answered || self.returning)) || is_asked
            });
        if forgotten {
            return Err(Close::new(
                CloseCode::Unavailable,
                "this proxy is served from another view now, or was too far behind; reconnect with \
                 initial_resource_versions, what is in force stays"
                    .to_owned(),
            ));
        }
        for type_url in TypeUrl::ALL {
            if let Some(watch) = self.watch_mut(type_url).filter(|watch| watch.start) {
                if let Some(left) = left {
                    moved_early(watch, covered, left, view, since);
                }
                continue;
            }
            let Some(watch) = self.watch(type_url) else { continue };
            let lacks: BTreeSet<&ResourceName> = left
                .iter()
                .flat_map(|left| left.changes_since(type_url, covered))
                .map(|(_, change)| change.resource().name())
                .collect();
            // State of the world: what was listed last, answered or not.
            let listed = watch.listing(&[]);
            let holds = |name: &ResourceName, version: Option<Version>| {
                if watch.complete {
                    return listed.get(name).map(|resource| resource.version()) == version;
                }
                let before = left.and_then(|left| left.find(type_url, name.as_str()));
                left.is_some()
                    && !lacks.contains(name)
                    && before.map(|live| live.resource.version()) == version
            };
            let mut names: BTreeSet<ResourceName> = watch.subscription.names().cloned().collect();
            if watch.subscription.wildcard || watch.subscription.is_all() {
                let both = view.all(type_url).chain(left.iter().flat_map(|left| left.all(type_url)));
                names.extend(
                    both.filter(|live| self.covers(type_url, &live.resource))
                        .map(|live| live.resource.name().clone()),
                );
                names.extend(lacks.iter().map(|name| (*name).clone()));
                names.extend(listed.keys().cloned());
            }
            let mut differing = Vec::new();
            for name in names {
                let version = view.find(type_url, name.as_str()).map(|live| live.resource.version());
                if !holds(&name, version) {
                    let before = left.and_then(|left| left.find(type_url, name.as_str()));
                    let parent = before.and_then(|live| live.resource.parent().cloned());
                    let drains = parent.as_ref().is_some_and(|parent| {
                        version.is_none() && view.find(TypeUrl::Route, parent.as_str()).is_none()
                    });
                    differing.push((name, Due { parent, drains, ..Due::changed(since) }));
                }
            }
            let Some(watch) = self.watch_mut(type_url) else { continue };
            watch.batches.clear();
            watch.aside.retain(|name, aside| {
                view.find(type_url, name.as_str())
                    .is_some_and(|live| live.resource.version() == aside.version)
            });
            watch.subscription.moved(type_url, view);
            for (name, due) in differing {
                if !watch.aside.contains_key(&name) {
                    watch.mark(name, due);
                }
            }
        }
        self.covered_generation = view.generation();
        Ok(())
    }

    /// Virtual hosts of route configurations that were subscribed since: sent unasked, since Envoy asks for virtual hosts
    /// once per stream.
    pub(super) fn look_through_virtual_hosts(&mut self, view: &View) {
        if self.new_parents.is_empty() {
            return;
        }
        let parents = std::mem::take(&mut self.new_parents);
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
                watch.mark(resource.name().clone(), Due { fresh, ..Due::changed(live.generation) });
            }
        }
        // What a returning client said counts for the routes that it asks for at once; later it may have dropped them.
        watch.known.clear();
    }
}

/// Other layers before the first answer: what the old ones had and these do not is gone.
fn moved_early(watch: &mut Watch, covered: &Position, left: &View, view: &View, since: Generation) {
    if !watch.subscription.is_all() {
        return;
    }
    let type_url = watch.type_url;
    for (_, change) in left.changes_since(type_url, covered) {
        note_early(watch, change, since);
    }
    for live in left.all(type_url) {
        if view.find(type_url, live.resource.name().as_str()).is_none() {
            note_early(watch, &Change::Removed(Arc::clone(&live.resource)), since);
        }
    }
    watch.subscription.moved(type_url, view);
}

/// A change before the first answer, which will list all there is then. What was asked for by its name is answered, also if it is
/// gone by then: a cluster would warm for it.
fn note_early(watch: &mut Watch, change: &Change, since: Generation) {
    let name = change.resource().name();
    match change {
        Change::Put(_) => watch.subscription.appeared(name.as_str()),
        Change::Removed(_) => {
            watch.subscription.vanished(name);
            if watch.subscription.is_all() && watch.subscription.named(name.as_str()) {
                watch.mark(name.clone(), Due::asked(since));
            }
        }
    }
}
