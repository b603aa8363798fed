//! Two states of a mesh, and what each class of proxies is served before and after.
//!
//! One engine: what matters of the base is put into force, one proxy of each class is connected, the change is put over it, and what is
//! served then differs from what was, or does not. Must not know what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_catalog::Layer;
use meltemi_model::{Event, Mesh, Store};
use meltemi_names::ObjectKey;
use meltemi_translate::key::LayerKey;
use meltemi_views::{Engine, Options, ProxyId};

use super::proxies::{self, Class, Member};
use super::reach::Reach;
use crate::state::State;

/// A layer that a proxy is served from, with the key that it is made for.
pub(crate) type Served = (LayerKey, Arc<Layer>);

/// What is compared.
pub(crate) struct Compared {
    /// As much of the base as the change can reach.
    pub(crate) before: Mesh,
    /// The same after the change.
    pub(crate) engine: Engine,
    /// The whole mesh before and after.
    pub(crate) whole: [Mesh; 2],
    /// Everyone who may be served.
    pub(crate) members: Vec<Member>,
    /// Those of them who are served the same, with what that is before and after.
    pub(crate) classes: Vec<(Class, Vec<Served>, Vec<Served>)>,
    /// The objects that differ.
    pub(crate) changed: BTreeSet<ObjectKey>,
}

impl Compared {
    /// Puts the change over the base, as far as it reaches.
    ///
    /// # Errors
    /// See [`proxies::template`].
    pub(crate) fn of(base: &State, events: &[Event]) -> anyhow::Result<Self> {
        let (before, after, changed) = states(base, events);
        let (whole, then) = (before.mesh(), after.mesh());
        let members = proxies::all(whole, then);
        let gateways: BTreeSet<ObjectKey> = members
            .iter()
            .filter(|member| member.gateway.is_some())
            .filter_map(|member| member.workload.clone())
            .collect();
        let Some(reach) = Reach::of(whole, then, &changed, &gateways) else {
            return Self::whole(base, events);
        };
        let classes = {
            let (part, of_part) = (part_of(base, whole, &reach), part_of(base, then, &reach));
            let (mut one, mut other) = (Store::new(), Store::new());
            one.apply(part);
            other.apply(of_part);
            proxies::classes(&members, whole, [one.mesh(), other.mesh()], |key| reach.has(key))
        };
        // One of each class is put beside what the change reaches.
        let firsts = classes.iter().filter_map(|class| members[class.first].workload.clone()).collect();
        let reach = reach.beside(whole, firsts);
        let mut engine = Engine::new(OPTIONS);
        engine.apply(part_of(base, whole, &reach));
        let change = changed.iter().map(|key| match then.object(key) {
            Some(object) => Event::Upsert(Arc::clone(object)),
            None => Event::Delete(key.clone()),
        });
        Self::served(engine, change.collect(), [whole, then], members, classes, changed.clone())
    }

    /// The same of the whole mesh, and of each proxy for itself.
    ///
    /// # Errors
    /// See [`proxies::template`].
    pub(crate) fn whole(base: &State, events: &[Event]) -> anyhow::Result<Self> {
        let (before, after, changed) = states(base, events);
        let members = proxies::all(before.mesh(), after.mesh());
        let classes = proxies::single(&members);
        let engine = base.engine(OPTIONS);
        Self::served(engine, events.to_vec(), [before.mesh(), after.mesh()], members, classes, changed)
    }

    fn served(
        mut engine: Engine,
        change: Vec<Event>,
        whole: [&Mesh; 2],
        members: Vec<Member>,
        classes: Vec<Class>,
        changed: BTreeSet<ObjectKey>,
    ) -> anyhow::Result<Self> {
        let before = engine.mesh().clone();
        let template = proxies::template()?;
        let mut connected: BTreeMap<usize, ProxyId> = BTreeMap::new();
        let mut anew = Vec::new();
        for class in &classes {
            let member = &members[class.first];
            let Some(then) = member.proxy(&before, &template) else { continue };
            // Its object may say something else of it after the change: another address, a certificate.
            let now = member.proxy(whole[1], &template);
            anew.extend(now.filter(|now| *now != then).map(|now| (class.first, now)));
            connected.insert(class.first, engine.connect(Arc::new(then)));
        }
        let served = |engine: &Engine, connected: &BTreeMap<usize, ProxyId>, class: &Class| {
            let Some(&id) = connected.get(&class.first) else { return Vec::new() };
            let view = engine.view(id);
            engine.layers(id).cloned().zip(view.layers().iter().cloned()).collect()
        };
        let then: Vec<Vec<Served>> = classes.iter().map(|class| served(&engine, &connected, class)).collect();
        engine.apply(change);
        for (place, proxy) in anew {
            if let Some(id) = connected.remove(&place) {
                engine.disconnect(id);
            }
            connected.insert(place, engine.connect(Arc::new(proxy)));
        }
        let classes = classes.into_iter().zip(then).map(|(class, then)| {
            let now = served(&engine, &connected, &class);
            (class, then, now)
        });
        let classes = classes.collect();
        Ok(Self { before, engine, whole: whole.map(Clone::clone), members, classes, changed })
    }
}

/// Nothing is held: what is compared is what the objects say. Nothing is forgotten, so that what differs can be asked.
const OPTIONS: Options =
    Options { holds: false, findings: false, tombstones: usize::MAX, virtual_hosts: true };

/// The whole mesh before and after, and the objects that differ.
fn states(base: &State, events: &[Event]) -> (Store, Store, BTreeSet<ObjectKey>) {
    let before = base.store();
    let mut after = before.clone();
    let changes = after.apply(events.iter().cloned());
    let changed = changes.objects().cloned().collect();
    (before, after, changed)
}

/// The objects of that part of the mesh.
fn part_of(base: &State, mesh: &Mesh, reach: &Reach) -> Vec<Event> {
    let defaults = base.events().iter().filter(|event| matches!(event, Event::Defaults(_))).cloned();
    let objects = mesh.objects().filter(|object| reach.has(&object.meta.key));
    defaults.chain(objects.cloned().map(Event::Upsert)).collect()
}
