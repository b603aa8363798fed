//! What is known of each object: what was read of it, what was published, and what was taken away then. Pure.
//!
//! Invariant: noting a batch costs the objects in it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use meltemi_api::Object;
use meltemi_catalog::{Generation, LayerId};
use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey, ObjectName};
use meltemi_views::origin::{Named, Traces, is_traced, moves_proxies};
use meltemi_views::{Applied, LayerStep};

/// How many deleted objects are remembered. One that is forgotten is like one that never was.
const GRAVES: usize = 1_000;

/// How many resources of a layer a record names; what concerns more concerns the layer.
const NAMED: usize = 64;

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The latest state that was read and can be used; none if it is gone, or never could.
    pub(crate) latest: Option<Arc<Object>>,
    /// The latest thing heard of it was that it is gone.
    pub(crate) deleted: bool,
    /// Why its present text cannot be used.
    pub(crate) refused: Option<Arc<str>>,
    /// What was read waits for what it refers to.
    pub(crate) waits: bool,
    /// It is of another revision, or of a namespace that the mesh does not select: nothing follows from it.
    pub(crate) aside: bool,
    /// The generation that brought its last change; 0 before the first.
    pub(crate) published: Generation,
    /// The layers that are younger than its last change have greater IDs.
    pub(crate) youngest: LayerId,
    /// What its changes touched that an index of what is made from it does not tell, by layer.
    pub(crate) touched: Arc<BTreeMap<LayerId, Touched>>,
}

/// What of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// These, sorted.
    Named(Vec<Named>),
    /// More than are worth naming.
    All,
}

impl Touched {
    fn of(mut names: Vec<Named>) -> Self {
        names.sort_unstable();
        names.dedup();
        if names.len() > NAMED { Self::All } else { Self::Named(names) }
    }

    fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Named(mut names), Self::Named(more)) => {
                names.extend(more.iter().cloned());
                Self::of(names)
            }
            _ => Self::All,
        }
    }
}

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct Records {
    records: BTreeMap<ObjectKey, Record>,
    /// Read, and not published yet.
    pending: BTreeSet<ObjectKey>,
    graves: VecDeque<ObjectKey>,
}

impl Records {
    pub(crate) fn find(&self, object: &ObjectKey) -> Option<&Record> {
        self.records.get(object)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.records.keys()
    }

    /// Those that were read and are not published.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &ObjectKey> {
        self.pending.iter()
    }

    /// The objects of a kind that are there.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
        let first = ObjectKey::new(kind, "", ObjectName::from(""));
        let of_kind = self.records.range(first..).take_while(move |(key, _)| key.kind == kind);
        of_kind.filter(|(_, record)| !record.deleted).map(|(key, _)| key)
    }

    /// These were read. They wait, until they are published.
    pub(crate) fn read(&mut self, events: &[Event]) {
        for event in events {
            let (key, latest, refused, deleted) = match event {
                Event::Upsert(object) => (&object.meta.key, Some(object), None, false),
                Event::Reject { key, reason } => (key, None, Some(reason), false),
                Event::Delete(key) => (key, None, None, true),
                Event::Defaults(_) => continue,
            };
            let record = self.records.entry(key.clone()).or_insert_with(|| Record {
                latest: None,
                deleted: false,
                refused: None,
                waits: false,
                aside: false,
                published: Generation(0),
                youngest: LayerId::latest(),
                touched: Arc::default(),
            });
            if refused.is_none() {
                record.latest = latest.cloned();
            }
            record.refused = refused.cloned();
            record.deleted = deleted;
            record.waits = true;
            self.pending.insert(key.clone());
        }
    }

    /// All that was read is published, as `applied` says. `live` tells the layers that there still are. The objects that it was about.
    pub(crate) fn published(
        &mut self,
        applied: &Applied,
        aside: impl Fn(&ObjectKey) -> bool,
        live: impl FnOnce() -> BTreeSet<LayerId>,
    ) -> BTreeSet<ObjectKey> {
        let changed: BTreeSet<ObjectKey> = applied.changes.objects().cloned().collect();
        let all: BTreeSet<ObjectKey> = std::mem::take(&mut self.pending);
        for key in &all {
            let Some(record) = self.records.get_mut(key) else { continue };
            record.waits = false;
            record.aside = aside(key);
            // Of one that is refused, or that came out equal, the last good state is what it was.
            if changed.contains(key) {
                record.published = applied.generation;
                // What it made proxies move to is younger than it.
                let before = applied.youngest.filter(|_| moves_proxies(key.kind));
                record.youngest = before.unwrap_or_else(LayerId::latest);
            } else if record.published == Generation(0) && record.latest.is_some() {
                record.published = applied.generation;
            }
            if record.deleted {
                self.graves.push_back(key.clone());
            }
        }
        // A namespace that is selected now, or no more, brings or takes objects that nobody wrote.
        for key in changed.difference(&all) {
            if let Some(record) = self.records.get_mut(key) {
                record.aside = aside(key);
                record.published = applied.generation;
            }
        }
        self.touch(&changed, &applied.layers, live);
        while self.graves.len() > GRAVES
            && let Some(oldest) = self.graves.pop_front()
        {
            if self.records.get(&oldest).is_some_and(|record| record.deleted)
                && !self.graves.contains(&oldest)
            {
                self.records.remove(&oldest);
            }
        }
        all
    }

    /// Notes with each object what its change touched in each layer, and no index tells.
    fn touch(
        &mut self,
        changed: &BTreeSet<ObjectKey>,
        layers: &[LayerStep],
        live: impl FnOnce() -> BTreeSet<LayerId>,
    ) {
        let (mut every, mut untraced, mut of_rules) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut left: BTreeMap<ObjectKey, BTreeMap<LayerId, Touched>> = BTreeMap::new();
        for LayerStep { before, after } in layers {
            let traces = Traces::of(before, after, changed);
            if !traces.all.is_empty() {
                every.insert(after.id(), Touched::of(traces.all));
            }
            let with_silent = [traces.untraced.as_slice(), traces.silent.as_slice()].concat();
            if !with_silent.is_empty() {
                of_rules.insert(after.id(), Touched::of(with_silent));
            }
            if !traces.untraced.is_empty() {
                untraced.insert(after.id(), Touched::of(traces.untraced));
            }
            for (object, names) in traces.left {
                left.entry(object).or_default().insert(after.id(), Touched::of(names));
            }
        }
        let (every, untraced, of_rules) = (Arc::new(every), Arc::new(untraced), Arc::new(of_rules));
        let mut live = Some(live);
        let mut still_live = None;
        for key in changed {
            let Some(record) = self.records.get_mut(key) else { continue };
            let now = match key.kind {
                Kind::DestinationRule => &of_rules,
                kind if is_traced(kind) => &untraced,
                _ => &every,
            };
            let own = left.remove(key);
            if record.touched.is_empty() && own.is_none() {
                // The usual case: shared by all objects of the batch, and empty for most.
                record.touched = Arc::clone(now);
                continue;
            }
            // A proxy that is behind by several changes must have the effects of all of them.
            let mut all = (*record.touched).clone();
            for (layer, touched) in now.iter().chain(own.iter().flatten()) {
                let sum = match all.remove(layer) {
                    Some(before) => before.and(touched),
                    None => touched.clone(),
                };
                all.insert(*layer, sum);
            }
            if let Some(live) = live.take() {
                still_live = Some(live());
            }
            if let Some(still_live) = &still_live {
                all.retain(|layer, _| still_live.contains(layer));
            }
            record.touched = Arc::new(all);
        }
    }

    /// Every proxy has all that was touched until then: it need not be remembered.
    pub(crate) fn settled(&mut self, object: &ObjectKey, published: Generation) {
        if let Some(record) = self.records.get_mut(object).filter(|record| record.published == published)
            // What is gone is counted for as long as it is remembered.
            && !record.deleted
            && !record.touched.is_empty()
        {
            record.touched = Arc::default();
        }
    }
}

#[cfg(test)]
mod tests;
