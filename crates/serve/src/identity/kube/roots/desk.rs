//! What is to be written into which namespace, and when. Pure, given `now`.
//!
//! Source of the names and of the namespaces that are left out: istio: pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meltemi_sources::kube::{ConfigMap, Told};

use crate::pace::Allowance;

/// Istio's label of ConfigMaps that are its own.
pub(super) const LABEL: (&str, &str) = ("istio.io/config", "true");

/// Namespaces without workloads of the mesh, whatever selectors say.
const LEFT_OUT: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];

/// Writes a second, and at once: a thousand namespaces have new roots within half a minute.
const RATE: f64 = 40.0;
const BURST: f64 = 80.0;

/// A namespace that was written a moment ago and differs again is waited for this long, then twice as long, and so on: somebody else
/// writes there, too (another control plane with other roots), and two who never rest help nobody.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A ConfigMap of Istio's, of the same name and form in every namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// Its name.
    pub(super) name: &'static str,
    /// Its only key that is ours.
    pub(super) key: &'static str,
    /// An empty text is written where there was another, and else not at all.
    pub(super) may_be_left_out: bool,
}

/// The roots.
pub(super) const ROOTS: Map =
    Map { name: "istio-ca-root-cert", key: "root-cert.pem", may_be_left_out: false };

/// The revocation lists.
pub(super) const CRL: Map = Map { name: "istio-ca-crl", key: "ca-crl.pem", may_be_left_out: true };

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there.
    Written,
    /// Not now: the namespace is going, or may not be written to.
    Refused,
    /// Another control plane's, which has other roots: its workloads would lose it.
    Foreign,
    /// The API server is away, or too busy.
    Failed,
}

/// What is known of one such ConfigMap in all namespaces.
#[derive(Debug)]
pub(super) struct Desk {
    map: Map,
    /// What should be in it; none: that is not known yet.
    wanted: Option<Arc<str>>,
    selected: BTreeSet<String>,
    /// What is in it; nothing where there is none. The same text is shared.
    present: BTreeMap<String, Arc<str>>,
    /// All that there are were told.
    is_whole: bool,
    /// Those that differ, and from when on they may be written.
    due: BTreeMap<String, Instant>,
    under_way: BTreeSet<String>,
    rests: BTreeMap<String, Rest>,
    allowance: Allowance,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    written: Instant,
    pause: Duration,
}

impl Desk {
    pub(super) fn new(map: Map, now: Instant) -> Self {
        Self {
            map,
            wanted: None,
            selected: BTreeSet::new(),
            present: BTreeMap::new(),
            is_whole: false,
            due: BTreeMap::new(),
            under_way: BTreeSet::new(),
            rests: BTreeMap::new(),
            allowance: Allowance::new(RATE, BURST, now),
        }
    }

    /// This is to be in it from now on.
    pub(super) fn want(&mut self, text: Arc<str>, now: Instant) {
        if self.wanted.as_ref() != Some(&text) {
            self.wanted = Some(text);
            // Not somebody else's doing.
            self.rests.clear();
            self.due.clear();
            self.look_at_all(now);
        }
    }

    /// These namespaces get it from now on.
    pub(super) fn select(&mut self, namespaces: impl IntoIterator<Item = String>, now: Instant) {
        let selected = namespaces.into_iter().filter(|name| !LEFT_OUT.contains(&name.as_str()));
        self.selected = selected.collect();
        self.rests.retain(|name, _| self.selected.contains(name));
        self.look_at_all(now);
    }

    /// What the API server tells of them.
    pub(super) fn on_told(&mut self, told: Told<ConfigMap>, now: Instant) {
        let namespace = match told {
            Told::Is(namespace, found) => {
                let text = self.read(&found);
                self.present.insert(namespace.clone(), text);
                namespace
            }
            Told::Gone(namespace) => {
                self.present.remove(&namespace);
                namespace
            }
            Told::Whole => {
                self.is_whole = true;
                return self.look_at_all(now);
            }
            Told::Trouble(_) => return,
        };
        self.look_at(&namespace, now);
    }

    /// What a ConfigMap has under our key; what is without our label counts as nothing.
    fn read(&self, found: &ConfigMap) -> Arc<str> {
        let is_labelled = found.labels.get(LABEL.0).is_some_and(|value| value == LABEL.1);
        let text = found.data.get(self.map.key).filter(|_| is_labelled).map(String::as_str);
        match (text, &self.wanted) {
            (Some(text), Some(wanted)) if *text == **wanted => Arc::clone(wanted),
            (Some(text), _) => text.into(),
            // Never what is wanted, which ends with a newline, or is empty.
            (None, _) => "-".into(),
        }
    }

    fn look_at_all(&mut self, now: Instant) {
        let gone: Vec<String> =
            self.due.keys().filter(|name| !self.selected.contains(*name)).cloned().collect();
        for name in gone {
            self.due.remove(&name);
        }
        for name in self.selected.clone() {
            self.look_at(&name, now);
        }
    }

    fn look_at(&mut self, namespace: &str, now: Instant) {
        if self.differs(namespace) {
            let at = match self.rests.get(namespace) {
                Some(rest) => now.max(rest.written + rest.pause),
                None => now,
            };
            self.due.entry(namespace.to_owned()).or_insert(at);
        } else {
            self.due.remove(namespace);
        }
    }

    fn differs(&self, namespace: &str) -> bool {
        let Some(wanted) = &self.wanted else { return false };
        if !self.is_whole || !self.selected.contains(namespace) {
            return false;
        }
        match self.present.get(namespace) {
            Some(present) => present != wanted,
            None => !(self.map.may_be_left_out && wanted.is_empty()),
        }
    }

    /// Whether what is in a namespace, by whomever it was written, is of this mesh: it shares a root with ours, or has none.
    pub(super) fn is_of_this_mesh(&self, namespace: &str) -> bool {
        let (Some(present), Some(wanted)) = (self.present.get(namespace), &self.wanted) else { return true };
        // Of revocation lists nothing is known; they follow the roots.
        self.map != ROOTS
            || is_without(present)
            || blocks(present).any(|root| blocks(wanted).any(|own| own == root))
    }

    /// A namespace to write now, and the text; to be followed by [`Desk::on_done`].
    pub(super) fn next(&mut self, now: Instant) -> Option<(String, Arc<str>)> {
        let wanted = self.wanted.clone()?;
        let is_due = |(name, at): &(&String, &Instant)| **at <= now && !self.under_way.contains(*name);
        let namespace = self.due.iter().find(is_due).map(|(name, _)| name.clone())?;
        if !self.allowance.take(now) {
            return None;
        }
        self.due.remove(&namespace);
        self.under_way.insert(namespace.clone());
        Some((namespace, wanted))
    }

    /// When there may be a next one, if nothing happens meanwhile.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first =
            self.due.iter().filter(|(name, _)| !self.under_way.contains(*name)).map(|(_, at)| *at).min()?;
        Some(first.max(self.allowance.next()))
    }

    /// A write ended.
    pub(super) fn on_done(&mut self, namespace: &str, text: Arc<str>, outcome: &Outcome, now: Instant) {
        self.under_way.remove(namespace);
        let pause = match self.rests.get(namespace) {
            Some(rest) if now.saturating_duration_since(rest.written) < 4 * rest.pause => {
                (rest.pause * 2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        if self.selected.contains(namespace) {
            self.rests.insert(namespace.to_owned(), Rest { written: now, pause });
        }
        if *outcome == Outcome::Written {
            // Until the API server tells: what it told before may be older.
            self.present.insert(namespace.to_owned(), text);
        }
        self.due.remove(namespace);
        self.look_at(namespace, now);
    }
}

/// The Base64 of each PEM block, in one piece.
fn blocks(pem: &str) -> impl Iterator<Item = String> {
    let bodies = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    bodies.map(|block| {
        let body = block.split("-----END").next().unwrap_or_default();
        body.split_whitespace().collect()
    })
}

fn is_without(pem: &str) -> bool {
    blocks(pem).next().is_none()
}

#[cfg(test)]
mod tests;
