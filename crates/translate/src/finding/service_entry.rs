//! ServiceEntries that nobody serves or reaches, and hosts that are somebody else's.

use meltemi_api::service_entry::EntryResolution;
use meltemi_api::{FieldPath, Finding, ServiceEntry};
use meltemi_model::endpoints::LocalitiesOf;
use meltemi_model::exposure::Exposure;
use meltemi_model::read::Read;
use meltemi_model::service::{Chosen, Group, ServiceId, ServiceOf};
use meltemi_names::{Host, Kind, Namespace, ObjectKey, Protocol};

use crate::listener::ShadowedBy;

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, entry: &ServiceEntry) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, host) in entry.hosts.iter().enumerate() {
        let id = ServiceId { object: key.clone(), host: host.clone() };
        let at = FieldPath::of(&["spec", "hosts"]).index(index);
        findings.extend(clash(read, &id).map(|finding| finding.at(&at)));
    }
    findings.extend(unserved(read, key, entry));
    findings.extend(shadowed(read, key, entry));
    findings
}

/// A host that callers find another service by.
fn clash(read: &Read<'_>, id: &ServiceId) -> Option<Finding> {
    if !read.ask(Group(id.clone())).is_empty() {
        let meant = |viewer: Option<Namespace>| {
            (*read.ask(Chosen { viewer, host: id.host.clone() })).clone().filter(|other| other != id)
        };
        let own = meant(Some(id.namespace().clone()));
        let shape = read.ask(ServiceOf(id.clone()));
        let public = shape.as_ref().as_ref().is_some_and(|shape| shape.exposure == Exposure::Public);
        let (other, who) = match (own, meant(None).filter(|_| public)) {
            (Some(other), _) => (other, "this entry is not in force for it".to_owned()),
            (None, Some(other)) => {
                let own = id.namespace();
                (other.clone(), format!("namespaces other than {own} call {}", other.object))
            }
            (None, None) => return None,
        };
        let message = format!("{} declares `{}` too", other.object, id.host);
        let hint = match other.object.kind {
            Kind::Service => "nobody takes a host from a Service; name another host",
            _ => "keep one of them, or export each to other namespaces",
        };
        return Some(Finding::warning("host-clash", message).in_force(who).hint(hint));
    }
    // Its ports and endpoints are part of the oldest entry that agrees with it.
    None
}

fn unserved(read: &Read<'_>, key: &ObjectKey, entry: &ServiceEntry) -> Option<Finding> {
    let waits = matches!(entry.resolution, EntryResolution::None | EntryResolution::DynamicDns);
    if waits || entry.ports.is_empty() {
        return None;
    }
    let leader = |host: &Host| {
        let id = ServiceId { object: key.clone(), host: host.clone() };
        // One that is part of an older entry is served with it.
        read.ask(Group(id.clone())).is_empty() || !read.ask(LocalitiesOf(id)).is_empty()
    };
    if entry.hosts.iter().any(leader) {
        return None;
    }
    let (field, message, hint) = match &entry.workload_selector {
        Some(_) => (
            "workloadSelector",
            format!("{key} selects nothing: no WorkloadEntry or Pod of namespace {}", key.namespace),
            "give them all the labels of the selector",
        ),
        None => {
            ("endpoints", format!("{key} has no endpoints"), "name where it is, or write resolution: DNS")
        }
    };
    let finding = Finding::warning("service-without-endpoints", message).at(&FieldPath::of(&["spec", field]));
    Some(finding.in_force("requests to it get 503").hint(hint))
}

/// Ports whose connections nothing tells from an older service's.
fn shadowed(read: &Read<'_>, key: &ObjectKey, entry: &ServiceEntry) -> Vec<Finding> {
    let ports = FieldPath::of(&["spec", "ports"]);
    let mut findings = Vec::new();
    for (at, port) in entry.ports.iter().enumerate().filter(|(_, port)| port.protocol != Protocol::Udp) {
        let Some(number) = port.number else { continue };
        // All hosts of an entry are called at the same addresses.
        let older = entry.hosts.iter().find_map(|host| {
            let service = ServiceId { object: key.clone(), host: host.clone() };
            (*read.ask(ShadowedBy { service, port: number })).clone()
        });
        let Some(older) = older.filter(|older| older.object != *key) else { continue };
        let message =
            format!("nothing tells connections to port {number} from those to {older}, which is older");
        let finding = Finding::warning("port-shadowed", message).at(&ports.index(at));
        findings.push(
            finding
                .in_force(format!("connections to it reach {older}"))
                .hint("give the entry addresses, or the port another number or the protocol TLS"),
        );
    }
    findings
}
