//! One layer in the making: which parts and resources it is made of, and which of them it observes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use meltemi_catalog::{Generation, Layer, Resource, ResourceName};
use meltemi_memo::{Memo, NodeId};
use meltemi_model::Mesh;
use meltemi_names::TypeUrl;
use meltemi_translate::key::{LayerKey, Made, Members, PartKey, ResourceKey};

use crate::assemble::{Assembly, Quarantined};
use crate::engine::ProxyId;
use crate::hold::{Holds, clusters};
use crate::intern::Interner;
use crate::quarantine::{RefusedSet, is_refused};
use crate::withheld::{Withheld, Withholding};

/// A virtual host or listener that keeps its last good state, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its resource name.
    pub name: ResourceName,
    /// The clusters that its new state needs and that do not exist.
    pub missing: Vec<ResourceName>,
    /// The objects that its new state is made from.
    pub origin: Vec<meltemi_names::ObjectKey>,
}

/// What one step of the engine works with.
pub(crate) struct Step<'a> {
    pub(crate) memo: &'a Memo<Mesh>,
    pub(crate) mesh: &'a Mesh,
    /// Of the layers that the step makes.
    pub(crate) generation: Generation,
    /// How many removals of each type a layer remembers.
    pub(crate) tombstones: usize,
    pub(crate) interner: &'a mut Interner,
    pub(crate) subscriptions: &'a mut dyn Subscriptions,
}

/// What a node of the memo stands for in a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Parts,
    /// Shared, since a role is kept for each resource of each layer, and most are of resources.
    Part(Arc<PartKey>),
    Resource(ResourceKey),
}

#[derive(Debug)]
struct Part {
    node: NodeId,
    members: Arc<Members>,
}

#[derive(Debug)]
struct Member {
    node: NodeId,
    /// How many parts list it.
    uses: u32,
    name: Option<(TypeUrl, ResourceName)>,
}

/// What one batch does to the targets of a group: by type and name, the last word counts.
pub(crate) type Targets = BTreeMap<(TypeUrl, ResourceName), Option<Arc<Resource>>>;

/// The state before the present one, by type and name, and the generation that replaced it.
pub(crate) type LastGood = BTreeMap<(TypeUrl, ResourceName), (Arc<Resource>, Generation)>;

/// What builds refuse and is not served to them for that, by type and name: what it would be, and since which generation it is not.
pub(crate) type Aside = BTreeMap<(TypeUrl, ResourceName), (Arc<Resource>, Generation)>;

/// A layer, its parts and resources, and how it came to be.
#[derive(Debug)]
pub(crate) struct Group {
    parts_node: NodeId,
    parts: BTreeMap<Arc<PartKey>, Part>,
    members: HashMap<ResourceKey, Member>,
    /// Assignments that nothing lists any more and whose cluster a route still needs: they stay observed, since an endpoint that moved
    /// matters to those requests as to any others.
    retired: BTreeMap<ResourceKey, Member>,
    pub(crate) holds: Holds,
    /// What the builds that are served from here refuse.
    refused: RefusedSet,
    /// The state before the present one of each resource that a proxy may refuse.
    last_good: LastGood,
    /// What of the targets is left out for that.
    aside: Aside,
    assembly: Option<Assembly>,
    pub(crate) layer: Arc<Layer>,
    /// The proxies that are served from it.
    pub(crate) proxies: BTreeSet<ProxyId>,
}

/// Subscriptions of groups to nodes, kept by the engine.
pub(crate) trait Subscriptions {
    fn add(&mut self, node: NodeId, role: Role);
    fn remove(&mut self, node: NodeId, role: &Role);
}

impl Group {
    /// Observes all that the layer is made of, and fills the layer.
    pub(crate) fn new(
        key: &LayerKey,
        holds: bool,
        (refused, last_good): (RefusedSet, LastGood),
        step: &mut Step<'_>,
    ) -> Self {
        let (parts_node, parts) = key.observe(step.memo, step.mesh);
        step.subscriptions.add(parts_node, Role::Parts);
        let inline = match key {
            LayerKey::Outbound(key) => !key.virtual_hosts,
            LayerKey::Gateway(key) => !key.virtual_hosts,
            LayerKey::Inbound(_) => false,
        };
        let mut group = Self {
            parts_node,
            parts: BTreeMap::new(),
            members: HashMap::new(),
            retired: BTreeMap::new(),
            holds: Holds::new(holds),
            refused,
            last_good,
            aside: Aside::new(),
            assembly: inline.then(Assembly::default),
            layer: Arc::new(Layer::empty()),
            proxies: BTreeSet::new(),
        };
        let mut targets = Targets::new();
        for part in parts.iter() {
            group.add_part(part, &mut targets, step);
        }
        group.publish(targets, &[], step);
        group
    }

    /// Brings the group up to date with the nodes that changed in a batch. True if the layer changed.
    pub(crate) fn refresh(&mut self, roles: &BTreeSet<Role>, step: &mut Step<'_>) -> bool {
        let mut targets = Targets::new();
        let mut lingering = Vec::new();
        // In the order of the roles: parts come and go first, then their members, then the members' new states.
        for role in roles {
            match role {
                Role::Parts => self.refresh_parts(&mut targets, step),
                Role::Part(part) => self.refresh_part(part, &mut targets, step),
                Role::Resource(key) => {
                    if let Some(member) = self.members.get_mut(key) {
                        let made = key.made(step.memo, member.node);
                        retarget(member, made, &mut targets);
                    } else if let Some(member) = self.retired.get(key) {
                        lingering.extend(key.made(step.memo, member.node));
                    }
                }
            }
        }
        let changed = self.publish(targets, &lingering, step);
        self.forget_retired(step);
        changed
    }

    /// Lets go of everything that the group observes.
    pub(crate) fn release(&mut self, step: &mut Step<'_>) {
        step.subscriptions.remove(self.parts_node, &Role::Parts);
        step.memo.release(self.parts_node);
        let mut forgotten = Targets::new();
        for part in self.parts.keys().cloned().collect::<Vec<_>>() {
            self.remove_part(&part, &mut forgotten, step);
        }
        for (key, member) in std::mem::take(&mut self.retired) {
            let_go(&key, &member, step);
        }
    }

    /// Lets go of retired assignments that no longer linger.
    fn forget_retired(&mut self, step: &mut Step<'_>) {
        let holds = &self.holds;
        self.retired.retain(|key, member| {
            let keep = member.name.as_ref().is_some_and(|(_, name)| holds.lingers(name));
            if !keep {
                let_go(key, member, step);
            }
            keep
        });
    }

    /// The virtual hosts and listeners that keep their last good state.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.holds.held()
    }

    /// What of the targets is not in force in the layer, and why.
    pub(crate) fn withheld(&self) -> Vec<Withheld> {
        let is_missing = |cluster: &&ResourceName| {
            self.holds.cluster_lingers(cluster)
                || self.layer.find(TypeUrl::Cluster, cluster.as_str()).is_none()
        };
        let in_force = |type_url, name: &ResourceName| match &self.assembly {
            Some(assembly) => assembly.find(type_url, name),
            None => self.layer.find(type_url, name.as_str()),
        };
        let differs = |type_url, name, target: &Resource| {
            in_force(type_url, name).is_none_or(|live| live.resource.version() != target.version())
        };
        let waiting = self
            .holds
            .waiting()
            .filter(|((type_url, name), waiting)| differs(*type_url, name, &waiting.route))
            .map(|((type_url, name), waiting)| Withheld {
                type_url: *type_url,
                name: name.clone(),
                since: waiting.since,
                origin: waiting.route.origin().to_vec(),
                why: Withholding::Missing(clusters(&waiting.route).filter(is_missing).cloned().collect()),
            });
        let lingering = self.holds.lingering().filter_map(|(name, since)| {
            let live = self.layer.find(TypeUrl::Cluster, name.as_str())?;
            let origin = live.resource.origin().to_vec();
            let why = Withholding::Needed;
            Some(Withheld { type_url: TypeUrl::Cluster, name: name.clone(), since, origin, why })
        });
        let aside = self.aside.iter().map(|((type_url, name), (target, since))| Withheld {
            type_url: *type_url,
            name: name.clone(),
            since: *since,
            origin: target.blamed().cloned().collect(),
            why: Withholding::Refused,
        });
        waiting.chain(lingering).chain(aside).collect()
    }

    fn refresh_parts(&mut self, targets: &mut Targets, step: &mut Step<'_>) {
        let Some(parts) = step.memo.answer::<meltemi_translate::layer::PartsOf>(self.parts_node) else {
            return;
        };
        let wanted: BTreeSet<&PartKey> = parts.iter().collect();
        let gone: Vec<Arc<PartKey>> =
            self.parts.keys().filter(|part| !wanted.contains(&***part)).cloned().collect();
        for part in &gone {
            self.remove_part(part, targets, step);
        }
        for part in wanted {
            if !self.parts.contains_key(part) {
                self.add_part(part, targets, step);
            }
        }
    }

    fn refresh_part(&mut self, key: &PartKey, targets: &mut Targets, step: &mut Step<'_>) {
        let Some(part) = self.parts.get_mut(key) else { return };
        let Some(now) = key.members(step.memo, part.node) else { return };
        let before = std::mem::replace(&mut part.members, Arc::clone(&now));
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
        for member in old.difference(&new) {
            self.remove_member(member, targets, step);
        }
        for member in new.difference(&old) {
            self.add_member(member, targets, step);
        }
    }

    fn add_part(&mut self, key: &PartKey, targets: &mut Targets, step: &mut Step<'_>) {
        let (node, members) = key.observe(step.memo, step.mesh);
        let key = Arc::new(key.clone());
        step.subscriptions.add(node, Role::Part(Arc::clone(&key)));
        self.parts.insert(key, Part { node, members: Arc::clone(&members) });
        for member in members.iter().collect::<BTreeSet<_>>() {
            self.add_member(member, targets, step);
        }
    }

    fn remove_part(&mut self, key: &PartKey, targets: &mut Targets, step: &mut Step<'_>) {
        let Some((key, part)) = self.parts.remove_entry(key) else { return };
        step.subscriptions.remove(part.node, &Role::Part(key));
        step.memo.release(part.node);
        for member in part.members.iter().collect::<BTreeSet<_>>() {
            self.remove_member(member, targets, step);
        }
    }

    fn add_member(&mut self, key: &ResourceKey, targets: &mut Targets, step: &mut Step<'_>) {
        if let Some(member) = self.members.get_mut(key) {
            member.uses += 1;
            return;
        }
        let mut member = self.retired.remove(key).unwrap_or_else(|| {
            let (node, _) = key.observe(step.memo, step.mesh);
            step.subscriptions.add(node, Role::Resource(key.clone()));
            Member { node, uses: 0, name: None }
        });
        member.uses = 1;
        let made = key.made(step.memo, member.node);
        retarget(&mut member, made, targets);
        self.members.insert(key.clone(), member);
    }

    fn remove_member(&mut self, key: &ResourceKey, targets: &mut Targets, step: &mut Step<'_>) {
        let Some(member) = self.members.get_mut(key) else { return };
        member.uses -= 1;
        if member.uses > 0 {
            return;
        }
        let Some(mut member) = self.members.remove(key) else { return };
        let name = member.name.clone();
        retarget(&mut member, None, targets);
        if matches!(key, ResourceKey::Assignment(_)) {
            self.retired.insert(key.clone(), Member { name, ..member });
        } else {
            let_go(key, &member, step);
        }
    }

    /// Decides what of the targets goes into force, and makes the layer's next state.
    fn publish(&mut self, targets: Targets, lingering: &[Arc<Resource>], step: &mut Step<'_>) -> bool {
        let mut targets = self.instead_of_refused(targets, step.generation);
        for resource in targets.values_mut().flatten() {
            *resource = step.interner.intern(Arc::clone(resource));
        }
        if targets.is_empty() && lingering.is_empty() {
            return false;
        }
        let mut edit = self.layer.edit(step.generation);
        match &mut self.assembly {
            None => self.holds.admit(targets, lingering, &mut edit),
            Some(assembly) => {
                let mut inner = assembly.edit(step.generation);
                self.holds.admit(targets, lingering, &mut inner);
                let quarantined = Quarantined {
                    refused: &self.refused,
                    last_good: &self.last_good,
                    aside: &mut self.aside,
                };
                assembly.finish(inner, &mut edit, quarantined, step.interner);
            }
        }
        edit.bury(step.tombstones);
        match edit.finish() {
            Some(layer) => {
                self.remember(&layer);
                self.layer = Arc::new(layer);
                true
            }
            None => false,
        }
    }

    /// What was in force before, for those who will refuse what is in force now.
    pub(crate) fn last_good(&self) -> LastGood {
        self.last_good.clone()
    }

    fn remember(&mut self, next: &Layer) {
        for type_url in [TypeUrl::Cluster, TypeUrl::Listener, TypeUrl::Route, TypeUrl::VirtualHost] {
            for (_, change) in next.changes_since(type_url, self.layer.generation()) {
                let resource = change.resource();
                let before = self.layer.find(type_url, resource.name().as_str());
                if let Some(before) = before.filter(|before| before.resource.version() != resource.version())
                {
                    let replaced = (Arc::clone(&before.resource), next.generation());
                    self.last_good.insert((type_url, resource.name().clone()), replaced);
                }
            }
        }
    }

    /// A refused target leaves what is in force, or goes back to the last good, or to what it is without patches; with none of these it
    /// is left out.
    fn instead_of_refused(&mut self, targets: Targets, generation: Generation) -> Targets {
        if self.refused.is_empty() {
            return targets;
        }
        let refused = Arc::clone(&self.refused);
        let good = |resource: &Arc<Resource>| !is_refused(&refused, resource);
        let mut admitted = Targets::new();
        for (key, target) in targets {
            let Some(bad) = target.as_ref().filter(|resource| !good(resource)) else {
                self.aside.remove(&key);
                admitted.insert(key, target);
                continue;
            };
            let live = match &self.assembly {
                Some(assembly) => assembly.find(key.0, &key.1),
                None => self.layer.find(key.0, key.1.as_str()),
            };
            let stays = live.map(|live| &live.resource).filter(|resource| good(resource));
            let last_good = self.last_good.get(&key).filter(|(resource, _)| good(resource));
            // A state that is patched, too, comes before the present one without patches: what a good patch does is not undone by a bad
            // one. One without patches gives way to the present one.
            let instead = bad.instead().filter(|resource| {
                let before = stays.or(last_good.map(|(resource, _)| resource));
                good(resource) && before.is_none_or(|before| before.instead().is_none())
            });
            // What a new layer leaves out was replaced before it began.
            let since = match last_good {
                // Without the patches it lacks all that they ever said.
                _ if instead.is_some() => Generation(0),
                Some((_, replaced)) if stays.is_none() => *replaced,
                _ => generation,
            };
            let taken =
                instead.or(last_good.filter(|_| stays.is_none()).map(|(resource, _)| resource)).cloned();
            self.aside.entry(key.clone()).or_insert((Arc::clone(bad), since)).0 = Arc::clone(bad);
            if let Some(resource) = taken {
                admitted.insert(key, Some(resource));
            }
        }
        admitted
    }
}

fn let_go(key: &ResourceKey, member: &Member, step: &mut Step<'_>) {
    step.subscriptions.remove(member.node, &Role::Resource(key.clone()));
    step.memo.release(member.node);
}

/// Notes a member's new state among the targets: under its name, and as a removal under a name that it had and lost.
fn retarget(member: &mut Member, made: Made, targets: &mut Targets) {
    let name = made.as_ref().map(|resource| (resource.type_url(), resource.name().clone()));
    if let Some(before) = member.name.take().filter(|before| Some(before) != name.as_ref()) {
        // Another member may have taken the name in this batch: its word stands.
        targets.entry(before).or_insert(None);
    }
    if let (Some(name), Some(resource)) = (&name, made) {
        targets.insert(name.clone(), Some(resource));
    }
    member.name = name;
}
