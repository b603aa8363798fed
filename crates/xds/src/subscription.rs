//! Which names of one type a client asked for, kept small.
//!
//! Knows: names. Must not know: what was sent. A sidecar subscribes to the assignments of all its clusters by name; for
//! that one case the set is kept as "all of the view" with exceptions, since 3,000 names for each of 10,000 streams would
//! be gigabytes.

use std::collections::BTreeSet;

use meltemi_catalog::{ResourceName, View};
use meltemi_names::TypeUrl;

use crate::request::NameList;

/// The subscription of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    /// `*`, or the old spelling of it.
    pub(crate) wildcard: bool,
    /// Every name of the view was asked for by name.
    all: bool,
    /// With `all`: names of the view that are not subscribed after all.
    except: BTreeSet<ResourceName>,
    /// Names asked for; with `all` only those that the view does not have.
    names: BTreeSet<ResourceName>,
}

/// Below this many names a plain set is small enough. Tests with few names are to meet both ways.
const COMPACT_FROM: usize = if cfg!(test) { 4 } else { 32 };

impl Subscription {
    /// Whether a resource of that name is wanted.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.named(name)
    }

    /// Whether it was asked for by its name.
    pub(crate) fn named(&self, name: &str) -> bool {
        self.names.contains(name) || (self.all && !self.except.contains(name))
    }

    /// Adds a name; shares the view's own copy of it.
    pub(crate) fn add(&mut self, type_url: TypeUrl, name: &str, view: &View) -> ResourceName {
        self.except.remove(name);
        let known = view.find(type_url, name).map(|live| live.resource.name().clone());
        if let Some(known) = known {
            if !self.all {
                self.names.insert(known.clone());
            }
            return known;
        }
        if let Some(present) = self.names.get(name) {
            return present.clone();
        }
        let name = ResourceName::from(name);
        self.names.insert(name.clone());
        name
    }

    /// Takes a first list if that is all names of the view: nothing is then kept one by one.
    pub(crate) fn add_all(&mut self, type_url: TypeUrl, names: &NameList, view: &View) -> bool {
        let are_all = type_url == TypeUrl::Endpoint
            && names.len() >= COMPACT_FROM
            && self.is_empty()
            && names.are_all_of(&view.summary(type_url));
        self.all |= are_all;
        are_all
    }

    /// Drops a name; true if it was there.
    pub(crate) fn drop_name(&mut self, type_url: TypeUrl, name: &str, view: &View) -> bool {
        if self.names.remove(name) {
            return true;
        }
        if !self.all || self.except.contains(name) {
            return false;
        }
        match view.find(type_url, name) {
            Some(live) => self.except.insert(live.resource.name().clone()),
            None => false,
        }
    }

    /// The view has that name (again).
    pub(crate) fn appeared(&mut self, name: &str) {
        if self.all {
            self.names.remove(name);
        }
    }

    /// The view does not have that name any more; who asked for it still does.
    pub(crate) fn vanished(&mut self, name: &ResourceName) {
        if self.all && !self.except.remove(name.as_str()) {
            self.names.insert(name.clone());
        }
    }

    /// Keeps "all of the view" instead of its names, if that is what they are; of assignments alone.
    pub(crate) fn compact(&mut self, type_url: TypeUrl, view: &View) {
        let count = view.count(type_url);
        if type_url != TypeUrl::Endpoint || self.all || count < COMPACT_FROM || self.names.len() < count {
            return;
        }
        if view.all(type_url).all(|live| self.names.contains(live.resource.name().as_str())) {
            self.names.retain(|name| view.find(type_url, name.as_str()).is_none());
            self.all = true;
        }
    }

    /// Another view: "all" meant the old one's names, which are known no more. Everything of the new one is meant from now
    /// on; a client ignores an assignment that it did not ask for.
    pub(crate) fn moved(&mut self, type_url: TypeUrl, view: &View) {
        if self.all {
            self.except.clear();
            self.names.retain(|name| view.find(type_url, name.as_str()).is_none());
        }
    }

    /// Whether "all of the view" is meant by the names.
    pub(crate) fn is_all(&self) -> bool {
        self.all
    }

    /// Whether every name of the view was asked for, and no other.
    pub(crate) fn has_all(&self) -> bool {
        self.all && self.except.is_empty() && self.names.is_empty()
    }

    /// The names kept one by one: all that were asked for, or with [`Subscription::is_all`] those that the view lacks.
    pub(crate) fn names(&self) -> impl Iterator<Item = &ResourceName> {
        self.names.iter()
    }

    /// How many names were asked for; a wildcard counts what the view has.
    pub(crate) fn count(&self, type_url: TypeUrl, view: &View) -> usize {
        if self.wildcard {
            view.count(type_url)
        } else if self.all {
            view.count(type_url) + self.names.len() - self.except.len()
        } else {
            self.names.len()
        }
    }

    /// How many names are kept one by one.
    pub(crate) fn kept(&self) -> usize {
        self.names.len() + self.except.len()
    }

    /// Nothing is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        !self.wildcard && !self.all && self.names.is_empty()
    }
}

#[cfg(test)]
mod tests;
