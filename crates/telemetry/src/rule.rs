//! How tags become Istio's labels: the one table of rules, in the words of Prometheus' relabelling.
//!
//! Knows: labels and regular expressions. Must not know who applies the rules.   Start at [`rules`].

/// One rule: where `regex` matches all of the source labels' values, joined by `;`, the target gets the replacement. A label of an
/// empty value is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The labels that are read; `__name__` is the metric's name.
    pub source_labels: Vec<&'static str>,
    /// What must match, from its start to its end.
    pub regex: String,
    /// The label that is set.
    pub target_label: String,
    /// Its value; `$1` is the first group.
    pub replacement: &'static str,
}

/// The labels of each metric of traffic; `unknown` where nothing is known (Istio's samples/addons/grafana.yaml reads them).
pub const LABELS: [&str; 22] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "response_flags",
    "connection_security_policy",
];

/// Labels that are spread, and then of no more use.
pub const PACKED: &str = "istio_(?:source|destination|service|removed|set_.+)";

/// Labels that are copied to the name in their brackets, after all rules (Prometheus: `labelmap`).
pub const COPIED: &str = "istio_set_(.+)";

/// The label that tells protocols apart: it is spread, and never missing.
const PROTOCOL: &str = "request_protocol";

const NAME: &str = "__name__";

/// A label of a workload, and where it stands in the packed text: the later of two that match wins.
const OF_WORKLOAD: [(&str, &str, &str); 10] = [
    ("workload", "([^;]*);.*", "$1"),
    ("workload_namespace", "[^;]*;([^;]*);.*", "$1"),
    ("canonical_service", "(?:[^;]*;){2}([^;]*);.*", "$1"),
    ("canonical_revision", "(?:[^;]*;){3}([^;]*);.*", "$1"),
    ("canonical_revision", "(?:[^;]*;){3};.*", "latest"),
    ("cluster", "(?:[^;]*;){4}([^;]*)(?:;.*)?", "$1"),
    ("app", "(?:[^;]*;){2}([^;]*);.*", "$1"),
    ("app", "(?:[^;]*;){5}([^;]+);.*", "$1"),
    ("version", "(?:[^;]*;){3}([^;]*);.*", "$1"),
    ("version", "(?:[^;]*;){6}([^;]+)", "$1"),
];

const OF_SERVICE: [(&str, &str); 3] = [
    ("destination_service", "([^;]*);.*"),
    ("destination_service_name", "[^;]*;([^;]*);.*"),
    ("destination_service_namespace", "[^;]*;[^;]*;(.*)"),
];

/// Each packed tag, and the labels that are spread from it.
pub fn packed() -> [(&'static str, Vec<String>); 3] {
    let of = |side: &str| {
        let mut labels: Vec<String> =
            OF_WORKLOAD.iter().map(|(label, ..)| format!("{side}_{label}")).collect();
        labels.dedup();
        labels
    };
    let service = OF_SERVICE.iter().map(|(label, _)| (*label).to_owned()).collect();
    [
        (crate::tag::SOURCE, of("source")),
        (crate::tag::DESTINATION, of("destination")),
        (crate::tag::SERVICE, service),
    ]
}

/// All rules, in the order in which they are applied. Afterwards those of [`COPIED`] are copied, and labels of [`PACKED`] names go.
pub fn rules() -> Vec<Rule> {
    let rule = |source_labels: &[&'static str], regex: &str, target: &str, replacement| Rule {
        source_labels: source_labels.to_vec(),
        regex: regex.to_owned(),
        target_label: target.to_owned(),
        replacement,
    };
    let http = "istio_(?:requests?|response)_.+";
    let any = "istio_(?:requests?|response|tcp)_.+";
    let mut rules = vec![rule(&[NAME], &format!("envoy_({any})"), NAME, "$1")];
    for (side, packed) in [("source", crate::tag::SOURCE), ("destination", crate::tag::DESTINATION)] {
        rules.extend(
            OF_WORKLOAD
                .iter()
                .map(|(label, regex, value)| rule(&[packed], regex, &format!("{side}_{label}"), value)),
        );
    }
    rules.extend(OF_SERVICE.iter().map(|(label, regex)| rule(&[crate::tag::SERVICE], regex, label, "$1")));
    // What the destination knows of a caller by its certificate alone: which namespace it is of.
    rules.push(rule(
        &["source_workload_namespace", "source_principal"],
        ";spiffe://[^/]+/ns/([^/]+)/.+",
        "source_workload_namespace",
        "$1",
    ));
    rules.push(rule(&[NAME], "istio_tcp_.+", PROTOCOL, "tcp"));
    rules.push(rule(&[NAME], http, PROTOCOL, "http"));
    // Envoy says a gRPC status of gRPC requests only.
    rules.push(rule(&[NAME, crate::tag::GRPC_STATUS], &format!("{http};.+"), PROTOCOL, "grpc"));
    rules.extend(LABELS.iter().map(|&label| rule(&[NAME, label], &format!("{any};"), label, "unknown")));
    rules.extend(
        LABELS
            .iter()
            .chain([&PROTOCOL])
            .map(|&label| rule(&[crate::tag::REMOVED], &format!("(?:.+;)?{label}(?:;.+)?"), label, "")),
    );
    rules
}

/// The rules as the list `metric_relabel_configs` of a Prometheus' scrape, in YAML.
pub fn as_yaml() -> String {
    let mut yaml = String::from(
        "# Spreads what Envoy counts into Istio's metrics and labels. Made from crates/telemetry/src/rule.rs, which a test compares with
# this file (UPDATE=1 writes it). These are the `metric_relabel_configs` of a scrape of Envoy's own /stats/prometheus; a
# PodMonitor takes them in camel case (`sourceLabels`, `targetLabel`).
",
    );
    for Rule { source_labels, regex, target_label, replacement } in rules() {
        let labels = source_labels.join(", ");
        yaml.push_str(&format!(
            "- {{source_labels: [{labels}], regex: '{regex}', target_label: {target_label}, replacement: '{replacement}'}}\n"
        ));
    }
    yaml.push_str(&format!(
        "- {{action: labelmap, regex: '{COPIED}'}}\n- {{action: labeldrop, regex: '{PACKED}'}}\n"
    ));
    yaml
}

#[cfg(test)]
mod tests;
