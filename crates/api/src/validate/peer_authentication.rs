//! PeerAuthentication: whom it is for, and for which of their ports (Istio: pkg/config/validation, `ValidatePeerAuthentication`).

use super::{Report, labels};
use crate::PeerAuthentication;
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(policy: &PeerAuthentication, path: &FieldPath, report: &mut Report) {
    if let Some(selector) = &policy.selector {
        labels::selector(&selector.match_labels, &path.key("selector"), report);
    }
    let Some(ports) = &policy.port_level_mtls else { return };
    let here = path.key("portLevelMtls");
    if ports.is_empty() {
        report.error(&here, "empty-policy", "portLevelMtls must name a port");
    }
    if policy.labels().is_none() {
        report.add(
            Finding::error("no-selector", "the ports are those of a workload, and no workload is selected")
                .at(&here)
                .hint("add selector.matchLabels, or write mtls.mode for all ports"),
        );
    }
}
