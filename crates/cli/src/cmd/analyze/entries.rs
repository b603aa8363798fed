//! ServiceEntries: ports that take the connections of others, protocols that contradict each other, what became of them elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::value::ExportTo;
use meltemi_api::{FieldPath, Finding, Object, ServiceEntry, Spec};
use meltemi_model::Mesh;
use meltemi_names::{Host, ObjectKey, Port, Protocol};
use serde_json::Value;

/// What is to be said of them.
pub(super) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let answers_dns = answers_dns(mesh);
    let mut all = contradictions(mesh);
    for object in mesh.objects() {
        let found: Vec<Finding> = match &object.spec {
            Spec::ServiceEntry(entry) if !answers_dns => addressless(entry),
            _ => Vec::new(),
        };
        let found = found.into_iter().chain(conditions(object));
        all.extend(found.map(|finding| finding.about(&object.meta.key)));
    }
    all
}

/// Whether the mesh's settings let proxies answer DNS, so that hosts without addresses get some (`ISTIO_META_DNS_CAPTURE`).
fn answers_dns(mesh: &Mesh) -> bool {
    let settings = mesh.objects().filter(|object| matches!(&object.spec, Spec::ConfigMap(_)));
    settings.filter_map(|object| serde_json::from_str::<Value>(object.text.json()?).ok()).any(|written| {
        let text = written.pointer("/data/mesh").and_then(Value::as_str).unwrap_or_default();
        let mesh: Value = serde_norway::from_str(text).unwrap_or_default();
        let says = mesh.pointer("/defaultConfig/proxyMetadata/ISTIO_META_DNS_CAPTURE");
        says.is_some_and(|says| says == "true" || *says == Value::Bool(true))
    })
}

/// Ports of TCP at no address of their own (Istio: analyzers/serviceentry/protocoladdresses.go).
fn addressless(entry: &ServiceEntry) -> Vec<Finding> {
    if !entry.addresses.is_empty() || !entry.allocated.is_empty() {
        return Vec::new();
    }
    let ports = entry.ports.iter().enumerate();
    let ports = ports.filter(|(_, port)| matches!(port.protocol, Protocol::Tcp | Protocol::Auto));
    ports
        .map(|(index, port)| {
            let number = port.number.map(|number| format!(" {number}")).unwrap_or_default();
            let message = format!("nothing but its port tells connections to port{number} from others: the entry has no addresses");
            Finding::warning("IST0134", message)
                .at(&FieldPath::of(&["spec", "ports"]).index(index))
                .in_force("where the proxy does not answer DNS, all connections to that port that nobody else takes")
                .hint("write addresses, or let proxies answer DNS (ISTIO_META_DNS_CAPTURE)")
        })
        .collect()
}

/// Whom a port is said to those of: everyone, or a namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Viewer {
    Everyone,
    Of(String),
}

/// A host and port, and by whom they are seen.
type Seen<'a> = (Viewer, &'a Host, Port);

/// Entries with one host and port that speak differently (Istio: analyzers/serviceentry/conflictingserviceentries.go).
fn contradictions(mesh: &Mesh) -> Vec<Finding> {
    let mut index: BTreeMap<Seen<'_>, Vec<(&ObjectKey, Protocol)>> = BTreeMap::new();
    for object in mesh.objects() {
        let Spec::ServiceEntry(entry) = &object.spec else { continue };
        for viewer in viewers(&object.meta.key, entry) {
            for (host, port) in
                entry.hosts.iter().flat_map(|host| entry.ports.iter().map(move |port| (host, port)))
            {
                let Some(number) = port.number else { continue };
                index
                    .entry((viewer.clone(), host, number))
                    .or_default()
                    .push((&object.meta.key, port.protocol));
            }
        }
    }
    let mut told: BTreeMap<&ObjectKey, Finding> = BTreeMap::new();
    for ((viewer, host, port), own) in &index {
        let for_all =
            if *viewer == Viewer::Everyone { None } else { index.get(&(Viewer::Everyone, *host, *port)) };
        let entries: Vec<&(&ObjectKey, Protocol)> = own.iter().chain(for_all.into_iter().flatten()).collect();
        let spoken: BTreeSet<String> =
            entries.iter().map(|(_, protocol)| format!("{protocol:?}").to_ascii_uppercase()).collect();
        if spoken.len() < 2 {
            continue;
        }
        let names: BTreeSet<String> = entries.iter().map(|(key, _)| key.to_string()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let spoken = spoken.into_iter().collect::<Vec<_>>().join(" and ");
        for (key, _) in entries {
            told.entry(key).or_insert_with(|| {
                let message = format!("{host} speaks {spoken} on port {port}, by {names}");
                Finding::warning("IST0177", message)
                    .at(&FieldPath::of(&["spec", "ports"]))
                    .in_force("what the oldest of them says")
                    .hint("let them agree")
                    .about(key)
            });
        }
    }
    told.into_values().collect()
}

fn viewers(key: &ObjectKey, entry: &ServiceEntry) -> Vec<Viewer> {
    if entry.export_to.is_empty() || entry.export_to.contains(&ExportTo::All) {
        return vec![Viewer::Everyone];
    }
    let of = |export: &ExportTo| match export {
        ExportTo::Own => Some(Viewer::Of(key.namespace.to_string())),
        ExportTo::Namespace(namespace) => Some(Viewer::Of(namespace.to_string())),
        ExportTo::All | ExportTo::Nobody => None,
    };
    entry.export_to.iter().filter_map(of).collect()
}

/// Of Istio's conditions in a status those that say that something is wrong (Istio: analyzers/conditions).
fn conditions(object: &Object) -> Vec<Finding> {
    if !matches!(&object.spec, Spec::ServiceEntry(_) | Spec::WorkloadEntry(_)) {
        return Vec::new();
    }
    let written: Option<Value> = object.text.json().and_then(|json| serde_json::from_str(json).ok());
    let all = written.as_ref().and_then(|written| written.pointer("/status/conditions")?.as_array());
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for (index, condition) in all.into_iter().flatten().enumerate() {
        if text(condition, "type") == "istio.io/WaypointBound" && text(condition, "status") == "False" {
            let message = format!(
                "condition istio.io/WaypointBound is False: {} {}",
                text(condition, "reason"),
                text(condition, "message")
            );
            let path = FieldPath::of(&["status", "conditions"]).index(index);
            found.push(Finding::warning("IST0171", message.trim_end().to_owned()).at(&path));
        }
    }
    found
}
