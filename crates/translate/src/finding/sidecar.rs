//! Sidecars for nobody, hosts of theirs that are none, and what they import though no host of theirs names it.

use std::collections::BTreeSet;

use meltemi_api::sidecar::{EgressHost, EgressNamespace};
use meltemi_api::{FieldPath, Finding, Sidecar};
use meltemi_model::entry::IndexKey;
use meltemi_model::read::{Read, filed};
use meltemi_model::scope::{DestinationsOf, Hosts, Imported, ImportedRules, SidecarsOf, chosen};
use meltemi_model::service::VisibleServices;
use meltemi_names::{Host, Labels, Namespace, ObjectKey, Selector};

use super::{Target, overruled, selected, target};

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, sidecar: &Sidecar) -> Vec<Finding> {
    let spec = FieldPath::of(&["spec"]);
    let mut findings: Vec<Finding> = for_whom(read, key, sidecar, &spec).into_iter().collect();
    for (index, egress) in sidecar.egress.iter().enumerate() {
        let here = spec.key("egress").index(index);
        for (place, host) in egress.hosts.iter().enumerate().filter(|(_, host)| !host.excluded) {
            findings.extend(of_host(read, &key.namespace, host, &here.key("hosts").index(place)));
        }
        findings.extend(by_rules(read, key, (index, &egress.hosts), &here.key("hosts")));
    }
    let proxy = sidecar.outbound_traffic_policy.as_ref().and_then(|policy| policy.egress_proxy.as_ref());
    if let Some(proxy) = proxy {
        let host = meltemi_model::index::qualified(&proxy.host, &key.namespace);
        if let Target::Missing { message, hint } = target(read, &key.namespace, &proxy.host, &host) {
            let finding = Finding::warning("host-not-found", message)
                .at(&spec.key("outboundTrafficPolicy").key("egressProxy").key("host"))
                .in_force("connections to unknown destinations fail");
            findings.push(Finding { hint, ..finding });
        }
    }
    findings
}

/// Nobody, or those that an older one has.
fn for_whom(read: &Read<'_>, key: &ObjectKey, sidecar: &Sidecar, spec: &FieldPath) -> Option<Finding> {
    let all = read.ask(SidecarsOf(key.namespace.clone()));
    let Some(selector) = sidecar.workload_selector.as_ref().map(|selector| &selector.labels) else {
        let first = all.iter().find(|other| other.selector.is_none())?;
        return (first.key != *key).then(|| overruled(&first.key, "the namespace", spec));
    };
    let path = spec.key("workloadSelector");
    if selector.is_empty() {
        let first = all.iter().find(|other| other.selector.as_ref().is_some_and(Selector::is_empty))?;
        return (first.key != *key).then(|| overruled(&first.key, "the namespace", &path));
    }
    let workloads: Vec<Labels> = selected(read, &key.namespace, selector).collect();
    if workloads.is_empty() {
        let labels: Vec<String> =
            selector.labels().iter().map(|(label, value)| format!("{label}={value}")).collect();
        return Some(
            Finding::warning(
                "no-workload",
                format!("no workload of namespace {} has {}", key.namespace, labels.join(" and ")),
            )
            .at(&path)
            .in_force("it is for nobody that is known")
            .hint("a Sidecar is for workloads of its own namespace; see their labels"),
        );
    }
    let older = workloads.iter().find_map(|labels| chosen(&all, labels).filter(|other| other.key != *key));
    older.map(|older| overruled(&older.key, "workloads that this selects", &path))
}

/// A host that imports nothing.
fn of_host(read: &Read<'_>, own: &Namespace, written: &EgressHost, path: &FieldPath) -> Option<Finding> {
    let in_force = "nothing is imported by it";
    let alone = [written.clone()];
    let hosts = Hosts { viewer: own, hosts: &alone };
    if !written.host.is_wildcard() {
        let found = match &written.namespace {
            EgressNamespace::Any => target(read, own, &written.host, &written.host),
            EgressNamespace::Own | EgressNamespace::Named(_) => {
                let known = filed(read, IndexKey::ServicesByHost(written.host.clone()));
                let elsewhere: Vec<&ObjectKey> = known.collect();
                if !elsewhere.is_empty()
                    && !elsewhere.iter().any(|object| hosts.import(&object.namespace, &written.host))
                {
                    let namespace = elsewhere.first().map(|object| object.namespace.clone())?;
                    return Some(
                        Finding::warning(
                            "host-not-found",
                            format!("{} is of namespace {namespace}", written.host),
                        )
                        .at(path)
                        .in_force(in_force)
                        .hint(format!("write {namespace}/{}", written.host)),
                    );
                }
                target(read, own, &written.host, &written.host)
            }
        };
        let Target::Missing { message, hint } = found else { return None };
        // A VirtualService alone may have the host.
        if is_routed(read, &written.host) {
            return None;
        }
        let finding = Finding::warning("host-not-found", message).at(path).in_force(in_force);
        return Some(Finding { hint, ..finding });
    }
    let visible = read.ask(VisibleServices(own.clone()));
    let imports = visible.iter().any(|service| hosts.import(service.namespace(), &service.host));
    // A wildcard is for what may come; one that names no host at all is for a namespace that has nothing yet.
    (!imports && written.namespace != EgressNamespace::Own && written.namespace != EgressNamespace::Any).then(
        || {
            Finding::info("host-not-found", format!("no service is covered by `{written}`"))
                .at(path)
                .in_force(in_force)
                .hint("see the name of the namespace, and whether its services are exported")
        },
    )
}

fn is_routed(read: &Read<'_>, host: &Host) -> bool {
    filed(read, IndexKey::VirtualServicesByHost(host.clone())).next().is_some()
}

/// Where imported VirtualServices send requests, though no host of the listener names it: it is imported, too, but nobody calls it by
/// its own host.
fn by_rules(
    read: &Read<'_>,
    key: &ObjectKey,
    (listener, written): (usize, &[EgressHost]),
    path: &FieldPath,
) -> Vec<Finding> {
    let (viewer, sidecar) = (key.namespace.clone(), key.clone());
    let services = read.ask(Imported { viewer: viewer.clone(), sidecar: sidecar.clone(), listener });
    let listed: BTreeSet<&Host> = services.iter().map(|service| &service.host).collect();
    let hosts = Hosts { viewer: &viewer, hosts: written };
    let rules = read.ask(ImportedRules { viewer: viewer.clone(), sidecar, listener });
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for outline in rules.iter() {
        let destinations =
            read.ask(DestinationsOf { virtual_service: outline.key.clone(), viewer: viewer.clone() });
        let unlisted = destinations.keys().filter(|host| !listed.contains(host));
        let known = unlisted.filter_map(|host| {
            let object = filed(read, IndexKey::ServicesByHost((*host).clone())).next()?;
            (!hosts.import(&object.namespace, host)).then_some((host, object))
        });
        for (host, object) in known {
            if told.insert(host.clone()) {
                findings.push(
                    Finding::info(
                        "destination-not-listed",
                        format!("{} sends requests to {host}, which no host here names", outline.key),
                    )
                    .at(path)
                    .in_force("it is imported as a destination alone: by its own host it is unknown")
                    .hint(format!("add {}/{host} if it is called itself", object.namespace)),
                );
            }
        }
    }
    findings
}
