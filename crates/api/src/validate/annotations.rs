//! Istio's annotations and labels on Kubernetes' own kinds: values that have no meaning, and those that have no effect yet.

use super::Report;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::service::{TRAFFIC_DISTRIBUTION, TrafficDistribution};
use crate::value::{ExportTo, SESSION_COOKIE, SESSION_HEADER, Session};
use crate::{Meta, Service};

/// The annotation by which a Service says who sees it.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// What is known to Istio and has no effect here yet: what it is written as, and what happens instead.
const ANNOTATIONS_NOT_YET: [(&str, &str); 1] =
    [("traffic.istio.io/nodeSelector", "all endpoints are reached directly")];
const LABELS_NOT_YET: [(&str, &str); 2] = [
    ("networking.istio.io/gatewayPort", "all endpoints are reached directly"),
    ("istio.io/use-waypoint", "requests go to the service's endpoints without a waypoint"),
];

pub(super) fn of_service(service: &Service, meta: &Meta, path: &FieldPath, report: &mut Report) {
    if let Some(text) = &service.written_distribution {
        distribution(text, &path.key("trafficDistribution"), report);
    }
    of_distribution(meta, report);
    let annotation = |name: &str| FieldPath::of(&["metadata", "annotations"]).key(name);
    let exports = meta.annotations.value(EXPORT_TO).unwrap_or_default();
    for entry in exports.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        if let Err(message) = ExportTo::parse(entry) {
            let finding = Finding::warning("bad-export-to", message).at(&annotation(EXPORT_TO));
            report.add(finding.in_force("nobody sees the service by this entry"));
        }
    }
    of_session(meta, report);
    let not_yet = |path: &FieldPath, what: &str, instead: &str| {
        let message = format!("this {what} is not supported yet");
        Finding::warning("not-supported-yet", message).at(path).in_force(instead)
    };
    for (name, instead) in ANNOTATIONS_NOT_YET {
        if meta.annotations.value(name).is_some() {
            report.add(not_yet(&annotation(name), "annotation", instead));
        }
    }
    for (name, instead) in LABELS_NOT_YET {
        if meta.labels.value(name).is_some_and(|value| !value.is_empty()) {
            report.add(not_yet(&FieldPath::of(&["metadata", "labels"]).key(name), "label", instead));
        }
    }
}

/// A cookie or header whose name cannot be one.
pub(super) fn of_session(meta: &Meta, report: &mut Report) {
    let written = |label: &&str| meta.labels.value(label).is_some_and(|value| !value.is_empty());
    let Some(label) = [SESSION_COOKIE, SESSION_HEADER].into_iter().find(written) else {
        return;
    };
    if Session::of(&meta.labels).is_none() {
        let message = "no cookie and no header can be called so";
        let finding = Finding::warning("bad-session", message);
        report.add(
            finding
                .at(&FieldPath::of(&["metadata", "labels"]).key(label))
                .in_force("clients are not kept to their endpoint")
                .hint(
                    "write letters, digits and hyphens; after a cookie's name a colon and a path may stand",
                ),
        );
    }
}

/// Of a Service, or of the Namespace from which Services inherit it.
pub(super) fn of_distribution(meta: &Meta, report: &mut Report) {
    if let Some(text) = meta.annotations.value(TRAFFIC_DISTRIBUTION).filter(|text| !text.is_empty()) {
        let path = FieldPath::of(&["metadata", "annotations"]).key(TRAFFIC_DISTRIBUTION);
        distribution(text, &path, report);
    }
}

fn distribution(text: &str, path: &FieldPath, report: &mut Report) {
    if TrafficDistribution::parse(text).is_none() && !text.eq_ignore_ascii_case("Any") {
        let message = format!("`{text}` is no distribution of traffic");
        report.add(
            Finding::warning("bad-traffic-distribution", message)
                .at(path)
                .in_force("endpoints of all localities are used alike")
                .hint("write PreferSameZone (PreferClose is its older name) or PreferSameNode"),
        );
    }
}
