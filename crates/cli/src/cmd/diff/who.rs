//! A set of proxies as people speak of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::proxies::Member;

/// Some proxies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Who {
    /// In words: `sidecars in shop`.
    pub(crate) text: String,
    pub(crate) count: usize,
    pub(crate) namespaces: Vec<Within>,
}

/// Those of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Within {
    pub(crate) namespace: String,
    /// All that there may be.
    pub(crate) all: bool,
    /// Whoever nothing in the mesh describes is one of them.
    pub(crate) others: bool,
    /// `Pod shop/cart-1`; none are listed where all are meant.
    pub(crate) workloads: Vec<String>,
    /// Gateways among them: their workloads, or for whom a Gateway is that selects none. They count apart from all others.
    pub(crate) gateways: Vec<String>,
}

/// All proxies that there may be.
pub(crate) struct Audience<'a> {
    members: &'a [Member],
    sizes: BTreeMap<&'a str, usize>,
}

/// Namespaces and workloads that are named; the rest is counted.
const NAMED: usize = 4;

impl<'a> Audience<'a> {
    pub(crate) fn new(members: &'a [Member]) -> Self {
        let mut sizes = BTreeMap::new();
        for member in members.iter().filter(|member| member.gateway.is_none()) {
            *sizes.entry(member.namespace.as_str()).or_default() += 1;
        }
        Self { members, sizes }
    }

    /// Those with these places in the list.
    pub(crate) fn who(&self, proxies: &BTreeSet<usize>) -> Who {
        let mut within: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
        for member in proxies.iter().filter_map(|index| self.members.get(*index)) {
            within.entry(member.namespace.as_str()).or_default().push(member);
        }
        let namespaces: Vec<Within> = within
            .iter()
            .map(|(namespace, members)| {
                let (gateways, sidecars): (Vec<&Member>, Vec<&Member>) =
                    members.iter().partition(|member| member.gateway.is_some());
                let all = self.sizes.get(namespace) == Some(&sidecars.len());
                let workloads = sidecars.iter().filter_map(|member| member.workload.as_ref());
                Within {
                    namespace: (*namespace).to_owned(),
                    all,
                    others: sidecars.iter().any(|member| member.workload.is_none()),
                    workloads: workloads.map(ToString::to_string).filter(|_| !all).collect(),
                    gateways: gateways.iter().filter_map(|member| gateway(member)).collect(),
                }
            })
            .collect();
        Who { text: self.text(&namespaces, proxies), count: proxies.len(), namespaces }
    }

    fn text(&self, namespaces: &[Within], proxies: &BTreeSet<usize>) -> String {
        let mut parts = Vec::new();
        let named: Vec<&str> =
            namespaces.iter().flat_map(|within| within.gateways.iter().map(String::as_str)).collect();
        let count = proxies.len() - named.len();
        let whole: Vec<&str> =
            namespaces.iter().filter(|within| within.all).map(|within| within.namespace.as_str()).collect();
        if self.sizes.len() > 1 && count == self.sizes.values().sum::<usize>() {
            parts.push("every sidecar".to_owned());
        } else if !whole.is_empty() {
            parts.push(format!("sidecars in {}", listed(&whole, "namespace")));
        }
        let single: Vec<&str> = namespaces
            .iter()
            .filter(|within| !within.all)
            .flat_map(|within| within.workloads.iter().map(String::as_str))
            .collect();
        if !single.is_empty() {
            parts.push(listed(&single, "workload"));
        }
        let others: Vec<&str> = namespaces
            .iter()
            .filter(|within| within.others && !within.all)
            .map(|within| within.namespace.as_str())
            .collect();
        if !others.is_empty() {
            parts.push(format!("sidecars that nothing describes in {}", listed(&others, "namespace")));
        }
        match named.as_slice() {
            [] => {}
            [only] => parts.push(format!("gateway {only}")),
            all => parts.push(format!("gateways {}", listed(all, "gateway"))),
        }
        parts.join("; ")
    }
}

/// What people call a gateway.
fn gateway(member: &Member) -> Option<String> {
    let gateway = member.gateway.as_ref()?;
    Some(match &member.workload {
        Some(workload) => workload.to_string(),
        None => format!("selected by {gateway}"),
    })
}

fn listed(names: &[&str], what: &str) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        all if all.len() > NAMED => {
            format!("{} and {} more {what}s", all[..NAMED].join(", "), all.len() - NAMED)
        }
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}
