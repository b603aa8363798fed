//! PeerAuthentications of which another one takes the place, or that are where they have no effect.

use meltemi_api::{FieldPath, Finding, PeerAuthentication};
use meltemi_model::entry::IndexKey;
use meltemi_model::index::workload_labels;
use meltemi_model::peer::{GeneralPolicy, IsRoot, WorkloadPolicy};
use meltemi_model::read::{self, Read, filed};
use meltemi_names::{Labels, ObjectKey};

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, policy: &PeerAuthentication) -> Vec<Finding> {
    let spec = FieldPath::of(&["spec"]);
    let selector = spec.key("selector");
    let is_root = *read.ask(IsRoot(key.namespace.clone()));
    let Some(labels) = policy.labels() else {
        let older = read.ask(GeneralPolicy(key.namespace.clone()));
        let older = older.as_ref().as_ref().filter(|older| *older != key);
        let whom = if is_root { "the mesh".to_owned() } else { format!("namespace {}", key.namespace) };
        return older.map(|older| overruled(older, &format!("all of {whom}"), &spec)).into_iter().collect();
    };
    if is_root {
        let finding = Finding::warning(
            "policy-without-effect",
            "in the root namespace a policy is for the whole mesh, and one with a selector is for nobody",
        );
        let finding = finding.at(&selector).in_force("as if it were absent");
        return vec![finding.hint("move it to the namespace of the workloads, or take the selector away")];
    }
    // Whatever the workloads are, a policy of the same labels that is older takes the place of this one.
    let asked = labels.labels().clone();
    let of = |labels: Labels| {
        let winner = read.ask(WorkloadPolicy { namespace: key.namespace.clone(), labels });
        (*winner).clone().filter(|winner| winner != key)
    };
    let mut older = of(asked);
    if older.is_none()
        && let Some((label, value)) = labels.labels().iter().next()
    {
        let pods = IndexKey::PodsLabelled(key.namespace.clone(), label.into(), value.into());
        let pods = filed(read, pods).filter_map(|pod| Some(read::meta(read, pod)?.labels.clone()));
        let entries = IndexKey::WorkloadsLabelled(key.namespace.clone(), label.into(), value.into());
        let entries = filed(read, entries).filter_map(|entry| {
            let (meta, entry) = read::workload_entry(read, entry)?;
            Some(workload_labels(meta, &entry.labels))
        });
        older = pods.chain(entries).filter(|workload| labels.selects(workload)).find_map(of);
    }
    older.map(|older| overruled(&older, "workloads that this selects", &selector)).into_iter().collect()
}

/// Of several policies for the same the oldest counts, and the others not at all (Istio: pilot/pkg/model/authentication.go).
fn overruled(older: &ObjectKey, whom: &str, path: &FieldPath) -> Finding {
    Finding::warning("overruled-policy", format!("{older} is for {whom} too, and is older"))
        .at(path)
        .in_force(format!("for those, what {older} says; they are not merged"))
        .hint("keep one of them")
}
