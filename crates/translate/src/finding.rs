//! What does not fit together across objects: hosts that match no service, subsets that match no pod.
//!
//! Knows: what an object's references mean to translation. Must not know: what is wrong within one object (`meltemi_api` says that),
//! files.   Start at [`FindingsOf`]; one file per kind.
//! Invariant: a finding reads the same answers as translation does, so that it comes and goes with the effect that it reports.

mod destination_rule;
mod envoy_filter;
mod gateway;
mod nearest;
mod peer_authentication;
mod service;
mod service_entry;
mod sidecar;
mod telemetry;
mod virtual_service;
mod workload_entry;

use std::sync::Arc;

use meltemi_api::{FieldPath, Finding, MeshConfig, Spec};
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::entry::IndexKey;
use meltemi_model::index::workload_labels;
use meltemi_model::read::{self, Read, filed};
use meltemi_model::service::{ServiceByHost, ServiceShape};
use meltemi_names::{Host, Kind, Labels, Namespace, ObjectKey, Selector};

/// What is to be said of one object beside the others; empty for one that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindingsOf(pub ObjectKey);

impl Question for FindingsOf {
    type World = Mesh;
    type Answer = Vec<Finding>;
    const NAME: &'static str = "findings";

    fn answer(&self, read: &Read<'_>) -> Vec<Finding> {
        let key = &self.0;
        let Some(object) = read::object(read, key) else { return Vec::new() };
        let mut findings = match &object.spec {
            Spec::Service(service) => service::findings(read, key, service),
            Spec::VirtualService(written) => virtual_service::findings(read, &object.meta, written),
            Spec::DestinationRule(rule) => destination_rule::findings(read, key, rule),
            Spec::WorkloadEntry(entry) => workload_entry::findings(read, &object.meta, entry),
            Spec::Gateway(gateway) => gateway::findings(read, key, gateway),
            Spec::Sidecar(sidecar) => sidecar::findings(read, key, sidecar),
            Spec::EnvoyFilter(filter) => envoy_filter::findings(read, key, filter),
            Spec::PeerAuthentication(policy) => peer_authentication::findings(read, key, policy),
            Spec::ServiceEntry(entry) => service_entry::findings(read, key, entry),
            Spec::Telemetry(written) => telemetry::findings(read, key, written),
            Spec::ConfigMap(config) => settings(read, key, &config.mesh),
            Spec::EndpointSlice(_)
            | Spec::Pod(_)
            | Spec::Node
            | Spec::Namespace
            | Spec::Secret(_)
            | Spec::WorkloadGroup(_)
            | Spec::ProxyConfig(_) => Vec::new(),
        };
        findings.sort();
        findings.into_iter().map(|finding| finding.about(key)).collect()
    }
}

/// Of several ConfigMaps with settings of the mesh, only the first counts.
fn settings(read: &Read<'_>, key: &ObjectKey, mesh: &MeshConfig) -> Vec<Finding> {
    let first = filed(read, IndexKey::Settings).next();
    let in_force = if first == Some(key) { telemetry::of_settings(read, mesh) } else { Vec::new() };
    let other = first.filter(|first| *first != key);
    let finding = other.map(|first| {
        Finding::warning("settings-not-in-force", format!("{first} holds the mesh's settings too"))
            .at(&FieldPath::of(&["data", "mesh"]))
            .in_force(format!("the settings of {first}"))
            .hint("keep one of them")
    });
    finding.into_iter().chain(in_force).collect()
}

/// A host that a resource refers to, as its namespace sees it.
enum Target {
    Service(Arc<ServiceShape>),
    /// There is none; how to say so.
    Missing {
        message: String,
        hint: Option<String>,
    },
}

/// The service of a host (short names resolved) that stands in a resource as `written`.
fn target(read: &Read<'_>, viewer: &Namespace, written: &Host, host: &Host) -> Target {
    if let Some(shape) = &*read.ask(ServiceByHost { viewer: viewer.clone(), host: host.clone() }) {
        return Target::Service(Arc::clone(shape));
    }
    if let Some(hidden) = filed(read, IndexKey::ServicesByHost(host.clone())).next() {
        return Target::Missing {
            message: format!("{hidden} is not exported to namespace {viewer}"),
            hint: Some(match hidden.kind {
                Kind::Service => format!("add {viewer} to its annotation networking.istio.io/exportTo"),
                _ => format!("add {viewer} to its exportTo"),
            }),
        };
    }
    let parts: Vec<&str> = host.as_str().splitn(4, '.').collect();
    if let [name, namespace, "svc", _] = parts.as_slice()
        && let Some((_, service)) = read::service(read, &ObjectKey::new(Kind::Service, *namespace, *name))
        && let Some(other) = &service.external_name
    {
        return Target::Missing {
            message: format!("`{written}` is another name for {other}, no service of its own"),
            hint: Some(format!("write {other}")),
        };
    }
    let message = if written == host {
        format!("no service has the host `{host}`")
    } else {
        format!("`{written}` stands for {host}, and no service has that host")
    };
    Target::Missing { message, hint: nearest::service(read, viewer, host) }
}

/// The labels of the workloads of a namespace that a selector selects; of none that selects all.
fn selected<'r>(
    read: &'r Read<'_>,
    namespace: &Namespace,
    selector: &'r Selector,
) -> impl Iterator<Item = Labels> + 'r {
    let first = selector.labels().iter().next();
    let keys = first.map(|(label, value)| {
        let (label, value): (Arc<str>, Arc<str>) = (label.into(), value.into());
        let pods = IndexKey::PodsLabelled(namespace.clone(), Arc::clone(&label), Arc::clone(&value));
        (pods, IndexKey::WorkloadsLabelled(namespace.clone(), label, value))
    });
    keys.into_iter().flat_map(|(pods, entries)| {
        let pods = filed(read, pods).filter_map(|pod| Some(read::meta(read, pod)?.labels.clone()));
        let entries = filed(read, entries).filter_map(|entry| {
            let (meta, entry) = read::workload_entry(read, entry)?;
            Some(workload_labels(meta, &entry.labels))
        });
        pods.chain(entries).filter(|labels| selector.selects(labels))
    })
}

/// Of several for the same the oldest counts, and the others not at all (Istio: pilot/pkg/model/authentication.go, push_context.go).
fn overruled(older: &ObjectKey, whom: &str, path: &FieldPath) -> Finding {
    Finding::warning("overruled-policy", format!("{older} is for {whom} too, and is older"))
        .at(path)
        .in_force(format!("for those, what {older} says; they are not merged"))
        .hint("keep one of them")
}

/// Names as people read a list: `a`, `b`.
fn listed(names: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
