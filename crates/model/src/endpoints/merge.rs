//! The endpoints of several slices, workload entries and pods as one list.
//!
//! Must not know: where they come from.   Invariant: the same endpoints give the same list, in whatever order they come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_names::{ObjectName, Port};

use super::{Endpoint, EndpointAddress, Located};

/// What slices say together. An address counts once for each port: slices may name it twice while one takes over from another, with
/// other ports and at another place even, and it must never be missing meanwhile. The healthy one counts (Istio takes any;
/// serviceregistry/kube/controller/endpointslice.go).
pub(super) fn slices(found: Vec<Located>) -> Vec<Located> {
    let mut found = found;
    found.sort_by(|(place, one), (other_place, other)| {
        let order = |endpoint: &Endpoint| (endpoint.address.clone(), endpoint.health);
        (order(one), place, &one.ports, &one.pod).cmp(&(order(other), other_place, &other.ports, &other.pod))
    });
    let mut kept: Vec<Located> = Vec::with_capacity(found.len());
    // Where those of the present address begin.
    let mut first = 0;
    for (place, endpoint) in found {
        if kept.last().is_some_and(|(_, last)| last.address != endpoint.address) {
            first = kept.len();
        }
        let before = &kept[first..];
        if before.is_empty() {
            kept.push((place, endpoint));
            continue;
        }
        let is_new = |port: &Port| before.iter().all(|(_, kept)| !kept.ports.contains_key(port));
        let new: BTreeMap<Port, Port> =
            endpoint.ports.iter().filter(|(port, _)| is_new(port)).map(|(port, own)| (*port, *own)).collect();
        if !new.is_empty() {
            kept.push((place, Arc::new(Endpoint { ports: Arc::new(new), ..(*endpoint).clone() })));
        }
    }
    mark_twins(&mut kept);
    kept
}

/// Marks the IPv6 addresses of pods that are there at an IPv4 address too.
fn mark_twins(found: &mut [Located]) {
    let family = |endpoint: &Endpoint, is: fn(&IpAddr) -> bool| match &endpoint.address {
        EndpointAddress::Ip(ip) => is(ip),
        EndpointAddress::Name(_) | EndpointAddress::Unix(_) => false,
    };
    if !found.iter().any(|(_, endpoint)| family(endpoint, IpAddr::is_ipv6)) {
        return;
    }
    let pods: BTreeSet<ObjectName> = found
        .iter()
        .filter(|(_, endpoint)| family(endpoint, IpAddr::is_ipv4))
        .filter_map(|(_, endpoint)| endpoint.pod.clone())
        .collect();
    for (_, endpoint) in found {
        if family(endpoint, IpAddr::is_ipv6) && endpoint.pod.as_ref().is_some_and(|pod| pods.contains(pod)) {
            *endpoint = Arc::new(Endpoint { twin: true, ..(**endpoint).clone() });
        }
    }
}

/// All of them in order; what is there twice, once.
pub(super) fn sorted(found: Vec<Located>) -> Vec<Located> {
    let mut found = found;
    found.sort_by(|(place, one), (other_place, other)| {
        let order = |endpoint: &Endpoint| (endpoint.address.clone(), endpoint.health);
        (place, order(one), &one.ports).cmp(&(other_place, order(other), &other.ports))
    });
    found.dedup_by(|(place, one), (other_place, other)| {
        place == other_place && one.address == other.address && one.ports == other.ports
    });
    found
}
