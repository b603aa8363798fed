//! Which endpoints come first by where they run (Istio: pkg/config/validation/agent, `ValidateLocalityLbSetting` and
//! `ValidateZoneAwareLbSetting`).

use std::collections::BTreeSet;

use super::Report;
use crate::destination_rule::{
    Failover, FailoverLabel, LocalityLbSetting, LocalityPattern, ZoneAwareLbSetting,
};
use crate::field::FieldPath;
use crate::finding::Finding;

/// The labels that say where something runs.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// `outliers`: endpoints that fail are set aside, also by another rule (in the mesh's settings: perhaps).
pub(super) fn check(setting: &LocalityLbSetting, outliers: bool, path: &FieldPath, report: &mut Report) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        report.error(
            &path.key("distribute"),
            "conflicting-policies",
            "`distribute` and `failover` exclude each other",
        );
        return;
    }
    if !setting.failover.is_empty()
        && let Some(index) = setting.failover_priority.iter().position(is_topology)
    {
        let label = &setting.failover_priority[index].key;
        report.error(
            &path.key("failoverPriority").index(index),
            "conflicting-policies",
            format!("`{label}` and `failover` exclude each other: both order regions"),
        );
        return;
    }
    let from: Vec<&LocalityPattern> = setting.distribute.iter().map(|distribute| &distribute.from).collect();
    let distribute = path.key("distribute");
    for (index, of_caller) in setting.distribute.iter().enumerate() {
        let to = distribute.index(index).key("to");
        for (pattern, share) in &of_caller.to {
            if !(1..=100).contains(share) {
                report.error(
                    &to.key(pattern.as_str()),
                    "bad-percentage",
                    format!("a share is 1 to 100, found {share}"),
                );
            }
        }
        let sum: u64 = of_caller.to.values().map(|share| u64::from(*share)).sum();
        if sum != 100 {
            report.add(
                Finding::error("bad-percentage", format!("the shares sum up to {sum}, not to 100")).at(&to),
            );
        }
        let patterns: Vec<_> = of_caller.to.keys().collect();
        localities(&patterns, |_, pattern| to.key(pattern.as_str()), report);
    }
    localities(&from, |index, _| distribute.index(index).key("from"), report);
    if setting.distribute.is_empty() {
        needs_outliers(&setting.failover, &setting.failover_priority, outliers, path, report);
    }
    regions(&setting.failover, path, report);
}

pub(super) fn zone_aware(
    setting: &ZoneAwareLbSetting,
    outliers: bool,
    path: &FieldPath,
    report: &mut Report,
) {
    for (index, label) in setting.failover_priority.iter().enumerate().filter(|(_, label)| is_topology(label))
    {
        report.error(
            &path.key("failoverPriority").index(index),
            "conflicting-policies",
            format!("`{}` orders what zone-aware routing orders itself", label.key),
        );
    }
    if setting.min_cluster_size == Some(0) {
        report.error(&path.key("minClusterSize"), "bad-percentage", "must be 1 or more");
    }
    needs_outliers(&setting.failover, &setting.failover_priority, outliers, path, report);
    regions(&setting.failover, path, report);
    if setting.is_enabled() {
        report.add(
            Finding::warning(
                "not-supported-yet",
                "zones of one region are not told apart: that takes a proxy that discovers itself",
            )
            .at(path)
            .in_force("endpoints of the caller's region come first, those of its zones alike")
            .hint("write localityLbSetting, by which the caller's own zone comes first"),
        );
    }
}

fn is_topology(label: &FailoverLabel) -> bool {
    label.value.is_none() && TOPOLOGY.contains(&&*label.key)
}

fn needs_outliers(
    failover: &[Failover],
    labels: &[FailoverLabel],
    outliers: bool,
    path: &FieldPath,
    report: &mut Report,
) {
    if outliers || (failover.is_empty() && labels.is_empty()) {
        return;
    }
    let field = if failover.is_empty() { "failoverPriority" } else { "failover" };
    report.add(
        Finding::warning(
            "field-without-effect",
            "without `outlierDetection` nothing is known to have failed",
        )
        .at(&path.key(field))
        .in_force("endpoints of all localities are used alike")
        .hint("add outlierDetection beside loadBalancer"),
    );
}

fn regions(failover: &[Failover], path: &FieldPath, report: &mut Report) {
    let path = path.key("failover");
    for (index, over) in failover.iter().enumerate() {
        let here = path.index(index);
        if over.from == over.to {
            report.error(&here, "bad-locality", format!("`{}` takes over from itself", over.from));
        }
        for (name, region) in [("from", &over.from), ("to", &over.to)] {
            if region.contains(['/', '*']) {
                report.error(
                    &here.key(name),
                    "bad-locality",
                    format!("`{region}` is not one region: no zones and no `*` here"),
                );
            }
        }
    }
}

/// No place twice, none within another one.
fn localities(
    patterns: &[&LocalityPattern],
    place: impl Fn(usize, &LocalityPattern) -> FieldPath,
    report: &mut Report,
) {
    let mut before: BTreeSet<Vec<&str>> = BTreeSet::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let text = pattern.as_str();
        let here = || place(index, pattern);
        if text.matches('*').count() > 1 || (text.contains('*') && !text.ends_with('*')) {
            report.error(&here(), "bad-locality", format!("`{text}`: one `*` stands at the end, if any"));
            continue;
        }
        let mut parts: Vec<&str> = pattern.parts().iter().map(|part| &**part).collect();
        if parts.iter().any(|part| part.is_empty()) {
            report.error(
                &here(),
                "bad-locality",
                format!("`{text}`: a region, zone or sub-zone has a name; leave out the slash before none"),
            );
            continue;
        }
        if parts.last() == Some(&"*") {
            parts.pop();
        }
        // What is for all others may come last, as in Istio.
        let within = |other: &Vec<&str>| !parts.is_empty() && other.starts_with(&parts);
        let overlaps = before.iter().any(|other| parts.starts_with(other) || within(other));
        if overlaps {
            report.error(
                &here(),
                "bad-locality",
                format!("`{text}` is a part of another place of this list, or has one as its part"),
            );
        }
        before.insert(parts);
    }
}
