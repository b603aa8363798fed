//! WorkloadGroup (Istio: pkg/config/validation, `ValidateWorkloadGroup`).

use super::{Report, labels};
use crate::WorkloadGroup;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::workload_group::Probe;

pub(super) fn check(group: &WorkloadGroup, path: &FieldPath, report: &mut Report) {
    labels::labels(&group.metadata.labels, &path.key("metadata").key("labels"), report);
    if group.template.is_none() {
        report.error(path, "no-template", "a WorkloadGroup needs a template");
        return;
    }
    if let Some(found) = &group.probe {
        probe(found, &path.key("probe"), report);
    }
    report.add(
        Finding::warning("not-supported-yet", "no workload registers itself yet")
            .at(&path.key("template"))
            .in_force("no workload entry is made from this group")
            .hint("write a WorkloadEntry for each workload"),
    );
}

fn probe(probe: &Probe, path: &FieldPath, report: &mut Report) {
    for (name, number) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if number < 0 {
            report.error(&path.key(name), "bad-value", format!("must not be negative, found {number}"));
        }
    }
    let port = |number: u32, path: FieldPath, report: &mut Report| {
        if !(1..=65535).contains(&number) {
            report.error(&path, "bad-value", format!("a port is 1 to 65535, found {number}"));
        }
    };
    match (&probe.http_get, &probe.tcp_socket, &probe.exec) {
        (Some(get), None, None) => {
            let here = path.key("httpGet");
            port(get.port, here.key("port"), report);
            if !matches!(get.scheme.as_str(), "" | "HTTP" | "HTTPS") {
                let message = format!("`{}` is neither HTTP nor HTTPS", get.scheme);
                report.error(&here.key("scheme"), "bad-value", message);
            }
            for (index, header) in get.http_headers.iter().enumerate() {
                let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                if header.name.is_empty() || !header.name.bytes().all(letter) {
                    report.error(
                        &here.key("httpHeaders").index(index).key("name"),
                        "bad-name",
                        format!("`{}` is not the name of a header", header.name),
                    );
                }
            }
        }
        (None, Some(socket), None) => port(socket.port, path.key("tcpSocket").key("port"), report),
        (None, None, Some(exec)) => {
            if exec.command.is_empty() {
                report.error(&path.key("exec").key("command"), "bad-value", "there is no command");
            }
        }
        // Istio's admission does not know gRPC here either, though its API has the field.
        _ => report.error(path, "bad-probe", "a probe asks in one way: httpGet, tcpSocket or exec"),
    }
}
