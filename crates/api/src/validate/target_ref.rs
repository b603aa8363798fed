//! `targetRef`: what Istio's admission refuses of it, and kinds that stand for nothing here (Istio: pkg/config/validation,
//! `validatePolicyTargetReference`).

use super::Report;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::target_ref::TargetRef;

pub(super) fn check(target: &TargetRef, path: &FieldPath, report: &mut Report) {
    if target.name.is_empty() {
        report.error(&path.key("name"), "bad-value", "an object is named by its name");
    }
    if !target.namespace.is_empty() {
        report.error(
            &path.key("namespace"),
            "bad-value",
            "an object of another namespace cannot be referred to, as in Istio; leave namespace out",
        );
    }
    if !target.is_known() {
        let TargetRef { group, kind, .. } = target;
        report.add(
            Finding::error("bad-value", format!("`{group}/{kind}` is no kind that can be referred to"))
                .at(path)
                .hint("write group: gateway.networking.k8s.io, kind: Gateway"),
        );
    } else if target.gateway().is_none() {
        report.add(
            Finding::warning(
                "not-supported-yet",
                format!("a {} stands for waypoints, and there are none yet", target.kind),
            )
            .at(path)
            .in_force("this is for no proxy"),
        );
    }
}
