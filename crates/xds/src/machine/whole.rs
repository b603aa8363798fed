//! The first answer of a type, when that is all there is: the layers' own bytes, which every stream of these layers shares.
//!
//! Knows: when nothing of it has to wait or is left out. Must not know: how a part of a type is answered (`compose.rs`).
//! Invariant: the client hears what `compose.rs` would tell it name by name.

use std::time::Instant;

use meltemi_catalog::{Generation, View};
use meltemi_names::TypeUrl;

use super::{Machine, Next, compose};
use crate::flight::Sent;
use crate::response::Assembly;

impl Machine {
    /// The answer, if it may be one.
    pub(super) fn whole(&mut self, type_url: TypeUrl, view: &View, now: Instant) -> Option<Next> {
        if !self.is_whole(type_url, view, now) {
            return None;
        }
        let mut assembly = Assembly::new(self.form, 0);
        for layer in view.layers() {
            assembly.put_run(layer.run(type_url, self.form), layer.count(type_url));
        }
        let since = (view.count(type_url) > 0).then_some(Generation(0));
        let carried = Sent::Whole(type_url, View::new(view.layers().iter().cloned()));
        self.watch_mut(type_url)?.start = false;
        if type_url == TypeUrl::Cluster {
            if self.watch(TypeUrl::Endpoint).is_none() {
                self.all_touched = true;
            } else {
                let assignments = view
                    .all(type_url)
                    .flat_map(|live| compose::endpoints_of(live.resource.needs()))
                    .collect();
                self.assignments_follow(assignments, view);
            }
        }
        Some(self.send(type_url, assembly, carried, since, view, now))
    }

    fn is_whole(&self, type_url: TypeUrl, view: &View, now: Instant) -> bool {
        let Some(watch) = self.watch(type_url) else { return false };
        // A list of the state of the world is kept name by name.
        let is_first = watch.start && !watch.answered && !watch.complete;
        let has_exceptions = !watch.due.is_empty() || !watch.aside.is_empty() || !watch.batches.is_empty();
        if !is_first || has_exceptions || !(watch.subscription.wildcard || watch.subscription.has_all()) {
            return false;
        }
        if view.summary(type_url).bytes() > self.limits.response_bytes {
            return false;
        }
        match type_url {
            TypeUrl::Listener | TypeUrl::Route => self.standing(type_url, view, now).clusters_quiet,
            TypeUrl::VirtualHost => {
                self.standing(type_url, view, now).clusters_quiet && self.has_all_parents(view)
            }
            _ => true,
        }
    }

    /// Whether every virtual host belongs to a route configuration that the client asked for and was sent.
    fn has_all_parents(&self, view: &View) -> bool {
        let Some(routes) = self.watch(TypeUrl::Route) else { return false };
        if routes.start || routes.due.values().any(|due| due.fresh) {
            return false;
        }
        let mut last = None;
        view.all(TypeUrl::VirtualHost).all(|live| {
            let Some(parent) = live.resource.parent() else { return false };
            // They come one route configuration after the other.
            let is_covered = last == Some(parent) || routes.subscription.covers(parent.as_str());
            last = Some(parent);
            is_covered
        })
    }
}
