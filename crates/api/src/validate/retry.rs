//! Retries.

use super::Report;
use crate::decode::reader::nearest;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::virtual_service::Retries;

/// The conditions that Envoy knows (Istio: pkg/config/validation).
const CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

pub(super) fn check(retries: &Retries, path: &FieldPath, report: &mut Report) {
    let others = [
        ("perTryTimeout", retries.per_try_timeout.is_some()),
        ("retryOn", retries.retry_on.is_some()),
        ("retryRemoteLocalities", retries.retry_remote_localities.is_some()),
    ];
    if retries.attempts == 0 {
        for (name, _) in others.iter().filter(|(_, given)| *given) {
            report.add(
                Finding::error("no-attempts", format!("`{name}` without attempts: nothing is tried again"))
                    .at(&path.key(name))
                    .hint("add attempts"),
            );
        }
    }
    report.duration(&path.key("perTryTimeout"), retries.per_try_timeout);
    report.duration(&path.key("backoff"), retries.backoff);
    for condition in retries.retry_on.iter().flat_map(|conditions| conditions.split(',')).map(str::trim) {
        let status =
            condition.len() == 3 && condition.parse::<u16>().is_ok_and(|code| (100..600).contains(&code));
        if !status && !CONDITIONS.contains(&condition) {
            let mut finding = Finding::error(
                "bad-retry-on",
                format!("`{condition}` is no condition of Envoy and no status code"),
            )
            .at(&path.key("retryOn"));
            finding.hint = nearest(condition, CONDITIONS).map(|nearest| format!("did you mean `{nearest}`?"));
            report.add(finding);
        }
    }
}
