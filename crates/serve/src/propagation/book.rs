//! What the mesh's task and the streams write, and those who ask read.
//!
//! Invariant: what is noted of a batch is noted after the views of that batch were handed out, so that who reads it and then looks at a
//! stream sees at least those views.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meltemi_catalog::LayerId;
use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey};
use meltemi_views::{Applied, Engine, WithheldByLayer};
use tokio::sync::watch;

use super::State;
use super::peers::Replicas;
use super::record::{Record, Records};
use crate::config::Own;

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    pages: Mutex<Pages>,
    /// Beats whenever an answer may be another one.
    pulse: watch::Sender<u64>,
}

#[derive(Debug)]
struct Pages {
    records: Records,
    withheld: Arc<WithheldByLayer>,
    replicas: Replicas,
    followed: Option<Followed>,
}

/// What one who follows has not taken yet: sets of objects, never more than there are.
#[derive(Debug, Default)]
struct Followed {
    /// Who follows.
    number: u64,
    changed: BTreeSet<ObjectKey>,
    /// Looked at, and not in force then: a proxy's progress may change that.
    open: BTreeSet<ObjectKey>,
    /// Some proxy has moved.
    moved: bool,
}

impl Book {
    pub(crate) fn new(own: Option<Own>) -> Self {
        let pages = Pages {
            records: Records::default(),
            withheld: Arc::default(),
            replicas: Replicas::new(own),
            followed: None,
        };
        Self { pages: Mutex::new(pages), pulse: watch::Sender::new(0) }
    }

    /// These were read, and may have to wait.
    pub(crate) fn read(&self, events: &[Event]) {
        let mut pages = self.pages();
        pages.records.read(events);
        pages.replicas.follow(events);
    }

    /// What was read did not go out yet.
    pub(crate) fn waits(&self) {
        self.beat(|followed, records| followed.changed.extend(records.pending().cloned()));
    }

    /// All that was read is handed out.
    pub(crate) fn published(&self, applied: &Applied, engine: &Engine) {
        let mut pages = self.pages();
        let aside = |key: &ObjectKey| engine.store().is_set_aside(key);
        let about =
            pages.records.published(applied, aside, || engine.layer_ids().collect::<BTreeSet<LayerId>>());
        if let Some(followed) = &mut pages.followed {
            followed.changed.extend(about);
        }
        drop(pages);
        self.withheld(engine.withheld());
    }

    /// This is what layers do not have of what the mesh asks for.
    pub(crate) fn withheld(&self, now: &Arc<WithheldByLayer>) {
        let mut pages = self.pages();
        let before = std::mem::replace(&mut pages.withheld, Arc::clone(now));
        if let Some(followed) = &mut pages.followed
            && !Arc::ptr_eq(&before, now)
        {
            let both = before.values().chain(now.values()).flatten();
            followed.changed.extend(both.flat_map(|withheld| withheld.origin.iter().cloned()));
        }
        drop(pages);
        self.beat(|_, _| {});
    }

    /// A proxy refused something that was made from these.
    pub(crate) fn refused(&self, objects: &[ObjectKey]) {
        self.beat(|followed, _| followed.changed.extend(objects.iter().cloned()));
    }

    /// A proxy came, went, or has made some progress.
    pub(crate) fn moved(&self) {
        self.beat(|followed, _| followed.moved = true);
    }

    fn beat(&self, note: impl FnOnce(&mut Followed, &Records)) {
        let mut pages = self.pages();
        let Pages { records, followed, .. } = &mut *pages;
        if let Some(followed) = followed {
            note(followed, records);
        }
        drop(pages);
        self.pulse.send_modify(|beats| *beats += 1);
    }

    /// Hears each beat.
    pub(super) fn pulse(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    /// What is known of an object, and what is withheld.
    pub(super) fn find(&self, object: &ObjectKey) -> (Option<Record>, Arc<WithheldByLayer>) {
        let pages = self.pages();
        (pages.records.find(object).cloned(), Arc::clone(&pages.withheld))
    }

    /// All proxies have all that the object's changes touched.
    pub(super) fn settled(&self, object: &ObjectKey, record: &Record) {
        if !record.touched.is_empty() {
            self.pages().records.settled(object, record.published);
        }
    }

    pub(super) fn of_kind(&self, kind: Kind) -> Vec<ObjectKey> {
        self.pages().records.of_kind(kind).cloned().collect()
    }

    /// The monitoring addresses of the other replicas, as Kubernetes knows them.
    pub(super) fn replicas(&self) -> Vec<String> {
        self.pages().replicas.others()
    }

    /// Begins to note what changes for one who follows; what was noted for another is dropped. Its number.
    pub(super) fn follow(&self) -> u64 {
        let mut pages = self.pages();
        let number = pages.followed.as_ref().map_or(1, |followed| followed.number + 1);
        let changed = pages.records.keys().cloned().collect();
        pages.followed = Some(Followed { number, changed, ..Followed::default() });
        number
    }

    /// Ends that, if nobody else follows meanwhile.
    pub(super) fn unfollow(&self, number: u64) {
        let mut pages = self.pages();
        if pages.followed.as_ref().is_some_and(|followed| followed.number == number) {
            pages.followed = None;
        }
    }

    /// Whether there is something to take.
    pub(super) fn has_changed(&self, number: u64) -> bool {
        let pages = self.pages();
        let mine = pages.followed.as_ref().filter(|followed| followed.number == number);
        mine.is_some_and(|followed| {
            !followed.changed.is_empty() || (followed.moved && !followed.open.is_empty())
        })
    }

    /// Takes what may have changed.
    pub(super) fn take_changed(&self, number: u64) -> BTreeSet<ObjectKey> {
        let mut pages = self.pages();
        let Some(followed) = pages.followed.as_mut().filter(|followed| followed.number == number) else {
            return BTreeSet::new();
        };
        let mut changed = std::mem::take(&mut followed.changed);
        if std::mem::take(&mut followed.moved) {
            changed.extend(std::mem::take(&mut followed.open));
        }
        changed
    }

    /// An object was looked at: one that is not in force will be told of when a proxy moves.
    pub(super) fn looked_at(&self, object: &ObjectKey, state: State) {
        let mut pages = self.pages();
        let Pages { records, followed, .. } = &mut *pages;
        if let Some(followed) = followed {
            if state == State::Propagating && records.find(object).is_some() {
                followed.open.insert(object.clone());
            } else {
                followed.open.remove(object);
            }
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
