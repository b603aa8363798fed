//! Which answers count as failures, where a rule names status codes (Istio: core/cluster_traffic_policy.go,
//! `applyOutlierDetectionErrorCodes`).

use meltemi_api::destination_rule;
use meltemi_proto::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use meltemi_proto::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};
use meltemi_proto::envoy::config::route::v3::HeaderMatcher;
use meltemi_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use meltemi_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::OutlierDetection;
use meltemi_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

/// What counts; none: 500 and above.
pub(super) fn of(written: Option<&destination_rule::OutlierDetection>) -> Option<OutlierDetection> {
    let codes = written.map(|written| written.outlier_detection_http_error_codes.as_slice())?;
    let mut rules: Vec<MatchPredicate> = codes.iter().map(|code| is(*code)).collect();
    // A set of one is none to Envoy.
    let matcher = if rules.len() > 1 { any(rules) } else { rules.pop()? };
    Some(OutlierDetection { error_matcher: Some(matcher) })
}

fn any(rules: Vec<MatchPredicate>) -> MatchPredicate {
    MatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }
}

fn is(code: u32) -> MatchPredicate {
    let exact = StringMatcher {
        match_pattern: Some(MatchPattern::Exact(code.to_string())),
        ..StringMatcher::default()
    };
    let status = HeaderMatcher {
        name: ":status".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact)),
        ..HeaderMatcher::default()
    };
    MatchPredicate { rule: Some(Rule::HttpResponseHeadersMatch(HttpHeadersMatch { headers: vec![status] })) }
}
