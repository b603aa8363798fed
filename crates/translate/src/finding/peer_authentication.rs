//! PeerAuthentications of which another one takes the place, or that are where they have no effect.

use meltemi_api::{FieldPath, Finding, PeerAuthentication};
use meltemi_model::peer::{GeneralPolicy, IsRoot, WorkloadPolicy};
use meltemi_model::read::Read;
use meltemi_names::{Labels, ObjectKey};

use super::{overruled, selected};

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
    let older = of(asked).or_else(|| selected(read, &key.namespace, labels).find_map(of));
    older.map(|older| overruled(&older, "workloads that this selects", &selector)).into_iter().collect()
}
