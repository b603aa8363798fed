//! The conditions of a rule.

use super::{Report, labels};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::{StringMatch, is_dns_label};
use crate::virtual_service::HttpMatch;

pub(super) fn check(matching: &HttpMatch, path: &FieldPath, report: &mut Report) {
    let texts =
        [("scheme", &matching.scheme), ("method", &matching.method), ("authority", &matching.authority)];
    for (name, text) in texts {
        if let Some(text) = text {
            prefix(text, &path.key(name), report);
        }
    }
    let headers = [("headers", &matching.headers), ("withoutHeaders", &matching.without_headers)];
    for (name, headers) in headers {
        for (header, text) in headers {
            prefix(text, &path.key(name).key(header.as_str()), report);
        }
    }
    for (parameter, text) in &matching.query_params {
        let here = path.key("queryParams").key(parameter);
        if parameter.is_empty() {
            report.error(&here, "bad-match", "a query parameter must have a name");
        }
        prefix(text, &here, report);
    }
    if let Some(uri) = &matching.uri {
        self::uri(uri, &path.key("uri"), report);
    }
    if let Some(namespace) = matching.source_namespace.as_ref().filter(|name| !is_dns_label(name.as_str())) {
        report.error(
            &path.key("sourceNamespace"),
            "bad-match",
            format!("`{namespace}` is not the name of a namespace"),
        );
    }
    labels::labels(matching.source_labels.labels(), &path.key("sourceLabels"), report);
}

/// An empty prefix would match everything.
fn prefix(text: &StringMatch, path: &FieldPath, report: &mut Report) {
    if matches!(text, StringMatch::Prefix(prefix) if prefix.is_empty()) {
        report.add(
            Finding::error("empty-prefix", "a prefix must not be empty")
                .at(path)
                .hint("write `{}` to ask only that it is there"),
        );
    }
}

/// Every path begins with a slash, save the `*` of OPTIONS.
fn uri(uri: &StringMatch, path: &FieldPath, report: &mut Report) {
    let (name, text) = match uri {
        StringMatch::Exact(text) => ("exact", text.as_str()),
        StringMatch::Prefix(text) => ("prefix", text.as_str()),
        StringMatch::Regex(_) | StringMatch::Present => return,
    };
    let empty_prefix = text.is_empty() && name == "prefix";
    if !empty_prefix && !text.starts_with('/') && text != "*" {
        report.add(
            Finding::warning(
                "never-matches",
                format!("no path is matched: `{text}` does not begin with `/`"),
            )
            .at(&path.key(name))
            .hint(format!("write /{text}")),
        );
    }
}
