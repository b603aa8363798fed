//! Kubernetes' syntax of labels.

use meltemi_names::Labels;

use super::Report;
use crate::field::FieldPath;

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
