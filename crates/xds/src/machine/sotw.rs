//! State-of-the-world requests: the whole subscription each time; only the differences matter.
//!
//! Rules: the xDS protocol, and Istio's `pkg/xds/server.go`.

use std::collections::BTreeSet;
use std::time::Instant;

use meltemi_catalog::{Generation, ResourceName, View};
use meltemi_names::TypeUrl;

use super::{Machine, legacy_wildcard};
use crate::request::{ErrorDetail, NameList};
use crate::watch::{Answered, Due, Watch};

/// Types whose response lists everything: what is left out is removed. The others may be answered in part.
fn complete(type_url: TypeUrl) -> bool {
    matches!(type_url, TypeUrl::Cluster | TypeUrl::Listener)
}

impl Machine {
    /// A request of one type.
    pub(super) fn sotw(
        &mut self,
        type_url: TypeUrl,
        nonce: &str,
        error: Option<ErrorDetail>,
        names: &NameList,
        view: &View,
        now: Instant,
    ) {
        // A returning client carries the nonce of another stream: the first request of a type is answered, whatever it says.
        if nonce.is_empty() || self.watch(type_url).is_none() {
            self.sotw_first(type_url, names, view);
            return;
        }
        let refused = error.is_some();
        let answered = self.answered(type_url, nonce, error, view, now);
        let last = self.watch(type_url).is_some_and(|watch| match answered {
            Answered::Flight(_) => self.nonce_of(nonce) == Some(watch.last_nonce),
            Answered::Before => true,
            Answered::Stale => false,
        });
        // The names of a request that answers an older response are repeated with the answer to the last one.
        if last && !(refused && names.is_empty()) {
            self.sotw_names(type_url, names, view);
        }
    }

    fn sotw_first(&mut self, type_url: TypeUrl, names: &NameList, view: &View) {
        if names.is_empty() && !legacy_wildcard(type_url) {
            self.watches[type_url as usize] = None;
            return;
        }
        let mut watch = Box::new(Watch::new(type_url, complete(type_url)));
        if type_url == TypeUrl::Endpoint {
            self.touched.clear();
            self.all_touched = false;
        }
        let since = Generation(1).min(self.since());
        watch.subscription.wildcard = names.is_empty() || names.iter().any(|name| name == "*");
        if !watch.subscription.add_all(type_url, names, view) {
            for name in names.iter().filter(|name| *name != "*") {
                watch.subscription.add(type_url, name, view);
            }
            watch.subscription.compact(type_url, view);
        }
        watch.start = watch.subscription.wildcard || watch.subscription.is_all();
        let named: Vec<ResourceName> = watch.subscription.names().cloned().collect();
        for name in named {
            watch.mark(name, Due::asked(since));
        }
        self.watches[type_url as usize] = Some(watch);
    }

    /// The subscription as the client says it is now.
    fn sotw_names(&mut self, type_url: TypeUrl, names: &NameList, view: &View) {
        let since = self.since();
        let Some(watch) = self.watch_mut(type_url) else { return };
        if watch.subscription.has_all() && names.are_all_of(&view.summary(type_url)) {
            // Each acknowledgement says 3,000 names again.
            return;
        }
        if names.is_empty() {
            // Never named anything: still the old spelling of the wildcard. Else the last name was dropped.
            let named = !watch.subscription.wildcard;
            if named {
                self.watches[type_url as usize] = None;
            }
            return;
        }
        let wildcard = names.iter().any(|name| name == "*");
        if wildcard && !watch.subscription.wildcard {
            watch.start = true;
        }
        watch.subscription.wildcard = wildcard;
        let wanted: BTreeSet<&str> = names.iter().filter(|name| *name != "*").collect();
        for name in &wanted {
            if !watch.subscription.named(name)
                || (watch.subscription.is_all()
                    && view.find(type_url, name).is_none()
                    && !watch.subscription.names().any(|kept| kept.as_str() == *name))
            {
                let name = watch.subscription.add(type_url, name, view);
                let made =
                    view.find(type_url, name.as_str()).map_or(since, |live| live.generation.min(since));
                watch.mark(name, Due::asked(made));
            }
        }
        let mut dropped: Vec<ResourceName> =
            watch.subscription.names().filter(|name| !wanted.contains(name.as_str())).cloned().collect();
        if watch.subscription.is_all() {
            dropped.extend(
                view.all(type_url)
                    .map(|live| live.resource.name())
                    .filter(|name| !wanted.contains(name.as_str()))
                    .cloned(),
            );
        }
        for name in dropped {
            watch.subscription.drop_name(type_url, name.as_str(), view);
            if !watch.subscription.wildcard {
                watch.due.remove(&name);
                watch.aside.remove(&name);
                watch.have.remove(&name);
            }
        }
        watch.subscription.compact(type_url, view);
        if watch.subscription.is_empty() {
            self.watches[type_url as usize] = None;
        }
    }
}
