//! Faults that are made on purpose.

use std::collections::BTreeMap;

use meltemi_proto::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use meltemi_proto::envoy::extensions::filters::http::fault::v3::HttpFault;
use meltemi_proto::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use meltemi_proto::google::protobuf::Any;
use serde::Serialize;

use super::condition;
use crate::configuration::{Broken, opened};
use crate::share::Share;
use crate::time::milliseconds;

/// The name of the filter, in the connection manager and where it is set for a route.
pub(crate) const FILTER: &str = "envoy.filters.http.fault";

/// What is made to go wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// Some requests wait.
    pub delay: Option<Delay>,
    /// Some requests get an error.
    pub abort: Option<Abort>,
}

/// Some requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delay {
    /// How many.
    pub share: Share,
    /// How long.
    pub delay_ms: u64,
}

/// Some requests get an error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Abort {
    /// How many.
    pub share: Share,
    /// With which HTTP status; 200 where it is one of gRPC.
    pub status: u32,
    /// With which gRPC status.
    pub grpc_status: Option<u32>,
}

/// The most specific of the settings, and what of it is not read.
pub(crate) fn of(
    settings: &[&BTreeMap<String, Any>],
    what: &str,
    unread: &mut Vec<String>,
) -> Result<Option<Fault>, Broken> {
    let Some(any) = settings.iter().find_map(|settings| settings.get(FILTER)) else { return Ok(None) };
    let Some(fault) = opened::<HttpFault>(Some(any), || format!("fault of {what}"))? else {
        unread.push(format!("{what}: typed_per_filter_config[{FILTER}] of type {}", any.type_url));
        return Ok(None);
    };
    let conditional =
        !fault.headers.is_empty() || !fault.upstream_cluster.is_empty() || !fault.downstream_nodes.is_empty();
    if conditional || fault.response_rate_limit.is_some() || fault.max_active_faults.is_some() {
        unread.push(format!("{what}: conditions and limits of the fault"));
    }
    let delay = fault.delay.as_ref().and_then(|delay| match &delay.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(span)) => Some(Delay {
            share: delay.percentage.as_ref().map_or(Share(0.0), condition::percent),
            delay_ms: milliseconds(span),
        }),
        _ => None,
    });
    let abort = fault.abort.as_ref().and_then(|abort| {
        let share = abort.percentage.as_ref().map_or(Share(0.0), condition::percent);
        match abort.error_type {
            Some(ErrorType::HttpStatus(status)) => Some(Abort { share, status, grpc_status: None }),
            Some(ErrorType::GrpcStatus(status)) => {
                Some(Abort { share, status: 200, grpc_status: Some(status) })
            }
            _ => None,
        }
    });
    Ok(Some(Fault { delay, abort }))
}
