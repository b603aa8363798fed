//! What waits for what: made before it is used, kept until it is unused.
//!
//! Knows: which type refers to which ([`Resource::needs`]). Must not know: encodings, sockets.
//! Invariant: additions wait only "downwards" (routes and listeners for clusters), removals only "upwards" (clusters for
//! routes and listeners), so no two waits form a ring; and every wait ends with an answer or with a flight's limit.

use std::time::Instant;

use meltemi_catalog::{Generation, Resource, ResourceName, View};
use meltemi_names::TypeUrl;

use crate::machine::Machine;
use crate::watch::{Due, Watch};

/// Whether a due name may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Now.
    Ready,
    /// Not before something is answered, or its wait ends.
    Wait,
    /// A removal that waits; a first answer need not wait for it.
    Keep,
    /// Not while the client refuses what it needs: it stays at its last good.
    Refused,
    /// There is nothing to tell the client about that name (any more).
    Moot,
}

/// Types whose resources refer to clusters; in the order of their pushes.
const USERS: [TypeUrl; 3] = [TypeUrl::Listener, TypeUrl::Route, TypeUrl::VirtualHost];

/// What is the same for all names of one type in one go.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Clusters may be waited for.
    pub(crate) clusters_quiet: bool,
    /// The first generation that listeners, routes and virtual hosts have not acknowledged.
    users_since: Option<Generation>,
    /// Those three have not all been asked for, early in the stream's life.
    early: bool,
}

impl Machine {
    /// What orders the names of `type_url` now.
    pub(crate) fn standing(&self, type_url: TypeUrl, view: &View, now: Instant) -> Standing {
        let is_cluster = type_url == TypeUrl::Cluster;
        Standing {
            clusters_quiet: match self.watch(TypeUrl::Cluster) {
                Some(clusters) => clusters.quiet(),
                None => self.clusters_expected_until().is_none_or(|until| now >= until),
            },
            users_since: if is_cluster {
                USERS
                    .iter()
                    .filter_map(|&user| self.watch(user).and_then(|watch| watch.unsettled_since(false)))
                    .min()
            } else {
                None
            },
            early: is_cluster && self.early_until(view).is_some_and(|until| now < until),
        }
    }

    /// Until when cluster removals wait for listeners, routes and virtual hosts to be asked for at all: a client that
    /// comes back with versions asks for clusters first, and its routes may still use what is gone. None if all were
    /// asked for, or if the client had nothing from before.
    pub(crate) fn early_until(&self, view: &View) -> Option<Instant> {
        let awaited = USERS.iter().any(|&user| {
            // Listeners and routes may be at the client though the view has none any more.
            let expected = user != TypeUrl::VirtualHost || view.count(user) > 0;
            expected && self.watch(user).is_none_or(|watch| !watch.answered)
        });
        if self.returning && awaited { self.born.map(|born| born + self.limits.ack_wait) } else { None }
    }

    /// Until when routes wait for CDS to be asked for at all. Only where it was not, and is expected: a client that asks for
    /// EDS before CDS comes back with warming clusters (gRPC, which asks for routes first, asks for EDS last).
    pub(crate) fn clusters_expected_until(&self) -> Option<Instant> {
        let expected = self.clusters_expected && self.watch(TypeUrl::Cluster).is_none();
        if expected { self.born.map(|born| born + self.limits.ack_wait) } else { None }
    }

    /// Whether `name` may be sent; `resource` is what the view has.
    pub(crate) fn hold(
        &self,
        watch: &Watch,
        name: &ResourceName,
        due: &Due,
        resource: Option<&Resource>,
        view: &View,
        standing: &Standing,
    ) -> Hold {
        match (watch.type_url, resource) {
            (TypeUrl::Cluster, None) if !due.asked => {
                // It may be due for an older change, too, that was never sent.
                let removed = view.touched(TypeUrl::Cluster, name.as_str()).unwrap_or(self.since());
                let used = standing.users_since.is_some_and(|since| since <= removed.max(due.since));
                if used || standing.early { Hold::Keep } else { Hold::Ready }
            }
            (TypeUrl::Endpoint, None) if !due.asked => {
                // Gone together with its cluster: the client, which may still be sending requests to it, will unsubscribe.
                // Gone without: it has no endpoints any more.
                self.gone(view, TypeUrl::Cluster, TypeUrl::Endpoint, name)
            }
            (TypeUrl::Route, None) if !due.asked => {
                // A removed listener drains with its routes; they must not be emptied under it.
                self.gone(view, TypeUrl::Listener, TypeUrl::Route, name)
            }
            (TypeUrl::Listener | TypeUrl::Route, Some(resource)) => {
                self.clusters_of(resource, due, view, standing)
            }
            (TypeUrl::VirtualHost, resource) => {
                if let Some(parent) = resource.and_then(Resource::parent).or(due.parent.as_ref()) {
                    match self.parent_sent(watch, name, parent) {
                        Hold::Ready if due.drains && view.find(TypeUrl::Route, parent.as_str()).is_none() => {
                            return Hold::Keep;
                        }
                        Hold::Moot if due.dropped || due.drains => return Hold::Ready,
                        Hold::Ready => {}
                        other => return other,
                    }
                }
                resource.map_or(Hold::Ready, |resource| self.clusters_of(resource, due, view, standing))
            }
            _ => Hold::Ready,
        }
    }

    /// Listeners, routes and virtual hosts wait for the CDS answer that brings a cluster that they need.
    fn clusters_of(&self, resource: &Resource, due: &Due, view: &View, standing: &Standing) -> Hold {
        if standing.clusters_quiet {
            return Hold::Ready;
        }
        let Some(clusters) = self.watch(TypeUrl::Cluster) else {
            let any = resource.needs().iter().any(|need| need.type_url == TypeUrl::Cluster);
            return if any { Hold::Wait } else { Hold::Ready };
        };
        let mut refused = false;
        for need in resource.needs() {
            // What does not exist, or was not asked for, will never come.
            if need.type_url != TypeUrl::Cluster
                || !clusters.subscription.covers(need.name.as_str())
                || view.find(TypeUrl::Cluster, need.name.as_str()).is_none()
            {
                continue;
            }
            if clusters.aside.contains_key(&need.name) {
                refused = true;
            } else if clusters.unsettled(need.name.as_str()) {
                return Hold::Wait;
            }
        }
        // With no last good it is as in Istio: the route is there, and answers 503 where the cluster is missing.
        if refused && !due.fresh { Hold::Refused } else { Hold::Ready }
    }

    /// A virtual host comes after its route configuration, and only to who asked for that.
    fn parent_sent(&self, watch: &Watch, name: &ResourceName, parent: &ResourceName) -> Hold {
        if !watch.subscription.wildcard && watch.subscription.named(name.as_str()) {
            return Hold::Ready;
        }
        match self.watch(TypeUrl::Route) {
            Some(routes) if routes.subscription.covers(parent.as_str()) => {
                if routes.start || routes.due.get(parent.as_str()).is_some_and(|due| due.fresh) {
                    Hold::Wait
                } else {
                    Hold::Ready
                }
            }
            _ => Hold::Moot,
        }
    }

    /// A name that the client subscribed to and that the view has no more: told as empty only if a resource that the
    /// client has by subscription to `by` still needs it.
    fn gone(&self, view: &View, by: TypeUrl, type_url: TypeUrl, name: &ResourceName) -> Hold {
        if self.watch(by).is_none() {
            return Hold::Ready;
        }
        let needs = |resource: &Resource| {
            resource.needs().iter().any(|need| need.type_url == type_url && need.name == *name)
        };
        let needed = view.find(by, name.as_str()).is_some_and(|live| needs(&live.resource))
            || view.all(by).any(|live| needs(&live.resource));
        if needed { Hold::Ready } else { Hold::Moot }
    }
}
