//! DestinationRule: subsets and ports; the policies themselves are checked next door.

use super::{Report, hosts, labels, traffic_policy};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::{ExportTo, is_dns_label};
use crate::{DestinationRule, Meta};

pub(super) fn check(rule: &DestinationRule, meta: &Meta, path: &FieldPath, report: &mut Report) {
    if let Some(policy) = &rule.traffic_policy {
        traffic_policy::check(policy, &path.key("trafficPolicy"), report);
    }
    let subsets = path.key("subsets");
    for (index, subset) in rule.subsets.iter().enumerate() {
        let here = subsets.index(index);
        let name = &subset.name;
        if !is_dns_label(name) {
            report.error(&here.key("name"), "bad-subset", format!("`{name}` is not the name of a subset"));
        }
        if rule.subsets[..index].iter().any(|other| other.name == *name) {
            report.add(
                Finding::error("duplicate-subset", format!("`{name}` stands here a second time"))
                    .at(&here.key("name"))
                    .hint("give each subset a name of its own"),
            );
        }
        labels::labels(subset.labels.labels(), &here.key("labels"), report);
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy::check(policy, &here.key("trafficPolicy"), report);
        }
    }
    hosts::export_to(&rule.export_to, meta, &path.key("exportTo"), report);
    let own = ExportTo::Namespace(meta.key.namespace.clone());
    if rule.workload_selector.is_some()
        && rule.export_to.iter().any(|export| *export != ExportTo::Own && *export != own)
    {
        report.error(
            &path.key("exportTo"),
            "bad-export-to",
            "a rule with a workloadSelector is for its own namespace alone",
        );
    }
}
