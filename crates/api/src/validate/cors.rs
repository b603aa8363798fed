//! Cross-origin resource sharing (Istio: pkg/config/validation, `validateCORSPolicy`).

use super::{Report, older_spelling};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::{HeaderName, StringMatch};
use crate::virtual_service::CorsPolicy;

/// What Istio takes as a method.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

pub(super) fn check(policy: &CorsPolicy, path: &FieldPath, report: &mut Report) {
    origins(policy, path, report);
    for (index, method) in policy.allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            report.add(
                Finding::error("bad-cors", format!("`{method}` is not a method of HTTP"))
                    .at(&path.key("allowMethods").index(index))
                    .hint("write it in upper case, such as GET, or `*` for all"),
            );
        }
    }
    for (name, headers) in
        [("allowHeaders", &policy.allow_headers), ("exposeHeaders", &policy.expose_headers)]
    {
        for (index, header) in headers.iter().enumerate().filter(|(_, header)| *header != "*") {
            if HeaderName::parse(header).is_err() || header.starts_with([':', '@']) {
                report.error(
                    &path.key(name).index(index),
                    "bad-cors",
                    format!("`{header}` is not a header name"),
                );
            }
        }
    }
    let age = path.key("maxAge");
    report.duration(&age, policy.max_age);
    if policy.max_age.is_some_and(|age| age.0.subsec_nanos() > 0 && age.0.as_millis() > 0) {
        report.error(&age, "bad-duration", "browsers take whole seconds");
    }
}

fn origins(policy: &CorsPolicy, path: &FieldPath, report: &mut Report) {
    let older = path.key("allowOrigin");
    if !policy.allow_origin.is_empty() {
        if policy.allow_origins.is_empty() {
            report.add(older_spelling(&older, "allowOrigins: [{exact: ...}]"));
        } else {
            report.warning(
                &older,
                "field-without-effect",
                "`allowOrigins` stands beside it and counts alone",
            );
        }
    }
    for (index, origin) in policy.allow_origins.iter().enumerate() {
        let empty = match origin {
            StringMatch::Exact(text) | StringMatch::Prefix(text) => text.is_empty(),
            StringMatch::Regex(_) => false,
            StringMatch::Present => true,
        };
        if empty {
            report.add(
                Finding::error("bad-cors", "an origin says what it matches: exact, prefix or regex")
                    .at(&path.key("allowOrigins").index(index))
                    .hint("write {exact: \"*\"} to allow all origins"),
            );
        }
    }
    let all = |origin: &StringMatch| matches!(origin, StringMatch::Exact(text) if text == "*");
    if policy.allow_credentials == Some(true) && policy.origins().iter().any(all) {
        report.add(
            Finding::warning("bad-cors", "every site's scripts may call with the user's credentials")
                .at(&path.key("allowCredentials"))
                .hint("name the origins that may"),
        );
    }
}
