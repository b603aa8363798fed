//! Spans of time as the answer writes them.

use prost_types::Duration;

/// Milliseconds; negative spans, which Envoy refuses, are none.
pub(crate) fn milliseconds(span: &Duration) -> u64 {
    let seconds = u64::try_from(span.seconds).unwrap_or(0);
    let rest = u64::try_from(span.nanos).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1000).saturating_add(rest)
}

/// A limit: Envoy reads zero as none.
pub(crate) fn limit(span: Option<&Duration>) -> Option<u64> {
    span.map(milliseconds).filter(|limit| *limit > 0)
}
