//! Telemetries: for no workload, two for one, or for nobody who takes what they log.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::{FieldPath, Finding, Spec, Telemetry};
use meltemi_model::Mesh;
use meltemi_names::{Kind, Namespace, ObjectKey, Selector};

use super::policies::{of_workload, selects, spelled};

/// What is to be said of them.
pub(super) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let all: Vec<(&ObjectKey, &Telemetry)> = mesh
        .objects()
        .filter_map(|object| match &object.spec {
            Spec::Telemetry(telemetry) if !telemetry.has_target() => Some((&object.meta.key, telemetry)),
            _ => None,
        })
        .collect();
    let root: Namespace = mesh.settings().root_namespace.as_str().into();
    let mut found = together(mesh, &all);
    for (key, telemetry) in &all {
        let silent = to_nobody(mesh, &root, key, telemetry, &all);
        let nobody =
            telemetry.labels().filter(|labels| !selects(mesh, &key.namespace, labels)).map(|labels| {
                let message = format!("no workload of its namespace carries {}", spelled(labels));
                let finding = Finding::error("IST0101", message).at(&FieldPath::of(&["spec", "selector"]));
                finding.in_force("it is for nobody").hint("correct the labels")
            });
        found.extend(silent.into_iter().chain(nobody).map(|finding| finding.about(key)));
    }
    found
}

/// Rules of logs that name nobody, where nobody is named elsewhere (Istio: analyzers/telemetry/providers.go, which does not look at
/// the Telemetries of mesh and namespace).
fn to_nobody(
    mesh: &Mesh,
    root: &Namespace,
    key: &ObjectKey,
    telemetry: &Telemetry,
    all: &[(&ObjectKey, &Telemetry)],
) -> Option<Finding> {
    let names =
        |telemetry: &Telemetry| telemetry.access_logging.iter().any(|rule| !rule.providers.is_empty());
    let above = |other: &ObjectKey, said: &Telemetry| {
        let is_above = other.namespace == *root || other.namespace == key.namespace;
        other != key && said.labels().is_none() && is_above
    };
    let is_known = !mesh.settings().default_providers.access_logging.is_empty()
        || all.iter().any(|(other, said)| above(other, said) && names(said));
    let mut rules = telemetry.access_logging.iter().enumerate();
    let (index, _) = rules.find(|(_, rule)| rule.disabled != Some(true) && rule.providers.is_empty())?;
    (!is_known).then(|| {
        Finding::warning(
            "IST0157",
            "nobody takes this log: the rule names no provider, and the mesh's settings have none by default",
        )
        .at(&FieldPath::of(&["spec", "accessLogging"]).index(index))
        .in_force("the rule does nothing")
        .hint("name who takes it: providers: [{name: envoy}]")
    })
}

/// Several of one namespace that select one workload (Istio: analyzers/telemetry/selector.go).
fn together(mesh: &Mesh, all: &[(&ObjectKey, &Telemetry)]) -> Vec<Finding> {
    let mut selecting: BTreeMap<&Namespace, Vec<(&ObjectKey, &Selector)>> = BTreeMap::new();
    for (key, telemetry) in all {
        if let Some(labels) = telemetry.labels() {
            selecting.entry(&key.namespace).or_default().push((key, labels));
        }
    }
    let mut told: BTreeMap<&ObjectKey, Finding> = BTreeMap::new();
    for (namespace, selecting) in selecting.iter().filter(|(_, selecting)| selecting.len() > 1) {
        let workloads = [Kind::Pod, Kind::WorkloadEntry].into_iter();
        for object in workloads.flat_map(|kind| mesh.within(kind, namespace.as_str())) {
            let Some(labels) = of_workload(object) else { continue };
            let both: BTreeSet<&ObjectKey> = selecting
                .iter()
                .filter(|(_, selector)| selector.selects(&labels))
                .map(|(key, _)| *key)
                .collect();
            if both.len() < 2 {
                continue;
            }
            let names: Vec<&str> = both.iter().map(|key| key.name.as_str()).collect();
            let message = format!("{} are both for {}", names.join(", "), object.meta.key);
            for key in both {
                told.entry(key).or_insert_with(|| {
                    Finding::error("IST0159", message.clone())
                        .at(&FieldPath::of(&["spec", "selector"]))
                        .in_force("all of them, the oldest first")
                        .hint("let each workload have one")
                        .about(key)
                });
            }
        }
    }
    told.into_values().collect()
}
