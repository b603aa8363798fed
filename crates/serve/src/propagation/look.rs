//! One look at all streams for one object: how many proxies must have it, how many have it, what keeps the others.
//!
//! Costs O(layers) index questions and O(1) for each stream that has acknowledged all of its view; single resources are asked for only of
//! those that have not. Two streams of one proxy are one proxy, which has it when both have it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use meltemi_catalog::{Layer, LayerId, ResourceName};
use meltemi_names::{ObjectKey, TypeUrl};
use meltemi_views::origin::{Named, Origins, is_traced, moves_proxies};
use meltemi_views::{Withheld, WithheldByLayer, Withholding};
use meltemi_xds::{Lack, Lacking};

use super::answer::{Lagging, Why};
use super::record::{Record, Touched};
use crate::streams::Stream;

/// How many proxies an answer names.
pub(super) const LISTED: usize = 10;

/// What was made from which object, by layer: only layers that somebody was asked about.
pub(super) type Indexes = BTreeMap<LayerId, Origins>;

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) have: usize,
    pub(super) of: usize,
    pub(super) starting: usize,
    pub(super) lagging: Vec<Lagging>,
    /// Time itself may change the answer then.
    pub(super) until: Option<Instant>,
    /// Single resources asked of streams.
    pub(super) asked: usize,
    /// Layers looked through for what was made from which object.
    pub(super) searched: usize,
}

/// What of one layer an object concerns.
#[derive(Debug, Default)]
struct Concern<'a> {
    names: Vec<Named>,
    all: bool,
    withheld: Option<&'a Withheld>,
}

impl Concern<'_> {
    fn is_some(&self) -> bool {
        self.all || !self.names.is_empty() || self.withheld.is_some()
    }
}

/// What keeps a proxy.
#[derive(Debug)]
enum Reason<'a> {
    Lacks(Lacking),
    Withheld(&'a Withheld),
    /// It has come back, and may hold what is gone.
    Returning,
}

/// Looks for one object; `record` says what is known of it.
pub(super) fn look(
    object: &ObjectKey,
    record: &Record,
    withheld: &WithheldByLayer,
    streams: &[Stream],
    indexes: &mut Indexes,
    now: Instant,
) -> Found {
    let mut found = Found::default();
    let known = indexes.len();
    let mut concerns: HashMap<LayerId, Concern<'_>> = HashMap::new();
    let mut reasons: Vec<(Why, Arc<str>, Reason<'_>)> = Vec::new();
    let mut last: Option<(&Arc<str>, bool)> = None;
    // Sorted by proxy: the streams of one are neighbours.
    for stream in streams {
        let view = stream.views.borrow().clone();
        for layer in view.layers() {
            concerns.entry(layer.id()).or_insert_with(|| concern(object, record, withheld, layer, indexes));
        }
        let mine = || view.layers().iter().filter_map(|layer| concerns.get(&layer.id()));
        let is_concerned = mine().any(Concern::is_some);
        // What is gone may still be at a client that has it from another replica.
        let may_hold_it = record.deleted && !is_concerned && stream.handle.may_hold_more(now);
        if !is_concerned && !may_hold_it {
            continue;
        }
        let reason = if may_hold_it {
            // Of a client that has not begun, any name tells until when.
            let nothing = [(TypeUrl::Cluster, ResourceName::from(""))];
            note_until(&stream.handle.lacks(&nothing, now), &mut found);
            Some(Reason::Returning)
        } else {
            keeps(stream, mine(), record, &mut found, now)
        };
        let has = reason.is_none();
        reasons.extend(reason.map(|reason| (why(&reason), Arc::clone(&stream.proxy.id), reason)));
        let again = last.filter(|(proxy, _)| **proxy == stream.proxy.id);
        match again {
            None => {
                found.of += 1;
                found.have += usize::from(has);
                last = Some((&stream.proxy.id, has));
            }
            Some((proxy, true)) if !has => {
                found.have -= 1;
                last = Some((proxy, false));
            }
            Some(_) => {}
        }
    }
    found.searched = indexes.len() - known;
    reasons.sort_by(|(a_why, a, _), (b_why, b, _)| (a_why, a).cmp(&(b_why, b)));
    let mut named = std::collections::BTreeSet::new();
    // Of two streams of one proxy the one that needs help says why.
    reasons.retain(|(_, proxy, _)| named.insert(Arc::clone(proxy)));
    found.starting = reasons.iter().filter(|(why, _, _)| *why == Why::Starting).count();
    found.lagging =
        reasons.into_iter().take(LISTED).map(|(why, proxy, reason)| tell(why, &proxy, &reason)).collect();
    found
}

/// Forgets the indexes of layers that nobody is served from.
pub(super) fn forget(indexes: &mut Indexes, streams: &[Stream]) {
    let live: std::collections::BTreeSet<LayerId> = streams
        .iter()
        .flat_map(|stream| stream.views.borrow().layers().iter().map(|layer| layer.id()).collect::<Vec<_>>())
        .collect();
    indexes.retain(|layer, _| live.contains(layer));
}

fn concern<'a>(
    object: &ObjectKey,
    record: &Record,
    withheld: &'a WithheldByLayer,
    layer: &Arc<Layer>,
    indexes: &mut Indexes,
) -> Concern<'a> {
    let traced = is_traced(object.kind);
    let mut names = Vec::new();
    if traced {
        let index = indexes.entry(layer.id()).or_insert_with(|| Origins::new(Arc::clone(layer)));
        index.follow(layer);
        names.extend(index.of(object).iter().cloned());
    }
    // What a younger layer holds of an object whose kind leaves no traces was not seen to change: all of it counts. So does a younger
    // layer that a proxy may have moved to since the object changed or went, as long as it does not name the object.
    let untold = !traced || (moves_proxies(object.kind) && names.is_empty());
    let mut all = untold && layer.id() > record.youngest;
    match record.touched.get(&layer.id()) {
        Some(Touched::Named(touched)) => names.extend(touched.iter().cloned()),
        Some(Touched::All) => all = true,
        None => {}
    }
    let withheld = withheld
        .get(&layer.id())
        .into_iter()
        .flatten()
        .find(|withheld| withheld.origin.contains(object) && withheld.since <= record.published);
    Concern { names, all, withheld }
}

fn keeps<'a: 'c, 'c>(
    stream: &Stream,
    concerns: impl Iterator<Item = &'c Concern<'a>> + Clone,
    record: &Record,
    found: &mut Found,
    now: Instant,
) -> Option<Reason<'a>> {
    if let Some(withheld) = concerns.clone().find_map(|concern| concern.withheld) {
        return Some(Reason::Withheld(withheld));
    }
    if stream.handle.is_settled(now) {
        return None;
    }
    let names: Vec<Named> = concerns.clone().flat_map(|concern| concern.names.iter().cloned()).collect();
    found.asked += names.len();
    let mut lacks = stream.handle.lacks(&names, now);
    if concerns.clone().any(|concern| concern.all) {
        lacks.extend(stream.handle.lacks_anything(now));
    }
    note_until(&lacks, found);
    // What it lacks since later than the object's last change is another object's.
    let lacks = lacks.into_iter().filter(|lacking| lacking.since <= record.published);
    lacks.min_by_key(|lacking| why_of(&lacking.lack)).map(Reason::Lacks)
}

fn note_until(lacks: &[Lacking], found: &mut Found) {
    for lacking in lacks {
        if let Lack::Starting { until: Some(until) } = lacking.lack {
            found.until = Some(found.until.map_or(until, |earlier| earlier.min(until)));
        }
    }
}

fn why(reason: &Reason<'_>) -> Why {
    match reason {
        Reason::Lacks(lacking) => why_of(&lacking.lack),
        Reason::Returning => Why::Starting,
        Reason::Withheld(withheld) => match withheld.why {
            Withholding::Missing(_) => Why::Held,
            Withholding::Needed => Why::Needed,
            Withholding::Refused => Why::SetAside,
        },
    }
}

fn why_of(lack: &Lack) -> Why {
    match lack {
        Lack::Refused { .. } => Why::Refused,
        Lack::Starting { .. } => Why::Starting,
        Lack::Unacknowledged => Why::NotAcknowledged,
    }
}

fn tell(why: Why, proxy: &str, reason: &Reason<'_>) -> Lagging {
    let nothing = ResourceName::from("");
    let (type_url, name) = match reason {
        Reason::Lacks(lacking) => (lacking.type_url, &lacking.name),
        Reason::Withheld(withheld) => (withheld.type_url, &withheld.name),
        Reason::Returning => (TypeUrl::Cluster, &nothing),
    };
    let what = format!("{} `{name}`", called(type_url));
    let message = match reason {
        Reason::Returning | Reason::Lacks(Lacking { lack: Lack::Starting { .. }, .. }) => {
            "it has just connected, and has not acknowledged all of its first configuration".to_owned()
        }
        Reason::Lacks(Lacking { lack: Lack::Unacknowledged, .. }) => {
            format!("it has not acknowledged {what}")
        }
        Reason::Lacks(Lacking { lack: Lack::Refused { resource, words }, .. }) if resource == name => {
            format!("it refuses {what}: {words}")
        }
        Reason::Lacks(Lacking { lack: Lack::Refused { resource, words }, .. }) => {
            format!("{what} waits for `{resource}`, which it refuses: {words}")
        }
        Reason::Withheld(Withheld { why: Withholding::Missing(missing), .. }) => {
            let missing: Vec<String> = missing.iter().map(absent).collect();
            format!("it keeps its last good state of {what}: {}", missing.join(", "))
        }
        Reason::Withheld(Withheld { why: Withholding::Needed, .. }) => {
            format!("it keeps {what}, which a route in force needs")
        }
        Reason::Withheld(Withheld { why: Withholding::Refused, .. }) => {
            format!("proxies of its build refuse {what}; it is served the last good state")
        }
    };
    let resource = (!name.as_str().is_empty()).then(|| name.to_string());
    Lagging { proxy: proxy.to_owned(), why, resource, message, replica: None }
}

fn called(type_url: TypeUrl) -> &'static str {
    match type_url {
        TypeUrl::Cluster => "cluster",
        TypeUrl::Endpoint => "the endpoints of",
        TypeUrl::Listener => "listener",
        TypeUrl::Route => "route configuration",
        TypeUrl::VirtualHost => "virtual host",
        _ => "resource",
    }
}

/// A cluster that does not exist, in the user's words: `outbound|PORT|SUBSET|HOST` (Istio's naming).
fn absent(cluster: &ResourceName) -> String {
    let parts: Vec<&str> = cluster.as_str().split('|').collect();
    match parts[..] {
        [_, port, "", host] => format!("{host} has no port {port}, or is no service"),
        [_, _, subset, host] => format!("{host} has no subset `{subset}`"),
        _ => format!("cluster `{cluster}` does not exist"),
    }
}
