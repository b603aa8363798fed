//! What a change does, to whom: what `-o json` prints, and what the page is written from.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use meltemi_api::{Finding, Place, Severity, Spec};
use meltemi_catalog::{Layer, ResourceName};
use meltemi_memo::Memo;
use meltemi_model::index::qualified;
use meltemi_model::{Event, Mesh};
use meltemi_names::{Kind, ObjectKey, TypeUrl, Version};
use meltemi_translate::finding::FindingsOf;
use meltemi_translate::key::LayerKey;
use serde::Serialize;

use super::change::{Action, Change, HOST_UNKNOWN, RULE_SHADOWED, SUBSET_LOST, Target, What, short_host};
use super::compare::{Compared, Served};
use super::step::{Step, between};
use super::who::{Audience, Who};
use super::{cluster, host, listener, rule};
use crate::state::State;

/// What a change does.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// What differs among the objects in force.
    pub(crate) objects: Vec<ObjectChange>,
    /// How many proxies there may be: one for each workload, and one in each namespace for whoever else is there.
    pub(crate) proxies: usize,
    /// How many of them are served something else.
    pub(crate) changed_proxies: usize,
    /// Proxies for which the same changes, those that are most first.
    pub(crate) groups: Vec<Group>,
    /// What to look at before it is merged.
    pub(crate) warnings: Vec<Warning>,
}

/// An object that differs.
#[derive(Debug, Serialize)]
pub(crate) struct ObjectChange {
    pub(crate) action: Action,
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Where it stands; for one that goes, where it stood.
    pub(crate) place: Option<Place>,
}

/// Proxies for which the same changes.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) proxies: Who,
    pub(crate) changes: Vec<Change>,
}

/// Something to look at.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Warning {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) place: Option<Place>,
    /// For whom; none for what is about an object.
    pub(crate) proxies: Option<String>,
}

/// A layer before and after; none: there is none of that sort.
#[derive(Clone, Debug)]
struct Pair {
    before: Option<Served>,
    after: Option<Served>,
}

impl Report {
    /// Puts the change over the base.
    ///
    /// # Errors
    /// When something that is served does not decode.
    pub(crate) fn of(base: &State, with: &State, events: &[Event]) -> anyhow::Result<Self> {
        Self::from(base, with, &Compared::of(base, events)?)
    }

    /// The same of what was compared already.
    ///
    /// # Errors
    /// See [`Report::of`].
    pub(crate) fn from(base: &State, with: &State, compared: &Compared) -> anyhow::Result<Self> {
        let Compared { before, engine, members, classes, changed, .. } = compared;
        let mut pairs: Vec<(Pair, Vec<usize>)> = Vec::new();
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
        for (class, then, now) in classes {
            for pair in paired(then.clone(), now.clone()) {
                let at = |served: &Option<Served>| {
                    served.as_ref().map_or(0, |(_, layer)| Arc::as_ptr(layer) as usize)
                };
                let key = (at(&pair.before), at(&pair.after));
                if key.0 == key.1 {
                    continue;
                }
                let place = *known.entry(key).or_insert_with(|| {
                    pairs.push((pair, Vec::new()));
                    pairs.len() - 1
                });
                pairs[place].1.extend(&class.members);
            }
        }
        let mut told = Told { after: engine.mesh(), cache: HashMap::new(), origins: changed.clone() };
        let mut by_change: BTreeMap<Change, BTreeSet<usize>> = BTreeMap::new();
        let mut details: HashMap<Change, Change> = HashMap::new();
        for (pair, proxies) in &pairs {
            for change in told.of_pair(pair)? {
                // What people read is the same where only the rest of the resource is another one.
                let said = Change { fields: Vec::new(), objects: Vec::new(), ..change.clone() };
                by_change.entry(said.clone()).or_default().extend(proxies);
                match details.entry(said) {
                    Entry::Vacant(entry) => _ = entry.insert(change),
                    Entry::Occupied(mut entry) => entry.get_mut().meet(change),
                }
            }
        }
        let audience = Audience::new(members);
        let mut warnings = found(base, with, compared, &told.origins);
        let mut grouped: BTreeMap<BTreeSet<usize>, Vec<Change>> = BTreeMap::new();
        for (change, proxies) in by_change {
            if let Some(warned) = &change.warning {
                let message = warned.message.clone();
                let proxies = Some(audience.who(&proxies).text);
                warnings.push(Warning { code: warned.code, message, hint: None, place: None, proxies });
            }
            grouped.entry(proxies).or_default().extend(details.remove(&change));
        }
        warnings.sort();
        warnings.dedup();
        let changed_proxies = grouped.keys().flatten().collect::<HashSet<_>>().len();
        let mut groups: Vec<Group> = grouped
            .into_iter()
            .map(|(proxies, changes)| Group { proxies: audience.who(&proxies), changes })
            .collect();
        groups.sort_by(|one, other| {
            (other.proxies.count, &one.proxies.text).cmp(&(one.proxies.count, &other.proxies.text))
        });
        let object = |key: &ObjectKey| {
            let (then, now) = (before.object(key), engine.mesh().object(key));
            let action = match (then.is_some(), now.is_some()) {
                (false, _) => Action::Added,
                (_, false) => Action::Removed,
                _ => Action::Changed,
            };
            let place = |state: &State| state.places().of(key).and_then(meltemi_api::Places::start);
            ObjectChange {
                action,
                kind: key.kind.as_str(),
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                place: place(with).or_else(|| place(base)),
            }
        };
        Ok(Self {
            objects: changed.iter().map(object).collect(),
            proxies: members.len(),
            changed_proxies,
            groups,
            warnings,
        })
    }
}

/// The layers of one proxy before and after, those of one sort together.
fn paired(then: Vec<Served>, now: Vec<Served>) -> Vec<Pair> {
    let sort = |served: &Served| std::mem::discriminant(&served.0);
    let mut pairs: Vec<Pair> =
        then.into_iter().map(|served| Pair { before: Some(served), after: None }).collect();
    for served in now {
        let mine = |pair: &&mut Pair| {
            pair.after.is_none() && pair.before.as_ref().is_some_and(|before| sort(before) == sort(&served))
        };
        match pairs.iter_mut().find(mine) {
            Some(pair) => pair.after = Some(served),
            None => pairs.push(Pair { before: None, after: Some(served) }),
        }
    }
    pairs
}

/// A resource with its versions before and after.
type Stepped = (bool, TypeUrl, ResourceName, Option<Version>, Option<Version>);

/// What was told already: layers of many namespaces share what differs.
struct Told<'a> {
    after: &'a Mesh,
    cache: HashMap<Stepped, Vec<Change>>,
    /// The objects that what differs is made from, and those that differ themselves.
    origins: BTreeSet<ObjectKey>,
}

impl Told<'_> {
    fn of_pair(&mut self, pair: &Pair) -> anyhow::Result<Vec<Change>> {
        let empty = || Arc::new(Layer::empty());
        let layer =
            |served: &Option<Served>| served.as_ref().map_or_else(empty, |(_, layer)| Arc::clone(layer));
        let (before, after) = (layer(&pair.before), layer(&pair.after));
        let steps = between(&before, &after);
        let is_gateway = |served: &Option<Served>| matches!(served, Some((LayerKey::Gateway(_), _)));
        let at_gateway = is_gateway(&pair.before) || is_gateway(&pair.after);
        let mut all = Vec::new();
        for step in &steps {
            all.extend(self.of_step(step, at_gateway)?);
        }
        if let (Some((LayerKey::Inbound(then), before)), Some((LayerKey::Inbound(now), after))) =
            (&pair.before, &pair.after)
        {
            all.extend(listener::tls((then, before), (now, after), &steps)?);
        }
        all.extend(self.dangling(&before, &after, &steps, at_gateway)?);
        for host in unknown(&after, &steps, at_gateway) {
            all.retain(|change| change.host.as_ref() != Some(&host.host) || change.action != Action::Removed);
            all.extend(gone(&host, &steps));
        }
        Ok(all)
    }

    fn of_step(&mut self, step: &Step, at_gateway: bool) -> anyhow::Result<Vec<Change>> {
        let version = |resource: &Option<Arc<_>>| {
            resource.as_ref().map(|found: &Arc<meltemi_catalog::Resource>| found.version())
        };
        let key = (at_gateway, step.type_url, step.name.clone(), version(&step.before), version(&step.after));
        for resource in step.before.iter().chain(&step.after) {
            self.origins.extend(resource.origin().iter().cloned());
        }
        if let Some(told) = self.cache.get(&key) {
            // The same bytes may come of other objects.
            return Ok(told.iter().map(|change| change.clone().made_from(step)).collect());
        }
        let mut told = match step.type_url {
            TypeUrl::Cluster => cluster::changes(step)?,
            TypeUrl::Endpoint => cluster::endpoints(step)?,
            TypeUrl::VirtualHost => host::changes(step, at_gateway)?,
            // Its virtual hosts are told.
            TypeUrl::Route if step.before.is_none() || step.after.is_none() => Vec::new(),
            TypeUrl::Listener => listener::changes(step, at_gateway)?,
            TypeUrl::Secret => listener::secret(step),
            _ => listener::other(step)?,
        };
        told.extend(self.shadowed(step));
        self.cache.insert(key, told.clone());
        Ok(told)
    }

    /// A VirtualService that is there, names the host and decides for it no more.
    fn shadowed(&self, step: &Step) -> Option<Change> {
        let (before, after) = (step.before.as_ref()?, step.after.as_ref()?);
        if step.type_url != TypeUrl::VirtualHost {
            return None;
        }
        let target = Target::of_virtual_host(step.name.as_str());
        let names = |key: &&ObjectKey| match self.after.object(key).map(|object| &object.spec) {
            Some(Spec::VirtualService(service)) => service.hosts.iter().any(|host| {
                let host = qualified(host, &key.namespace);
                host.as_str() == target.host || host.is_wildcard()
            }),
            _ => false,
        };
        let is_rule = |key: &&ObjectKey| key.kind == Kind::VirtualService;
        let lost =
            before.origin().iter().find(|key| is_rule(key) && !after.origin().contains(key) && names(key))?;
        let by = after.origin().iter().find(is_rule);
        let by = by.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let text = format!("{lost} decides here no more; {by} does");
        let message = format!("{}: {text}", target.subject());
        let change = Change::new(step, target.subject(), What::Route, text).of_host(&target);
        Some(change.warning(RULE_SHADOWED, message))
    }

    /// Rules that send to a cluster that there is not, and did not before.
    fn dangling(
        &mut self,
        before: &Layer,
        after: &Layer,
        steps: &[Step],
        at_gateway: bool,
    ) -> anyhow::Result<Vec<Change>> {
        let is_gone = |step: &&Step| step.type_url == TypeUrl::Cluster && step.after.is_none();
        let any_gone = steps.iter().any(|step| is_gone(&step));
        let mut all = Vec::new();
        for type_url in [TypeUrl::VirtualHost, TypeUrl::Listener] {
            let stepped =
                steps.iter().filter(|step| step.type_url == type_url).filter_map(|step| step.after.clone());
            let resources: Vec<_> = if any_gone {
                after.all(type_url).map(|live| Arc::clone(&live.resource)).collect()
            } else {
                stepped.collect()
            };
            for resource in resources {
                let then = before.find(type_url, resource.name().as_str()).map(|live| &live.resource);
                let missing = |layer: &Layer, name: &ResourceName| {
                    layer.find(TypeUrl::Cluster, name.as_str()).is_none()
                };
                for need in resource.needs().iter().filter(|need| need.type_url == TypeUrl::Cluster) {
                    let was =
                        then.is_some_and(|then| then.needs().contains(need) && missing(before, &need.name));
                    if !missing(after, &need.name) || was {
                        continue;
                    }
                    self.origins.extend(resource.origin().iter().cloned());
                    let step = Step {
                        type_url,
                        name: resource.name().clone(),
                        before: Some(Arc::clone(&resource)),
                        after: Some(Arc::clone(&resource)),
                    };
                    let to = rule::title(need.name.as_str());
                    let (target, subject, what) = if type_url == TypeUrl::Listener {
                        let subject = listener::Subject::of_step(&step, at_gateway)?;
                        (subject.target, subject.name, "connections fail")
                    } else {
                        let target = Target::of_virtual_host(resource.name().as_str());
                        let subject = host::subject(&target, at_gateway);
                        (Some(target), subject, "requests get 503")
                    };
                    let text = format!("sends to {to}, which there is not: such {what}");
                    let message = format!("{subject}: {text}");
                    let change = Change::new(&step, subject, What::Route, text);
                    let change = match &target {
                        Some(target) => change.of_host(target),
                        None => change,
                    };
                    all.push(change.warning(SUBSET_LOST, message));
                }
            }
        }
        Ok(all)
    }
}

/// Hosts of which nothing is left.
fn unknown(after: &Layer, steps: &[Step], at_gateway: bool) -> BTreeSet<Target> {
    // What a gateway serves no more is told with its port.
    let counts = |step: &&Step| {
        let is_rest = host::rest(step.name.as_str()).is_some();
        step.type_url != TypeUrl::VirtualHost || !(at_gateway || is_rest)
    };
    let gone = steps.iter().filter(|step| step.after.is_none()).filter(counts);
    let mut hosts: BTreeSet<Target> = gone
        .filter_map(|step| match step.type_url {
            TypeUrl::Cluster => Target::of_cluster(step.name.as_str()),
            TypeUrl::VirtualHost => Some(Target::of_virtual_host(step.name.as_str())),
            _ => None,
        })
        .map(|target| Target { port: None, subset: None, ..target })
        .collect();
    if hosts.is_empty() {
        return hosts;
    }
    let clusters =
        after.all(TypeUrl::Cluster).filter_map(|live| Target::of_cluster(live.resource.name().as_str()));
    let virtual_hosts =
        after.all(TypeUrl::VirtualHost).map(|live| Target::of_virtual_host(live.resource.name().as_str()));
    for left in clusters.chain(virtual_hosts) {
        hosts.remove(&Target { port: None, subset: None, ..left });
    }
    hosts
}

fn gone(target: &Target, steps: &[Step]) -> Option<Change> {
    let of_host = |step: &&Step| {
        let own = match step.type_url {
            TypeUrl::Cluster => Target::of_cluster(step.name.as_str()),
            TypeUrl::VirtualHost => Some(Target::of_virtual_host(step.name.as_str())),
            _ => None,
        };
        step.after.is_none() && own.is_some_and(|own| own.host == target.host)
    };
    let step = steps.iter().find(of_host)?;
    let host = short_host(&target.host);
    let text = "becomes unknown: nothing of the mesh leads there any more";
    let change = Change::new(step, host, What::Host, text).of_host(target);
    Some(change.warning(HOST_UNKNOWN, format!("{host} {text}")))
}

/// Findings that come with the change: about objects that differ, and about those that what differs is made from.
fn found(base: &State, with: &State, compared: &Compared, keys: &BTreeSet<ObjectKey>) -> Vec<Warning> {
    let Compared { before, engine, whole: [whole, after], .. } = compared;
    let (memo, then, now): (Memo<Mesh>, Memo<Mesh>, Memo<Mesh>) = (Memo::new(), Memo::new(), Memo::new());
    let identity = |finding: &Finding| {
        (finding.code, finding.key.clone(), finding.field.clone(), finding.message.clone())
    };
    let mut had: HashSet<_> = base.own_findings().iter().map(identity).collect();
    let mut has: Vec<Finding> = with.own_findings().to_vec();
    for key in keys {
        let (_, known) = memo.observe(FindingsOf(key.clone()), before);
        let known: HashSet<_> = known.iter().map(identity).collect();
        let found = engine.findings_of(key);
        if found.iter().any(|finding| !known.contains(&identity(finding))) {
            // What is meant instead may be out of the change's reach.
            let (_, known) = then.observe(FindingsOf(key.clone()), whole);
            let (_, found) = now.observe(FindingsOf(key.clone()), after);
            had.extend(known.iter().map(identity));
            has.extend(found.iter().cloned());
        }
    }
    has.into_iter()
        .filter(|finding| finding.severity != Severity::Info && !had.contains(&identity(finding)))
        .map(|finding| {
            let finding = base.places().locate(with.places().locate(finding));
            let about = finding.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
            let is_refused = finding.severity == Severity::Error;
            let refused = if is_refused { "; it is refused, and what was before stays" } else { "" };
            Warning {
                code: finding.code,
                message: format!("{about}{}{refused}", finding.message),
                hint: finding.hint,
                place: finding.place,
                proxies: None,
            }
        })
        .collect()
}
