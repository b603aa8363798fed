//! Values of Istio's resources as Envoy writes them.

use meltemi_api::value::{HttpStatus, Percent, Regex, StringMatch};
use meltemi_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meltemi_proto::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use meltemi_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use meltemi_proto::google::protobuf::BoolValue;

/// Zero seconds: where Envoy has a default limit, no limit.
pub(super) const NO_TIME: prost_types::Duration = prost_types::Duration { seconds: 0, nanos: 0 };

pub(super) fn boolean(value: bool) -> BoolValue {
    BoolValue { value }
}

/// A status that ends a request. Istio's bound is 600, Envoy refuses that one, and with it all else that comes in one response.
pub(super) fn final_status(status: HttpStatus) -> u32 {
    u32::from(status.code()).clamp(200, 599)
}

pub(super) fn share(percent: Percent) -> FractionalPercent {
    FractionalPercent { numerator: percent.millionths(), denominator: DenominatorType::Million.into() }
}

pub(super) fn runtime_share(percent: Percent) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent { default_value: Some(share(percent)), runtime_key: String::new() }
}

pub(super) fn regex(regex: &Regex) -> RegexMatcher {
    RegexMatcher { regex: regex.as_str().to_owned(), ..RegexMatcher::default() }
}

/// None where presence is all that is asked.
pub(super) fn string_matcher(condition: &StringMatch) -> Option<StringMatcher> {
    let pattern = match condition {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern)),
        StringMatch::Present => return None,
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() })
}
