//! Values in Protobuf's own wrappers.

use meltemi_api::value::Duration;
use meltemi_proto::google::protobuf::{UInt32Value, UInt64Value};

/// A number that can be absent.
pub(crate) fn u32_value(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A large number that can be absent.
pub(crate) fn u64_value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

/// A span of time. One beyond Protobuf's ten thousand years does not occur: they are read up to five hundred.
pub(crate) fn duration(Duration(duration): Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// So many seconds.
pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
