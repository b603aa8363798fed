//! The engine: batches of events in, the next state of every layer out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use meltemi_api::Finding;
use meltemi_catalog::{Generation, Layer, LayerId, View};
use meltemi_memo::{Cost, Memo, NodeId};
use meltemi_model::proxy::Proxy;
use meltemi_model::{ChangeSet, Event, Mesh, Store};
use meltemi_names::{Kind, ObjectKey};
use meltemi_translate::finding::FindingsOf;
use meltemi_translate::key::LayerKey;
use meltemi_translate::layer::LayersOf;

use crate::group::{Group, Held, LastGood, Role, Step, Subscriptions};
use crate::intern::Interner;
use crate::quarantine::{ENOUGH, Quarantine, Refused};
use crate::trial::Trial;
use crate::withheld::{Withheld, WithheldByLayer};

/// How the engine works; see `meltemi serve --help`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Keep what works: `--holds`.
    pub holds: bool,
    /// Send routes as virtual hosts to those that take them: `--virtual-hosts`.
    pub virtual_hosts: bool,
    /// How many removals of each type a layer remembers. A stream that lags more than so many removals behind compares or
    /// reconnects; at some 100 bytes each this bounds a layer's history to a few megabytes.
    pub tombstones: usize,
    /// Keep up what does not fit together across objects, for [`Engine::findings`]. Without it only single objects can be asked about
    /// ([`Engine::findings_of`]), and a large mesh is read faster.
    pub findings: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { holds: true, virtual_hosts: true, tombstones: 10_000, findings: true }
    }
}

/// Names a connected proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyId(u64);

#[derive(Debug)]
struct Connected {
    proxy: Arc<Proxy>,
    node: NodeId,
    layers: Vec<Arc<GroupKey>>,
}

/// A layer, and for whom: most are for all; one is for a build that refuses so many of its resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    layer: LayerKey,
    refusing: Option<(Arc<str>, usize)>,
}

/// What a batch did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The state that the layers are of now.
    pub generation: Generation,
    /// What changed in the mesh.
    pub changes: ChangeSet,
    /// The proxies that have another view now.
    pub proxies: Vec<ProxyId>,
    /// [`Engine::findings`] answers something else now.
    pub findings: bool,
    /// The layers that somebody is served from and that changed.
    pub layers: Vec<LayerStep>,
    /// The layers that were made for proxies that moved have greater IDs.
    pub youngest: Option<LayerId>,
}

/// One layer before and after a batch.
#[derive(Clone, Debug)]
pub struct LayerStep {
    /// As it was.
    pub before: Arc<Layer>,
    /// As it is.
    pub after: Arc<Layer>,
}

/// All layers that somebody is served from, kept up to date. Owned by one task.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    store: Store,
    memo: Memo<Mesh>,
    generation: Generation,
    groups: BTreeMap<Arc<GroupKey>, Group>,
    subscribers: HashMap<NodeId, Vec<Subscriber>>,
    proxies: BTreeMap<ProxyId, Connected>,
    next_proxy: u64,
    /// The observed findings of each object that can have some.
    findings: BTreeMap<ObjectKey, NodeId>,
    quarantine: Quarantine,
    interner: Interner,
    withheld: Arc<WithheldByLayer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subscriber {
    /// There is one for each resource of each layer: what is large is shared.
    Group(Arc<GroupKey>, Role),
    Proxy(ProxyId),
    Findings,
}

struct ForGroup<'a> {
    key: &'a Arc<GroupKey>,
    subscribers: &'a mut HashMap<NodeId, Vec<Subscriber>>,
}

impl Subscriptions for ForGroup<'_> {
    fn add(&mut self, node: NodeId, role: Role) {
        self.subscribers.entry(node).or_default().push(Subscriber::Group(Arc::clone(self.key), role));
    }

    fn remove(&mut self, node: NodeId, role: &Role) {
        unsubscribe(
            self.subscribers,
            node,
            |subscriber| matches!(subscriber, Subscriber::Group(key, found) if found == role && key == self.key),
        );
    }
}

/// What a group's step works with; a macro, since a function would borrow the whole engine, the group included.
macro_rules! step {
    ($engine:ident, $key:expr) => {
        Step {
            memo: &$engine.memo,
            mesh: $engine.store.mesh(),
            generation: $engine.generation,
            tombstones: $engine.options.tombstones,
            interner: &mut $engine.interner,
            subscriptions: &mut ForGroup { key: $key, subscribers: &mut $engine.subscribers },
        }
    };
}

/// Notes what a layer withholds now; most withhold nothing.
fn note_withheld(withheld: &mut Arc<WithheldByLayer>, layer: LayerId, now: Vec<Withheld>) {
    if withheld.get(&layer).map(Vec::as_slice).unwrap_or_default() == now {
        return;
    }
    let all = Arc::make_mut(withheld);
    if now.is_empty() {
        all.remove(&layer);
    } else {
        all.insert(layer, now);
    }
}

fn unsubscribe(
    subscribers: &mut HashMap<NodeId, Vec<Subscriber>>,
    node: NodeId,
    mine: impl Fn(&Subscriber) -> bool,
) {
    if let Some(found) = subscribers.get_mut(&node) {
        found.retain(|subscriber| !mine(subscriber));
        if found.is_empty() {
            subscribers.remove(&node);
        }
    }
}

impl Engine {
    /// An engine over an empty mesh, of a control plane without a revision.
    pub fn new(options: Options) -> Self {
        Self::of_revision(options, "")
    }

    /// An engine over an empty mesh, of a control plane of that revision; see [`Store::of_revision`].
    pub fn of_revision(options: Options, revision: &str) -> Self {
        Self {
            options,
            store: Store::of_revision(revision),
            memo: Memo::new(),
            generation: Generation(1),
            groups: BTreeMap::new(),
            subscribers: HashMap::new(),
            proxies: BTreeMap::new(),
            next_proxy: 0,
            findings: BTreeMap::new(),
            quarantine: Quarantine::default(),
            interner: Interner::default(),
            withheld: Arc::default(),
        }
    }

    /// The mesh as it is served.
    pub fn mesh(&self) -> &Mesh {
        self.store.mesh()
    }

    /// What is in force and what is set aside.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The state that the layers are of.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Applies a batch and brings every layer up to date.
    pub fn apply(&mut self, batch: impl IntoIterator<Item = Event>) -> Applied {
        let changes = self.store.apply(batch);
        self.follow(changes)
    }

    /// Begins to try changes of the mesh in force.
    pub fn attempt(&self) -> Trial {
        Trial::of(&self.store)
    }

    /// Puts into force what was tried, and brings every layer up to date. To be given what [`Engine::attempt`] began after the last
    /// batch: what went into force since then would be undone.
    pub fn adopt(&mut self, trial: Trial) -> Applied {
        let Trial { store, changes } = trial;
        self.store = store;
        self.follow(changes)
    }

    /// Brings every layer up to date with the store, in which these entries changed.
    fn follow(&mut self, changes: ChangeSet) -> Applied {
        if changes.is_empty() {
            return Applied { generation: self.generation, changes, ..Applied::default() };
        }
        self.generation = Generation(self.generation.0 + 1);
        let youngest = Some(LayerId::latest());
        let nodes = self.memo.apply(self.store.mesh(), changes.entries());
        let mut roles: BTreeMap<Arc<GroupKey>, BTreeSet<Role>> = BTreeMap::new();
        let mut moved = BTreeSet::new();
        let mut findings = false;
        for node in nodes {
            for subscriber in self.subscribers.get(&node).into_iter().flatten() {
                match subscriber {
                    Subscriber::Group(key, role) => {
                        roles.entry(Arc::clone(key)).or_default().insert(role.clone());
                    }
                    Subscriber::Proxy(proxy) => {
                        moved.insert(*proxy);
                    }
                    Subscriber::Findings => findings = true,
                }
            }
        }
        let mut changed = BTreeSet::new();
        let mut steps = Vec::new();
        for (key, roles) in roles {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let mut step = step!(self, &key);
            let before = Arc::clone(&group.layer);
            if group.refresh(&roles, &mut step) {
                changed.insert(Arc::clone(&key));
                if !group.proxies.is_empty() {
                    steps.push(LayerStep { before, after: Arc::clone(&group.layer) });
                }
            }
            note_withheld(&mut self.withheld, group.layer.id(), group.withheld());
            self.forget_unused(&key);
        }
        for proxy in &moved {
            self.relocate(*proxy);
        }
        // Those who do not see what changed are not even looked at.
        let mut proxies = moved;
        for group in changed.iter().filter_map(|key| self.groups.get(key)) {
            proxies.extend(&group.proxies);
        }
        let proxies = proxies.into_iter().collect();
        findings |= self.follow_findings(&changes);
        self.memo.sweep();
        self.interner.sweep();
        Applied { generation: self.generation, changes, proxies, findings, layers: steps, youngest }
    }

    /// A proxy connected: it is served from now on.
    pub fn connect(&mut self, proxy: Arc<Proxy>) -> ProxyId {
        let id = ProxyId(self.next_proxy);
        self.next_proxy += 1;
        let question = LayersOf { proxy: Arc::clone(&proxy), virtual_hosts: self.options.virtual_hosts };
        let (node, layers) = self.memo.observe(question, self.store.mesh());
        self.subscribers.entry(node).or_default().push(Subscriber::Proxy(id));
        let layers = self.groups_for(&proxy, &layers);
        self.enter(id, &layers);
        self.proxies.insert(id, Connected { proxy, node, layers });
        id
    }

    /// A proxy is gone.
    pub fn disconnect(&mut self, id: ProxyId) {
        let Some(proxy) = self.proxies.remove(&id) else { return };
        unsubscribe(&mut self.subscribers, proxy.node, |found| *found == Subscriber::Proxy(id));
        self.memo.release(proxy.node);
        self.leave(id, &proxy.layers);
        self.memo.sweep();
    }

    /// Something else is known of a connected proxy now: it may have what it might not have before, say. True if there is such a proxy.
    pub fn revise(&mut self, id: ProxyId, proxy: Arc<Proxy>) -> bool {
        let Some(connected) = self.proxies.get_mut(&id) else { return false };
        let question = LayersOf { proxy: Arc::clone(&proxy), virtual_hosts: self.options.virtual_hosts };
        let (node, _) = self.memo.observe(question, self.store.mesh());
        let before = std::mem::replace(&mut connected.node, node);
        connected.proxy = proxy;
        unsubscribe(&mut self.subscribers, before, |found| *found == Subscriber::Proxy(id));
        self.subscribers.entry(node).or_default().push(Subscriber::Proxy(id));
        self.memo.release(before);
        self.generation = Generation(self.generation.0 + 1);
        self.relocate(id);
        self.memo.sweep();
        true
    }

    /// What a proxy may have now; empty for one that is not connected.
    pub fn view(&self, id: ProxyId) -> View {
        let layers = self.proxies.get(&id).into_iter().flat_map(|proxy| &proxy.layers);
        View::new(layers.filter_map(|key| self.groups.get(key)).map(|group| Arc::clone(&group.layer)))
    }

    /// The layers that a proxy is served from.
    pub fn layers(&self, id: ProxyId) -> impl Iterator<Item = &LayerKey> {
        self.proxies.get(&id).into_iter().flat_map(|proxy| &proxy.layers).map(|key| &key.layer)
    }

    /// A proxy refused a resource alone; `accepted`: another proxy of its build has accepted the same bytes. If it is to be set aside
    /// for the build, the proxies that have another view now are answered.
    pub fn refused(&mut self, id: ProxyId, refused: Refused, accepted: bool) -> Vec<ProxyId> {
        let Some(Connected { proxy, .. }) = self.proxies.get(&id) else { return Vec::new() };
        let (build, name) = (Arc::clone(&proxy.build), Arc::clone(&proxy.id));
        // What has something to take its place is set aside at the first word: what a user's patch breaks must not wait for a second
        // proxy, which there may never be.
        let enough = if self.has_instead(id, &refused) { 1 } else { ENOUGH };
        if !self.quarantine.report(&build, &name, refused, accepted, enough) {
            return Vec::new();
        }
        self.generation = Generation(self.generation.0 + 1);
        let moved: Vec<ProxyId> =
            self.proxies.iter().filter(|(_, found)| found.proxy.build == build).map(|(id, _)| *id).collect();
        for id in &moved {
            self.relocate(*id);
        }
        self.memo.sweep();
        moved
    }

    /// Whether what a proxy refused has something to take its place.
    fn has_instead(&self, id: ProxyId, refused: &Refused) -> bool {
        let view = self.view(id);
        view.find(refused.type_url, refused.name.as_str()).is_some_and(|live| {
            live.resource.version() == refused.version && live.resource.instead().is_some()
        })
    }

    /// The virtual hosts and listeners of a proxy that keep their last good state.
    pub fn held(&self, id: ProxyId) -> Vec<Held> {
        let layers = self.proxies.get(&id).into_iter().flat_map(|proxy| &proxy.layers);
        layers.filter_map(|key| self.groups.get(key)).flat_map(Group::held).collect()
    }

    /// What the layers do not have of what the mesh asks for. The same pointer as long as that is the same.
    pub fn withheld(&self) -> &Arc<WithheldByLayer> {
        &self.withheld
    }

    /// The layers that are kept.
    pub fn layer_ids(&self) -> impl Iterator<Item = LayerId> {
        self.groups.values().map(|group| group.layer.id())
    }

    /// What does not fit together across the objects in force, object by object.
    pub fn findings(&self) -> Vec<Finding> {
        let answers = self.findings.values().filter_map(|node| self.memo.answer::<FindingsOf>(*node));
        answers.flat_map(|findings| findings.to_vec()).collect()
    }

    /// What does not fit together between that object and others, also where [`Options::findings`] is off.
    pub fn findings_of(&self, key: &ObjectKey) -> Vec<Finding> {
        if !has_findings(key.kind) {
            return Vec::new();
        }
        let (node, findings) = self.memo.observe(FindingsOf(key.clone()), self.store.mesh());
        self.memo.release(node);
        findings.to_vec()
    }

    /// The work counted since the last call.
    pub fn take_cost(&self) -> Cost {
        self.memo.take_cost()
    }

    /// How many layers are kept.
    pub fn layer_count(&self) -> usize {
        self.groups.len()
    }

    /// Observes the findings of objects that came, and lets go of those that went. True if there were such.
    fn follow_findings(&mut self, changes: &ChangeSet) -> bool {
        let mut differs = false;
        for key in changes.objects() {
            if !self.options.findings || !has_findings(key.kind) {
                continue;
            }
            match (self.store.mesh().object(key), self.findings.contains_key(key)) {
                (Some(_), false) => {
                    let (node, _) = self.memo.observe(FindingsOf(key.clone()), self.store.mesh());
                    self.subscribers.entry(node).or_default().push(Subscriber::Findings);
                    self.findings.insert(key.clone(), node);
                    differs = true;
                }
                (None, true) => {
                    if let Some(node) = self.findings.remove(key) {
                        unsubscribe(&mut self.subscribers, node, |found| *found == Subscriber::Findings);
                        self.memo.release(node);
                        differs = true;
                    }
                }
                _ => {}
            }
        }
        differs
    }

    fn relocate(&mut self, id: ProxyId) {
        let Some(connected) = self.proxies.get(&id) else { return };
        let Some(layers) = self.memo.answer::<LayersOf>(connected.node) else { return };
        let layers = self.groups_for(&connected.proxy, &layers);
        self.enter(id, &layers);
        let Some(connected) = self.proxies.get_mut(&id) else { return };
        let mut before = std::mem::replace(&mut connected.layers, layers);
        before.retain(|key| !connected.layers.contains(key));
        self.leave(id, &before);
    }

    fn groups_for(&self, proxy: &Proxy, layers: &[LayerKey]) -> Vec<Arc<GroupKey>> {
        let refused = self.quarantine.of(&proxy.build).len();
        let refusing = (refused > 0).then(|| (Arc::clone(&proxy.build), refused));
        let key = |layer: &LayerKey| {
            let key = GroupKey { layer: layer.clone(), refusing: refusing.clone() };
            // Of a layer that is there, the key that all share.
            self.groups.get_key_value(&key).map_or_else(|| Arc::new(key), |(key, _)| Arc::clone(key))
        };
        layers.iter().map(key).collect()
    }

    fn enter(&mut self, id: ProxyId, layers: &[Arc<GroupKey>]) {
        for key in layers {
            if !self.groups.contains_key(key) {
                // What was in force before is known to those who are served the same layer now; the latest knows most.
                let kin = GroupKey { layer: key.layer.clone(), refusing: None };
                let kin = self.groups.range(kin..).take_while(|(other, _)| other.layer == key.layer);
                let last_good = match &key.refusing {
                    Some(_) => kin.last().map(|(_, group)| group.last_good()).unwrap_or_default(),
                    None => LastGood::new(),
                };
                let refused =
                    key.refusing.as_ref().map(|(build, _)| self.quarantine.of(build)).unwrap_or_default();
                let mut step = step!(self, key);
                let group = Group::new(&key.layer, self.options.holds, (refused, last_good), &mut step);
                note_withheld(&mut self.withheld, group.layer.id(), group.withheld());
                self.groups.insert(Arc::clone(key), group);
            }
            if let Some(group) = self.groups.get_mut(key) {
                group.proxies.insert(id);
            }
        }
    }

    fn leave(&mut self, id: ProxyId, layers: &[Arc<GroupKey>]) {
        for key in layers {
            let Some(group) = self.groups.get_mut(key) else { continue };
            group.proxies.remove(&id);
            self.forget_unused(key);
        }
    }

    /// Drops a layer that nobody is served from, unless it holds something back: a proxy that restarts must find its last good again.
    fn forget_unused(&mut self, key: &Arc<GroupKey>) {
        let latest =
            key.refusing.as_ref().is_some_and(|(build, refused)| self.quarantine.of(build).len() == *refused);
        let unused = |group: &Group| group.proxies.is_empty() && !latest && !group.holds.is_holding();
        if self.groups.get(key).is_some_and(unused)
            && let Some(mut group) = self.groups.remove(key)
        {
            note_withheld(&mut self.withheld, group.layer.id(), Vec::new());
            group.release(&mut step!(self, key));
        }
    }
}

/// Whether objects of a kind can be wrong beside others.
fn has_findings(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ConfigMap
            | Kind::Service
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::WorkloadEntry
            | Kind::ServiceEntry
            | Kind::Gateway
            | Kind::Sidecar
            | Kind::EnvoyFilter
            | Kind::PeerAuthentication
            | Kind::Telemetry
    )
}
