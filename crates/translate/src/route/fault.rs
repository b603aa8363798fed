//! Faults made on purpose.

use meltemi_api::virtual_service::{Abort, Delay, Fault};
use meltemi_proto::any::pack;
use meltemi_proto::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use meltemi_proto::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use meltemi_proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use meltemi_proto::google::protobuf::Any;

use super::wire;
use crate::wrap::duration;

/// The HTTP filter that makes them; it stands without any in each HTTP connection manager.
pub(super) const FILTER: &str = "envoy.filters.http.fault";

/// The fault filter's settings for a route; none if there is no fault in them.
pub(super) fn config(fault: &Fault) -> Option<Any> {
    let config = HttpFault {
        delay: fault.delay.as_ref().and_then(delay),
        abort: fault.abort.as_ref().and_then(abort),
        ..HttpFault::default()
    };
    (config.delay.is_some() || config.abort.is_some()).then(|| pack(&config))
}

fn delay(delay: &Delay) -> Option<FaultDelay> {
    // Envoy refuses a delay of zero.
    let fixed = delay.fixed_delay.filter(|fixed| !fixed.is_zero())?;
    Some(FaultDelay {
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(fixed))),
        percentage: Some(wire::share(delay.share())),
    })
}

fn abort(abort: &Abort) -> Option<FaultAbort> {
    let error_type = match (&abort.grpc_status, abort.http_status) {
        (Some(_), _) => ErrorType::GrpcStatus(abort.grpc_code()?),
        (None, Some(status)) => ErrorType::HttpStatus(wire::final_status(status)),
        (None, None) => return None,
    };
    Some(FaultAbort {
        error_type: Some(error_type),
        percentage: Some(wire::share(abort.share())),
        ..FaultAbort::default()
    })
}
