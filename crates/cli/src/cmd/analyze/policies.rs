//! DestinationRules that verify nothing, and policies that are for nobody.

use meltemi_api::destination_rule::{ClientTls, TlsMode, TrafficPolicy};
use meltemi_api::{FieldPath, Finding, Object, Spec};
use meltemi_model::Mesh;
use meltemi_model::index::workload_labels;
use meltemi_names::{Kind, Labels, Namespace, Selector};

/// What is to be said of them.
pub(crate) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let mut all = Vec::new();
    for object in mesh.objects() {
        let key = &object.meta.key;
        let spec = FieldPath::of(&["spec"]);
        let found: Vec<Finding> = match &object.spec {
            Spec::DestinationRule(rule) => {
                let own = rule.traffic_policy.iter().map(|policy| (policy, spec.key("trafficPolicy")));
                let subsets = rule.subsets.iter().enumerate().filter_map(|(index, subset)| {
                    let path = spec.key("subsets").index(index).key("trafficPolicy");
                    Some((subset.traffic_policy.as_ref()?, path))
                });
                let for_some = rule.workload_selector.is_some();
                own.chain(subsets).flat_map(|(policy, path)| unverified(policy, for_some, &path)).collect()
            }
            Spec::PeerAuthentication(policy) => {
                let nobody = policy.labels().filter(|labels| !selects(mesh, &key.namespace, labels));
                nobody.map(|labels| for_nobody(labels, &spec.key("selector"))).into_iter().collect()
            }
            _ => Vec::new(),
        };
        all.extend(found.into_iter().map(|finding| finding.about(key)));
    }
    all
}

/// TLS to a server whose certificate nothing verifies (Istio: analyzers/destinationrule).
/// A credential's name counts only in a rule that is for some workloads: for all, it is not read.
fn unverified(policy: &TrafficPolicy, for_some: bool, path: &FieldPath) -> Vec<Finding> {
    let trusts_all = |tls: &ClientTls| {
        matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual)
            && tls.ca_certificates.is_none()
            && (tls.credential_name.is_none() || !for_some)
    };
    let finding = |code, path: FieldPath| {
        Finding::warning(
            code,
            "no caCertificates: the server's certificate is verified by the system's roots alone, if by any",
        )
        .at(&path.key("tls").key("mode"))
        .hint("name the file of the roots: caCertificates")
    };
    let whole = policy.tls.as_ref().filter(|tls| trusts_all(tls)).map(|_| finding("IST0128", path.clone()));
    let ports = policy.port_level_settings.iter().enumerate();
    let ports = ports.filter(|(_, level)| level.tls.as_ref().is_some_and(trusts_all));
    whole
        .into_iter()
        .chain(ports.map(|(index, _)| finding("IST0129", path.key("portLevelSettings").index(index))))
        .collect()
}

fn for_nobody(labels: &Selector, path: &FieldPath) -> Finding {
    let message = format!("no workload of its namespace carries {}", spelled(labels));
    Finding::warning("IST0127", message).at(path).in_force("it is for nobody").hint("correct the labels")
}

/// The labels that are asked for, as people read them.
pub(super) fn spelled(labels: &Selector) -> String {
    let all: Vec<String> = labels.labels().iter().map(|(key, value)| format!("`{key}={value}`")).collect();
    all.join(", ")
}

/// The labels of a workload; none for another object.
pub(super) fn of_workload(object: &Object) -> Option<Labels> {
    match &object.spec {
        Spec::Pod(_) => Some(object.meta.labels.clone()),
        Spec::WorkloadEntry(entry) => Some(workload_labels(&object.meta, &entry.labels)),
        _ => None,
    }
}

/// Whether a workload of the namespace carries the labels; where no workload is known at all, nobody can tell.
pub(super) fn selects(mesh: &Mesh, namespace: &Namespace, labels: &Selector) -> bool {
    let workloads = [Kind::Pod, Kind::WorkloadEntry].into_iter();
    let workloads = workloads.flat_map(|kind| mesh.within(kind, namespace.as_str()));
    let mut known = workloads.filter_map(|object| of_workload(object)).peekable();
    known.peek().is_none() || known.any(|own| labels.selects(&own))
}
