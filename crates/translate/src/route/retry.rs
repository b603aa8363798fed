//! Retries of a route.

use meltemi_api::virtual_service::Retries;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::route::v3::RetryPolicy;
use meltemi_proto::envoy::config::route::v3::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use meltemi_proto::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use meltemi_proto::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use crate::wrap::{duration, u32_value};

/// Tries after the first, where nobody says (Istio: core/route/retry/retry.go).
const ATTEMPTS: u32 = 2;
/// What is tried again, where nobody says: only what the server did not begin to answer.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// The same at the application itself: what did not reach it.
const INBOUND_RETRY_ON: &str = "reset-before-request";
/// The condition that makes `retriable_status_codes` count.
const BY_STATUS: &str = "retriable-status-codes";
/// How often another host is looked for that was not tried yet.
const HOST_ATTEMPTS: i64 = 5;

/// The policy of a route that says `own`, in a mesh whose default is `default`; `hashed`: its requests go to the host of their hash,
/// which a try must be free to take again.
pub(super) fn policy(own: Option<&Retries>, default: Option<&Retries>, hashed: bool) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: u32_value(ATTEMPTS),
        host_selection_retry_max_attempts: HOST_ATTEMPTS,
        ..RetryPolicy::default()
    };
    let mut avoids_tried_hosts = !hashed;
    if let Some(said) = own.or(default) {
        if said.attempts == 0 {
            return None;
        }
        policy.num_retries = u32_value(said.attempts);
        if let Some(conditions) = &said.retry_on {
            (policy.retry_on, policy.retriable_status_codes) = split(conditions);
        }
        policy.per_try_timeout = said.per_try_timeout.filter(|limit| !limit.is_zero()).map(duration);
        if said.retry_remote_localities == Some(true) {
            policy.retry_priority = Some(RetryPriority {
                name: "envoy.retry_priorities.previous_priorities".to_owned(),
                config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&PreviousPrioritiesConfig {
                    update_frequency: 2,
                }))),
            });
        }
        avoids_tried_hosts &= said.retry_ignore_previous_hosts != Some(false);
        policy.retry_back_off = back_off(said);
    }
    if avoids_tried_hosts {
        policy.retry_host_predicate.push(RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(
                &PreviousHostsPredicate {},
            ))),
        });
    }
    Some(policy)
}

/// How the proxy beside an application tries again there: by `written`, the mesh's `defaultInboundHttpRetryPolicy`. There is one
/// application, and its own timeout, so that nothing of other hosts and of single tries counts (Istio: `ConvertInboundPolicy`).
pub(crate) fn inbound(written: Option<&Retries>) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: INBOUND_RETRY_ON.to_owned(),
        num_retries: u32_value(ATTEMPTS),
        ..RetryPolicy::default()
    };
    let Some(said) = written else { return Some(policy) };
    if said.attempts == 0 {
        return None;
    }
    policy.num_retries = u32_value(said.attempts);
    if let Some(conditions) = &said.retry_on {
        (policy.retry_on, policy.retriable_status_codes) = split(conditions);
    }
    policy.retry_back_off = back_off(said);
    Some(policy)
}

fn back_off(said: &Retries) -> Option<RetryBackOff> {
    let pause = said.backoff.filter(|pause| !pause.is_zero())?;
    Some(RetryBackOff { base_interval: Some(duration(pause)), max_interval: None })
}

/// Conditions and status codes, which stand in one list in `retryOn`.
fn split(written: &str) -> (String, Vec<u32>) {
    let mut conditions = Vec::new();
    let mut codes = Vec::new();
    for part in written.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse::<u32>() {
            Ok(code) if (100..600).contains(&code) => codes.push(code),
            _ => conditions.push(part),
        }
    }
    if !codes.is_empty() && !conditions.contains(&BY_STATUS) {
        conditions.push(BY_STATUS);
    }
    (conditions.join(","), codes)
}
