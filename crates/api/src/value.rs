//! Values that several kinds share, typed when they are read.
//!
//! Knows: the written forms of durations, percentages, matches, header names, status codes and times, as protobuf JSON and Go
//! write them. Must not know: which field they stand in.   Invariant: a value that exists is in range and compares with `Eq`.

mod address;
mod cel;
mod duration;
mod export;
mod header_name;
mod label_selector;
mod log_format;
mod number;
mod percent;
mod regex;
mod session;
mod status;
mod string_match;
mod subnet;
mod timestamp;

pub use address::Address;
pub use cel::{Cel, CelFault};
pub use duration::{Duration, DurationError};
pub(crate) use export::is_dns_label;
pub use export::{ExportTo, GatewayName};
pub use header_name::{HeaderName, HeaderNameError};
pub use label_selector::LabelSelector;
pub use log_format::{LogFormatError, WITHOUT_QUERY, check_log_format};
pub(crate) use number::{integer, non_empty, optional_port, port_or_zero, signed_integer};
pub use percent::{Decimal, Percent};
pub use regex::{Regex, RegexError};
pub use session::{SESSION_COOKIE, SESSION_HEADER, Session};
pub use status::HttpStatus;
pub use string_match::StringMatch;
pub use subnet::Subnet;
pub use timestamp::Timestamp;

/// Whether a metric of Prometheus may have a label of that name. Names that begin with `__` are Prometheus' own.
pub fn is_metric_label(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !name.starts_with("__")
}

/// Deserializes a type from its text with its own `parse`.
macro_rules! from_text {
    ($name:ty) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                <$name>::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use from_text;
