//! Kubernetes' syntax of labels.

use meltemi_names::{Labels, Selector};

use super::Report;
use crate::field::FieldPath;
use crate::finding::Finding;

/// Keys and values as Kubernetes takes them.
pub(super) fn labels(labels: &Labels, path: &FieldPath, report: &mut Report) {
    for (key, value) in labels.iter() {
        if !is_key(key) {
            report.error(&path.key(key), "bad-label", format!("`{key}` is not the key of a label"));
        }
        if !value.is_empty() && !is_name(value) {
            report.error(&path.key(key), "bad-label", format!("`{value}` is not the value of a label"));
        }
    }
}

/// `matchLabels` of a policy: it has no wildcards, and one that selects by nothing is for all, which may not be what was meant (Istio:
/// pkg/config/validation, `validateWorkloadSelector`).
pub(super) fn selector(selector: &Selector, path: &FieldPath, report: &mut Report) {
    selector_at(selector, path, "matchLabels", report);
}

/// The same under another name.
pub(super) fn selector_at(selector: &Selector, path: &FieldPath, field: &str, report: &mut Report) {
    let here = path.key(field);
    for (key, value) in selector.labels().iter() {
        if key.is_empty() {
            report.error(&here, "bad-label", "the key of a label must not be empty");
        } else if key.contains('*') || value.contains('*') {
            report.add(
                Finding::error("bad-label", "labels are matched as they are: `*` stands for nothing else")
                    .at(&here.key(key))
                    .hint("write the whole label"),
            );
        }
    }
    if selector.is_empty() {
        report.warning(path, "empty-selector", "without labels this is for every workload of the namespace");
    }
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name(key),
        Some((domain, name)) => {
            domain.len() <= 253 && domain.split('.').all(crate::value::is_dns_label) && is_name(name)
        }
    }
}

fn is_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}
