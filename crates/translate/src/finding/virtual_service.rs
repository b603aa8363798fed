//! VirtualServices: destinations that do not exist, hosts that another one owns.

mod connection;
mod delegate;

use meltemi_api::virtual_service::{ConnectionDestination, Destination, HttpRoute};
use meltemi_api::{FieldPath, Finding, Meta, VirtualService};
use meltemi_model::entry::IndexKey;
use meltemi_model::exposure::Exposure;
use meltemi_model::index::qualified;
use meltemi_model::read::{self, Read, filed};
use meltemi_model::rule::{Rule, RuleFor};
use meltemi_model::service::{Age, CLUSTER_DOMAIN, ServiceShape};
use meltemi_model::settings::settings;
use meltemi_names::{Host, Namespace, ObjectKey};

use super::{Target, gateway, listed, target};
use crate::external_name::meant;

/// What happens to requests for what does not exist: a route that was whole is kept, one that never was answers itself.
const REQUESTS: &str = "the routes of these hosts stay as they were last whole; if they never were, this destination answers 503";

/// The same for connections.
const CONNECTIONS: &str = "the listeners of these hosts stay as they were last whole; if they never were, connections to this destination are closed";

pub(super) fn findings(read: &Read<'_>, meta: &Meta, written: &VirtualService) -> Vec<Finding> {
    let namespace = &meta.key.namespace;
    let spec = FieldPath::of(&["spec"]);
    let mut findings = gateway::of_virtual_service(read, &meta.key, written, &spec);
    for (index, host) in written.hosts.iter().enumerate().filter(|_| written.is_in_mesh()) {
        findings.extend(of_host(read, meta, written.http.is_empty(), host, &spec.key("hosts").index(index)));
    }
    for (index, route) in written.http.iter().enumerate() {
        for (destination, path) in destinations(route, &spec.key("http").index(index)) {
            findings.extend(of_destination(read, namespace, destination, &path, REQUESTS));
        }
    }
    let tcp = written.tcp.iter().map(|rule| &rule.route);
    let tls = written.tls.iter().map(|rule| &rule.route);
    let lists: [(&str, Vec<&Vec<ConnectionDestination>>); 2] =
        [("tcp", tcp.collect()), ("tls", tls.collect())];
    for (list, rules) in lists {
        for (index, route) in rules.into_iter().enumerate() {
            for (place, weighted) in route.iter().enumerate() {
                let path = spec.key(list).index(index).key("route").index(place).key("destination");
                findings.extend(of_destination(read, namespace, &weighted.destination, &path, CONNECTIONS));
            }
        }
    }
    findings.extend(connection::findings(read, namespace, written));
    findings.extend(delegate::findings(read, meta, written));
    findings
}

/// Every destination of a rule, with its path.
fn destinations<'a>(route: &'a HttpRoute, path: &FieldPath) -> Vec<(&'a Destination, FieldPath)> {
    let routed = route.route.iter().enumerate();
    let routed = routed
        .map(|(index, weighted)| (&weighted.destination, path.key("route").index(index).key("destination")));
    let mirror = route.mirror.iter().map(|destination| (destination, path.key("mirror")));
    let mirrors = route.mirror_list.iter().enumerate();
    let mirrors = mirrors
        .map(|(index, mirror)| (&mirror.destination, path.key("mirrors").index(index).key("destination")));
    routed.chain(mirror).chain(mirrors).collect()
}

fn of_destination(
    read: &Read<'_>,
    namespace: &Namespace,
    destination: &Destination,
    path: &FieldPath,
    in_force: &str,
) -> Option<Finding> {
    // Routes name what it stands for.
    let host = meant(read, &qualified(&destination.host, namespace));
    let shape = match target(read, namespace, &destination.host, &host) {
        Target::Service(shape) => shape,
        Target::Missing { message, hint } => {
            let finding =
                Finding::warning("host-not-found", message).at(&path.key("host")).in_force(in_force);
            return Some(Finding { hint, ..finding });
        }
    };
    if let Some(port) = destination.port
        && shape.port(port).is_none()
    {
        let ports = listed(shape.ports.iter().map(|port| port.port));
        let finding = Finding::warning("port-not-found", format!("{} has no port {port}", shape.id))
            .at(&path.key("port").key("number"))
            .in_force(in_force)
            .hint(format!("its ports are {ports}; the port is the Service's own, not its targetPort"));
        return Some(finding);
    }
    let (message, hint) = of_subset(read, namespace, &shape, destination.subset.as_deref()?)?;
    let finding = Finding::warning("subset-not-found", message).at(&path.key("subset"));
    Some(finding.in_force(in_force).hint(hint))
}

/// What is wrong with a subset, and what to do. Judged as the VirtualService's own namespace sees the rules; callers elsewhere may have others.
fn of_subset(
    read: &Read<'_>,
    namespace: &Namespace,
    shape: &ServiceShape,
    subset: &str,
) -> Option<(String, String)> {
    let in_force =
        read.ask(RuleFor { viewer: namespace.clone(), service: shape.id.clone(), selectors: [].into() });
    Some(match &*in_force {
        None => (
            format!("{} has no subset `{subset}`: no DestinationRule is in force for it", shape.id.host),
            format!(
                "add a DestinationRule in namespace {} with host {} and subset `{subset}`",
                shape.id.namespace(),
                shape.id.object.name
            ),
        ),
        Some(rule) => {
            let merged = read.ask(Rule(rule.clone()));
            if merged.subset(subset).is_some() {
                return None;
            }
            let rules = rule.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            let names = listed(merged.subsets.iter().map(|subset| &subset.name));
            let has = if names.is_empty() { "no subsets".to_owned() } else { names };
            (
                format!("{} has no subset `{subset}`", shape.id.host),
                format!("{rules} has {has}; add `{subset}` there, then give it weight"),
            )
        }
    })
}

/// `for_connections`: it says nothing of requests, and rules for connections of several VirtualServices all count.
fn of_host(
    read: &Read<'_>,
    meta: &Meta,
    for_connections: bool,
    written: &Host,
    path: &FieldPath,
) -> Vec<Finding> {
    let namespace = &meta.key.namespace;
    let host = qualified(written, namespace);
    let mut findings = Vec::new();
    if !for_connections && let Some(owner) = owner(read, namespace, &host).filter(|owner| *owner != meta.key)
    {
        findings.push(
            Finding::warning("duplicate-host", format!("{owner} has the host `{written}` too, and is older"))
                .at(path)
                .in_force(format!("{owner} decides for this host; sidecars do not merge VirtualServices"))
                .hint("move the rules into one of them, or delete one"),
        );
    }
    // Hosts outside the cluster's domain may be anything: they are routed on port 80.
    if !host.is_wildcard()
        && host.as_str().ends_with(&format!(".svc.{CLUSTER_DOMAIN}"))
        && let Target::Missing { message, hint } = target(read, namespace, written, &host)
    {
        let finding = Finding::warning("host-not-found", message).at(path).in_force(if for_connections {
            "no connection is to this host"
        } else {
            "the rules apply to requests with this host on port 80 only"
        });
        findings.push(Finding { hint, ..finding });
    }
    findings
}

/// The VirtualService that decides for a host, as a namespace sees them: those for it alone before those exported to it before public
/// ones, the oldest of each (Istio: pilot/pkg/model/push_context.go).
fn owner(read: &Read<'_>, namespace: &Namespace, host: &Host) -> Option<ObjectKey> {
    let default = settings(read).default_virtual_service_export_to.clone();
    filed(read, IndexKey::VirtualServicesByHost(host.clone()))
        .filter_map(|key| {
            let (meta, written) = read::virtual_service(read, key)?;
            if written.http.is_empty() {
                return None;
            }
            let exposure = Exposure::resolve(&written.export_to, &default, &key.namespace);
            let rank = match &exposure {
                Exposure::To(named) if *named == [key.namespace.clone()].into() => 0,
                Exposure::To(_) => 1,
                Exposure::Public => 2,
            };
            exposure.reaches(namespace).then(|| (rank, Age::of(meta), key.clone()))
        })
        .min()
        .map(|(_, _, key)| key)
}
