//! One simulated sidecar, as Envoy behaves on a delta aggregated stream; pure, and small: numbers instead of names.
//!
//! Knows: what Envoy asks and when. Must not know: sockets, the clock, what other sidecars hold.
//! The order: all clusters; the assignments that they name; all listeners once no cluster warms; the route
//! configurations that those name; one request for all virtual hosts once a route configuration wants them. Every
//! answer is acknowledged: that of clusters once none of them warms, the others at once. A changed cluster warms until
//! its endpoints come, and Envoy does not ask for them again (facts: delta); the server must send them.

use std::sync::Arc;

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;

use crate::answer::Answer;
use crate::catalogue::{Catalogue, KINDS, Known};
use crate::requests::Requests;

/// What Envoy subscribes to, in the order in which it does.
pub const TYPES: [TypeUrl; KINDS] =
    [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route, TypeUrl::VirtualHost];

/// One simulated sidecar.
#[derive(Debug)]
pub struct Sidecar {
    node: Arc<Node>,
    catalogue: Catalogue,
    /// Per type, and per name (by its number) the number of the body held, 0 for none.
    held: [Vec<u32>; KINDS],
    answered: [bool; KINDS],
    subscribed: [bool; KINDS],
    endpoints: Wanted,
    routes: Wanted,
    warming: Warming,
    /// The answers of clusters that are acknowledged when none warms.
    unacknowledged: Vec<String>,
}

/// The names of a type that others refer to.
#[derive(Debug, Default)]
struct Wanted {
    /// How many refer to each name.
    references: Vec<u32>,
    asked: Vec<bool>,
    touched: Vec<u32>,
}

/// The assignments that changed clusters wait for.
#[derive(Debug, Default)]
struct Warming {
    names: Vec<bool>,
    count: usize,
}

/// What one answer brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Index of the type in [`TYPES`].
    pub kind: usize,
    /// Resources in it.
    pub resources: usize,
    /// Names that it removes.
    pub removed: usize,
    /// The numbers of the names of a change, for the clock that runs per name; empty for a large answer, which is no change.
    pub names: Vec<u32>,
}

/// An answer of more resources is a first one; one of fewer may be all that has changed while a sidecar was slow.
const CHANGE: usize = 100;

impl Sidecar {
    /// A sidecar that holds nothing.
    pub fn new(node: Arc<Node>, catalogue: Catalogue) -> Self {
        Self {
            node,
            catalogue,
            held: Default::default(),
            answered: [false; KINDS],
            subscribed: [false; KINDS],
            endpoints: Wanted::default(),
            routes: Wanted::default(),
            warming: Warming::default(),
            unacknowledged: Vec::new(),
        }
    }

    /// The requests with which it opens a stream: the first one for all clusters, and on a reconnect those for all it
    /// was subscribed to, with the versions that it holds.
    pub fn open(&mut self) -> Requests {
        self.unacknowledged.clear();
        self.answered = [false; KINDS];
        self.subscribed[TypeUrl::Cluster as usize] = true;
        let known = self.catalogue.known();
        let mut requests = Requests::default();
        for kind in TYPES {
            if !self.subscribed[kind as usize] {
                continue;
            }
            let wanted = self.wanted(kind);
            // Without names it would ask for all there are.
            if wanted.is_some_and(|wanted| wanted.asked().next().is_none()) {
                continue;
            }
            requests.add(kind, |request| {
                if kind == TYPES[0] {
                    request.node(&self.node);
                }
                let asked = wanted.into_iter().flat_map(Wanted::asked);
                asked.for_each(|name| request.subscribe(known.name(kind, name)));
                request.hold(self.held(kind).map(|(_, body)| &*known.body(body).told));
            });
        }
        requests
    }

    /// Takes an answer and says what follows from it, acknowledgement included.
    ///
    /// # Errors
    /// When the server sends what nobody asked for, or what is not what its type says.
    pub fn take(&mut self, answer: &Answer<'_>, requests: &mut Requests) -> Result<Brought> {
        let kind = TypeUrl::parse(answer.type_url)
            .filter(|kind| TYPES.contains(kind))
            .with_context(|| format!("the server sent {}, which nobody asked for", answer.type_url))?;
        let numbers = self.catalogue.numbers(kind, &answer.resources)?;
        let names =
            if numbers.len() <= CHANGE { numbers.iter().map(|of| of.name).collect() } else { Vec::new() };
        let catalogue = self.catalogue.clone();
        let known = catalogue.known();
        for numbers in numbers {
            self.put(kind, numbers.name, numbers.body, &known);
        }
        for name in &answer.removed {
            if let Some(name) = known.number(kind, name) {
                self.put(kind, name, 0, &known);
            }
        }
        self.answered[kind as usize] = true;
        if kind == TypeUrl::Cluster {
            self.unacknowledged.push(answer.nonce.to_owned());
        } else {
            acknowledge(kind, answer.nonce, requests);
        }
        self.follow(&known, requests);
        Ok(Brought {
            kind: kind as usize,
            resources: answer.resources.len(),
            removed: answer.removed.len(),
            names,
        })
    }

    /// Whether all it asked for was answered, so that an Envoy would serve.
    pub fn is_settled(&self) -> bool {
        let all_answered = TYPES.iter().all(|kind| {
            let kind = *kind as usize;
            self.subscribed[kind] == self.answered[kind]
        });
        all_answered
            && self.subscribed[TypeUrl::Listener as usize]
            && self.unacknowledged.is_empty()
            && self.holds_all(TypeUrl::Endpoint, &self.endpoints)
            && self.holds_all(TypeUrl::Route, &self.routes)
    }

    /// How many resources it holds of each type, in the order of [`TYPES`].
    pub fn counts(&self) -> [usize; KINDS] {
        TYPES.map(|kind| self.held(kind).count())
    }

    /// Name and body numbers of what it holds.
    fn held(&self, kind: TypeUrl) -> impl Iterator<Item = (u32, u32)> {
        (0..).zip(&self.held[kind as usize]).filter(|(_, body)| **body != 0).map(|(name, body)| (name, *body))
    }

    fn wanted(&self, kind: TypeUrl) -> Option<&Wanted> {
        match kind {
            TypeUrl::Endpoint => Some(&self.endpoints),
            TypeUrl::Route => Some(&self.routes),
            _ => None,
        }
    }

    fn holds_all(&self, kind: TypeUrl, wanted: &Wanted) -> bool {
        let held = &self.held[kind as usize];
        let is_held = |name: usize| held.get(name).is_some_and(|body| *body != 0);
        wanted.references.iter().enumerate().all(|(name, references)| *references == 0 || is_held(name))
    }

    /// Holds another body under a name; 0 for none.
    fn put(&mut self, kind: TypeUrl, name: u32, body: u32, known: &Known) {
        let old = std::mem::replace(slot(&mut self.held[kind as usize], name), body);
        match kind {
            TypeUrl::Endpoint => self.warming.stop(name),
            TypeUrl::Cluster if old != body => {
                self.endpoints.exchange(&known.body(old).asks, &known.body(body).asks);
                for name in &known.body(body).asks {
                    self.warming.start(*name);
                }
            }
            TypeUrl::Listener if old != body => {
                self.routes.exchange(&known.body(old).asks, &known.body(body).asks);
            }
            _ => {}
        }
    }

    /// Asks for what is named by what is held now, and gives up what is no longer.
    fn follow(&mut self, known: &Known, requests: &mut Requests) {
        for given_up in self.endpoints.given_up() {
            self.warming.stop(given_up);
            *slot(&mut self.held[TypeUrl::Endpoint as usize], given_up) = 0;
        }
        self.subscribe(TypeUrl::Endpoint, known, requests);
        if self.warming.count == 0 {
            let nonces = self.unacknowledged.drain(..);
            nonces.for_each(|nonce| acknowledge(TypeUrl::Cluster, &nonce, requests));
        }
        let is_warm = self.warming.count == 0 && self.answered[TypeUrl::Cluster as usize];
        if is_warm && !self.subscribed[TypeUrl::Listener as usize] {
            self.subscribe_to_all(TypeUrl::Listener, requests);
        }
        for given_up in self.routes.given_up() {
            *slot(&mut self.held[TypeUrl::Route as usize], given_up) = 0;
        }
        self.subscribe(TypeUrl::Route, known, requests);
        if !self.subscribed[TypeUrl::VirtualHost as usize]
            && self.held(TypeUrl::Route).any(|(_, body)| known.body(body).virtual_hosts)
        {
            self.subscribe_to_all(TypeUrl::VirtualHost, requests);
        }
    }

    fn subscribe_to_all(&mut self, kind: TypeUrl, requests: &mut Requests) {
        self.subscribed[kind as usize] = true;
        requests.add(kind, |_| {});
    }

    fn subscribe(&mut self, kind: TypeUrl, known: &Known, requests: &mut Requests) {
        let wanted = if kind == TypeUrl::Endpoint { &mut self.endpoints } else { &mut self.routes };
        let (added, removed) = wanted.changes();
        if added.is_empty() && removed.is_empty() {
            return;
        }
        self.subscribed[kind as usize] = true;
        requests.add(kind, |request| {
            added.iter().for_each(|name| request.subscribe(known.name(kind, *name)));
            removed.iter().for_each(|name| request.unsubscribe(known.name(kind, *name)));
        });
    }
}

impl Wanted {
    fn exchange(&mut self, old: &[u32], new: &[u32]) {
        for name in old {
            let references = slot(&mut self.references, *name);
            *references = references.saturating_sub(1);
            self.touched.push(*name);
        }
        for name in new {
            *slot(&mut self.references, *name) += 1;
            self.touched.push(*name);
        }
    }

    /// What is asked for until now and will not be; [`Wanted::changes`] forgets it.
    fn given_up(&mut self) -> Vec<u32> {
        let mut touched = self.touched.clone();
        touched.retain(|name| *slot(&mut self.references, *name) == 0 && *slot(&mut self.asked, *name));
        touched
    }

    /// What to ask for, and what to give up, since the last time.
    fn changes(&mut self) -> (Vec<u32>, Vec<u32>) {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for name in std::mem::take(&mut self.touched) {
            let is_wanted = *slot(&mut self.references, name) > 0;
            if std::mem::replace(slot(&mut self.asked, name), is_wanted) != is_wanted {
                if is_wanted { &mut added } else { &mut removed }.push(name);
            }
        }
        (added, removed)
    }

    /// The numbers of the names that are asked for.
    fn asked(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.asked).filter(|(_, is_asked)| **is_asked).map(|(name, _)| name)
    }
}

impl Warming {
    fn start(&mut self, name: u32) {
        if !std::mem::replace(slot(&mut self.names, name), true) {
            self.count += 1;
        }
    }

    fn stop(&mut self, name: u32) {
        if std::mem::take(slot(&mut self.names, name)) {
            self.count -= 1;
        }
    }
}

/// The place of that number, made if it is not there.
fn slot<T: Default + Clone>(values: &mut Vec<T>, number: u32) -> &mut T {
    let index = number as usize;
    if index >= values.len() {
        values.resize(index + 1, T::default());
    }
    &mut values[index]
}

fn acknowledge(kind: TypeUrl, nonce: &str, requests: &mut Requests) {
    requests.add(kind, |request| request.acknowledge(nonce));
}

#[cfg(test)]
mod tests;
