//! Delta requests: changes of a subscription, and what a returning client still holds.
//!
//! Rules: the xDS protocol ("Incremental xDS"), and Istio's `pilot/pkg/xds/delta.go` where that leaves a choice.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use meltemi_catalog::{Generation, Live, Parts, ResourceName, View};
use meltemi_names::{TypeUrl, Version};

use super::{Machine, legacy_wildcard, present_version};
use crate::missing::missing;
use crate::request::{ErrorDetail, Held, NameList};
use crate::watch::{Due, Watch};

impl Machine {
    /// A request of one type.
    #[allow(clippy::too_many_arguments, reason = "the fields of one message, and the stream's surroundings")]
    pub(super) fn delta(
        &mut self,
        type_url: TypeUrl,
        nonce: &str,
        error: Option<ErrorDetail>,
        subscribe: &NameList,
        unsubscribe: &NameList,
        versions: &Held,
        view: &View,
        now: Instant,
    ) {
        if self.watch(type_url).is_none() {
            self.delta_first(type_url, subscribe, unsubscribe, versions, view);
            return;
        }
        if !nonce.is_empty() {
            self.answered(type_url, nonce, error, view, now);
        }
        // Whatever response it answers, a change of the subscription stands: the client says it once.
        self.unsubscribe(type_url, unsubscribe, view);
        self.subscribe(type_url, subscribe, view);
    }

    fn delta_first(
        &mut self,
        type_url: TypeUrl,
        subscribe: &NameList,
        unsubscribe: &NameList,
        versions: &Held,
        view: &View,
    ) {
        self.returning |= !versions.is_empty();
        let mut watch = Box::new(Watch::new(type_url, false));
        let taken_back: HashSet<&str> = unsubscribe.iter().collect();
        let mut named: Vec<ResourceName> = Vec::new();
        // A sidecar asks for the assignments of all clusters: for all there are, by name.
        let has_all = taken_back.is_empty() && watch.subscription.add_all(type_url, subscribe, view);
        if !has_all {
            let starred = subscribe.iter().any(|name| name == "*");
            watch.subscription.wildcard = starred || (subscribe.is_empty() && legacy_wildcard(type_url));
            let held: &[&NameList] = if watch.subscription.wildcard { &[] } else { &[versions.names()] };
            let lists = [subscribe].into_iter().chain(held.iter().copied());
            for name in
                lists.flat_map(NameList::iter).filter(|name| *name != "*" && !taken_back.contains(name))
            {
                named.push(watch.subscription.add(type_url, name, view));
            }
            watch.subscription.compact(type_url, view);
        }
        // Envoy was cut between CDS and EDS if it asks for EDS first: its clusters warm until each assignment is sent
        // again, even an equal one. And those that this stream's CDS sent anew warm as well.
        let is_endpoint = type_url == TypeUrl::Endpoint;
        let touched = if is_endpoint { std::mem::take(&mut self.touched) } else { BTreeSet::new() };
        let all_touched = is_endpoint && std::mem::take(&mut self.all_touched);
        let trusted = !all_touched && (!is_endpoint || self.watch(TypeUrl::Cluster).is_some());
        // All is due from the first generation on: before the first answer nothing of it is in force.
        let since = Generation(1).min(self.since());
        // What is not looked at is held as the view has it.
        let routes_come = type_url == TypeUrl::VirtualHost && self.watch(TypeUrl::Route).is_none();
        let parts = if trusted && touched.is_empty() && !routes_come && named.is_empty() {
            versions.differing(&view.summary(type_url))
        } else {
            Parts::ALL
        };
        let held = versions.within(parts);
        if (watch.subscription.wildcard || watch.subscription.is_all()) && versions.is_empty() {
            watch.start = true;
        } else if watch.subscription.wildcard {
            self.compare(&mut watch, parts, &held, since, view);
        } else if has_all {
            named.extend(differing(type_url, parts, view).map(|live| live.resource.name().clone()));
            for name in gone(type_url, &held, view) {
                named.push(watch.subscription.add(type_url, name, view));
            }
        }
        if !watch.start || watch.subscription.wildcard {
            for name in named {
                let version = held.get(name.as_str());
                let trusted = trusted && !touched.contains(&name);
                match present_version(type_url, &name, view) {
                    Some(present) if trusted && version == Some(&Some(present)) => {}
                    _ => {
                        // What it holds and the view has no more is told only if something still needs it.
                        let lost = version.is_some() && trusted;
                        let due = if lost
                            && view.find(type_url, name.as_str()).is_none()
                            && missing(type_url, &name).is_some()
                        {
                            Due::changed(since)
                        } else {
                            Due { fresh: version.is_none(), ..Due::asked(since) }
                        };
                        watch.mark(name, due);
                    }
                }
            }
        } else {
            // "All of the view" is listed when the answer is composed; what the view lacks is not in it.
            let lacking: Vec<ResourceName> = watch.subscription.names().cloned().collect();
            for name in lacking {
                watch.mark(name, Due::asked(since));
            }
        }
        if type_url == TypeUrl::VirtualHost {
            // Looked through just now, for all route configurations asked for so far.
            self.new_parents.clear();
        }
        if type_url == TypeUrl::Route {
            self.new_parents.extend(watch.subscription.names().cloned());
            if watch.subscription.wildcard {
                self.new_parents.extend(view.all(type_url).map(|live| live.resource.name().clone()));
            }
        }
        self.watches[type_url as usize] = Some(watch);
    }

    /// What differs between the view and what a returning wildcard client holds; outside of these parts nothing does.
    fn compare(
        &self,
        watch: &mut Watch,
        parts: Parts,
        held: &HashMap<&str, Option<Version>>,
        since: Generation,
        view: &View,
    ) {
        let type_url = watch.type_url;
        for live in differing(type_url, parts, view) {
            let resource = &live.resource;
            let name = resource.name();
            let version = held.get(name.as_str());
            let asked_parent = type_url != TypeUrl::VirtualHost
                || resource.parent().is_none_or(|parent| {
                    self.watch(TypeUrl::Route)
                        .is_some_and(|routes| routes.subscription.covers(parent.as_str()))
                });
            if !asked_parent {
                // Its route configuration may be asked for after this, and then it need not be sent again.
                let version = version.copied().flatten();
                if let Some(version) = version.filter(|_| self.watch(TypeUrl::Route).is_none()) {
                    watch.known.insert(name.clone(), version);
                }
            } else if version != Some(&Some(resource.version())) {
                watch.mark(name.clone(), Due { fresh: version.is_none(), ..Due::changed(since) });
            }
        }
        for name in gone(type_url, held, view) {
            watch.mark(ResourceName::from(name), Due::changed(since));
        }
    }

    fn subscribe(&mut self, type_url: TypeUrl, names: &NameList, view: &View) {
        if names.is_empty() {
            return;
        }
        let since = self.since();
        let mut parents = Vec::new();
        let Some(watch) = self.watch_mut(type_url) else { return };
        for name in names.iter() {
            if name == "*" {
                if !watch.subscription.wildcard {
                    watch.subscription.wildcard = true;
                    watch.start = true;
                    if type_url == TypeUrl::Route {
                        parents.extend(view.all(type_url).map(|live| live.resource.name().clone()));
                    }
                }
                continue;
            }
            // Asked for again means that the client may have dropped it: it is sent again, whatever it was sent before.
            let name = watch.subscription.add(type_url, name, view);
            watch.aside.remove(&name);
            // It lacks what made the resource as it is, whenever that was.
            let made = view.find(type_url, name.as_str()).map_or(since, |live| live.generation.min(since));
            watch.mark(name.clone(), Due::asked(made));
            if type_url == TypeUrl::Route {
                parents.push(name);
            }
        }
        watch.subscription.compact(type_url, view);
        self.new_parents.extend(parents);
    }

    fn unsubscribe(&mut self, type_url: TypeUrl, names: &NameList, view: &View) {
        let since = self.since();
        let mut dropped = Vec::new();
        let Some(watch) = self.watch_mut(type_url) else { return };
        for name in names.iter() {
            if name == "*" {
                watch.subscription.wildcard = false;
                let subscription = &watch.subscription;
                watch.due.retain(|name, _| subscription.named(name.as_str()));
                watch.aside.retain(|name, _| subscription.named(name.as_str()));
                if watch.start {
                    // What was asked for by name is still to be answered.
                    watch.start = false;
                    let named: Vec<ResourceName> = watch.subscription.names().cloned().collect();
                    for name in named {
                        watch.mark(name, Due::asked(since));
                    }
                }
                continue;
            }
            if !watch.subscription.drop_name(type_url, name, view) {
                continue;
            }
            if watch.subscription.wildcard {
                // Still covered by the wildcard: the protocol wants an answer that says so (xDS protocol, "unsubscribing
                // from resources").
                watch.mark(ResourceName::from(name), Due::changed(since));
            } else {
                watch.due.remove(name);
                watch.aside.remove(name);
            }
            dropped.push(ResourceName::from(name));
        }
        if type_url == TypeUrl::Route && !dropped.is_empty() {
            self.drop_virtual_hosts(&dropped, view);
        }
    }

    /// Virtual hosts of route configurations that the client dropped are not part of its subscription any more.
    fn drop_virtual_hosts(&mut self, parents: &[ResourceName], view: &View) {
        for parent in parents {
            self.new_parents.remove(parent);
        }
        let since = self.since();
        let Some(watch) = self.watch_mut(TypeUrl::VirtualHost) else { return };
        if !watch.subscription.wildcard || watch.start {
            return;
        }
        for live in view.all(TypeUrl::VirtualHost) {
            let Some(parent) = live.resource.parent().filter(|parent| parents.contains(parent)) else {
                continue;
            };
            let name = live.resource.name();
            watch.aside.remove(name);
            if watch.due.get(name).is_some_and(|due| due.fresh) {
                // Never sent.
                watch.due.remove(name);
            } else {
                let parent = Some(parent.clone());
                watch.mark(name.clone(), Due { parent, dropped: true, ..Due::changed(since) });
            }
        }
    }
}

/// What a client holds and the view has no more, by name.
fn gone<'a>(type_url: TypeUrl, held: &HashMap<&'a str, Option<Version>>, view: &View) -> Vec<&'a str> {
    let mut gone: Vec<&str> =
        held.keys().copied().filter(|name| view.find(type_url, name).is_none()).collect();
    gone.sort_unstable();
    gone
}

/// The resources that are in one of these parts.
fn differing(type_url: TypeUrl, parts: Parts, view: &View) -> impl Iterator<Item = &Live> {
    let all = if parts.is_empty() { None } else { Some(view.all(type_url)) };
    all.into_iter().flatten().filter(move |live| parts.contain(live.resource.mark()))
}
