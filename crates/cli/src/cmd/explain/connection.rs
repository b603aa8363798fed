//! Where the rule stands that a connection follows: a `tcp` or `tls` rule of a VirtualService.
//!
//! Knows: what such a rule asks of a connection, and that its destinations are the clusters of the way. Must not know how chains are laid.

use std::collections::BTreeSet;

use meltemi_api::value::GatewayName;
use meltemi_api::virtual_service::{ConnectionDestination, ConnectionMatch};
use meltemi_api::{FieldPath, Spec, VirtualService};
use meltemi_model::Mesh;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::index::{gateway_key, qualified};
use meltemi_names::{Host, Kind, ObjectKey};
use meltemi_sources::PlaceIndex;
use meltemi_walk::{ChainTaken, Handling, TcpWay, Way};

use super::rule::{Written, object};
use super::sent::Sent;
use super::workload::Workload;

/// Who connects, to which port, and by which gateway.
pub(super) struct Caller<'a> {
    pub(super) from: &'a Workload,
    pub(super) set: Option<&'a GatewaySet>,
    pub(super) port: u16,
}

/// The rule; none for a connection that follows none.
pub(super) fn rule(
    way: &Way,
    sent: &Sent,
    mesh: &Mesh,
    caller: &Caller<'_>,
    places: &PlaceIndex,
) -> Option<Written> {
    let (Some(Handling::Tcp(tcp)), Some(chain)) = (&way.handling, &way.chain) else { return None };
    // A sidecar's chain says whose it is; of a gateway's listener all are known that it is made from.
    let candidates: Vec<ObjectKey> = match chain.object.as_deref().and_then(object) {
        Some(key) => vec![key],
        None if caller.set.is_some() => sent.made_from(&way.listener.as_ref()?.name, Kind::VirtualService),
        None => return None,
    };
    candidates.into_iter().find_map(|key| {
        let found = mesh.object(&key)?;
        let Spec::VirtualService(service) = &found.spec else { return None };
        let field = within(&key, service, tcp, chain, caller)?;
        Some(Written::new(key, &field, places))
    })
}

fn within(
    key: &ObjectKey,
    service: &VirtualService,
    tcp: &TcpWay,
    chain: &ChainTaken,
    caller: &Caller<'_>,
) -> Option<FieldPath> {
    let spec = FieldPath::of(&["spec"]);
    let admits = |found: &ConnectionMatch| admits(key, service, found, caller);
    let of_tcp = || {
        service.tcp.iter().enumerate().find_map(|(index, rule)| {
            let path = spec.key("tcp").index(index);
            if !leads(key, &rule.route, tcp) {
                return None;
            }
            if rule.matches.is_empty() {
                return Some(path);
            }
            let place = rule.matches.iter().position(admits)?;
            Some(path.key("match").index(place))
        })
    };
    let of_tls = || {
        service.tls.iter().enumerate().find_map(|(index, rule)| {
            let names = |hosts: &[Host]| {
                let asked = |name: &String| hosts.iter().any(|host| host.as_str().eq_ignore_ascii_case(name));
                hosts.iter().any(|host| host.as_str() == "*") || chain.server_names.iter().all(asked)
            };
            let mut matches = rule.matches.iter();
            let place = matches.position(|found| names(&found.sni_hosts) && admits(&found.connection));
            let place = place.filter(|_| leads(key, &rule.route, tcp))?;
            Some(spec.key("tls").index(index).key("match").index(place))
        })
    };
    // Only a rule for TLS reads names.
    if chain.server_names.is_empty() { of_tcp().or_else(of_tls) } else { of_tls() }
}

/// Whether a match lets the caller in.
fn admits(key: &ObjectKey, service: &VirtualService, found: &ConnectionMatch, caller: &Caller<'_>) -> bool {
    let Caller { from, set, port } = caller;
    let gateways = if found.gateways.is_empty() { &service.gateways } else { &found.gateways };
    let is_for = match set {
        None => gateways.is_empty() || gateways.contains(&GatewayName::Mesh),
        Some(set) => gateways.iter().any(|name| {
            gateway_key(name, &key.namespace).is_some_and(|gateway| set.gateways.contains(&gateway))
        }),
    };
    is_for
        && found.port.is_none_or(|wanted| wanted.number() == *port)
        && found.source_labels.selects(&from.labels)
        && found.source_namespace.as_ref().is_none_or(|namespace| namespace.as_str() == from.namespace)
}

/// Whether a rule's destinations are where the connection goes. Those without a weight get nothing.
fn leads(key: &ObjectKey, route: &[ConnectionDestination], tcp: &TcpWay) -> bool {
    let alone = route.len() == 1;
    let wanted = route.iter().filter(|to| alone || to.weight > 0).map(|to| {
        let host = qualified(&to.destination.host, &key.namespace);
        (to.destination.subset.as_deref().unwrap_or_default().to_owned(), host.to_string())
    });
    let wanted: BTreeSet<(String, String)> = wanted.collect();
    let led = tcp.destinations.iter().filter_map(|to| {
        let mut parts = to.cluster.name.split('|').skip(2);
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    });
    wanted == led.collect()
}
