//! Values that several kinds share, typed when they are read.
//!
//! Knows: the written forms of durations, percentages, matches, header names, status codes and times, as protobuf JSON and Go
//! write them. Must not know: which field they stand in.   Invariant: a value that exists is in range and compares with `Eq`.

mod address;
mod duration;
mod export;
mod header_name;
mod label_selector;
mod number;
mod percent;
mod regex;
mod status;
mod string_match;
mod subnet;
mod timestamp;

pub use address::Address;
pub use duration::{Duration, DurationError};
pub(crate) use export::is_dns_label;
pub use export::{ExportTo, GatewayName};
pub use header_name::{HeaderName, HeaderNameError};
pub use label_selector::LabelSelector;
pub(crate) use number::{integer, non_empty, optional_port, port_or_zero, signed_integer};
pub use percent::{Decimal, Percent};
pub use regex::{Regex, RegexError};
pub use status::HttpStatus;
pub use string_match::StringMatch;
pub use subnet::Subnet;
pub use timestamp::Timestamp;

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
