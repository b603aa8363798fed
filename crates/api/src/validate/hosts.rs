//! Hosts of a resource, and who may see it.

use std::collections::BTreeSet;

use meltemi_names::Host;

use super::Report;
use crate::Meta;
use crate::field::FieldPath;
use crate::value::ExportTo;

/// No host twice, no wildcard that covers another host of the list.
pub(super) fn hosts(hosts: &[Host], path: &FieldPath, report: &mut Report) {
    let all: BTreeSet<&Host> = hosts.iter().collect();
    let mut before = BTreeSet::new();
    for (index, host) in hosts.iter().enumerate() {
        let here = || path.index(index);
        if !before.insert(host) {
            report.error(&here(), "duplicate-host", format!("`{host}` stands here a second time"));
        } else if let Some(wider) = host.covering().find(|wider| all.contains(wider)) {
            report.error(
                &here(),
                "overlapping-hosts",
                format!("`{wider}` of the same list covers `{host}`; a resource names each host once"),
            );
        }
    }
}

/// `exportTo` of a VirtualService or DestinationRule.
pub(super) fn export_to(exports: &[ExportTo], meta: &Meta, path: &FieldPath, report: &mut Report) {
    exports_of(exports, false, meta, path, report);
}

/// `exportTo` of a ServiceEntry, which may be for nobody, too.
pub(super) fn export_to_or_nobody(exports: &[ExportTo], meta: &Meta, path: &FieldPath, report: &mut Report) {
    exports_of(exports, true, meta, path, report);
}

fn exports_of(exports: &[ExportTo], nobody: bool, meta: &Meta, path: &FieldPath, report: &mut Report) {
    for (index, export) in exports.iter().enumerate() {
        let here = path.index(index);
        let own = ExportTo::Namespace(meta.key.namespace.clone());
        let same = |other: &ExportTo| {
            other == export
                || (*other == ExportTo::Own && *export == own)
                || (*other == own && *export == ExportTo::Own)
        };
        match export {
            ExportTo::Nobody if !nobody => {
                report.error(
                    &here,
                    "bad-export-to",
                    "`~` is for service entries; write `.` to keep it in its namespace",
                );
            }
            ExportTo::Nobody if exports.len() > 1 => {
                report.error(&here, "bad-export-to", "`~` stands for no namespace and must stand alone");
            }
            ExportTo::All if exports.len() > 1 => {
                report.error(&here, "bad-export-to", "`*` stands for all namespaces and must stand alone");
            }
            _ if exports[..index].iter().any(same) => {
                report.error(&here, "bad-export-to", "the namespace stands here a second time");
            }
            _ => {}
        }
    }
}
