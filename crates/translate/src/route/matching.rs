//! The conditions of a route.

use meltemi_api::value::{HeaderName, StringMatch};
use meltemi_api::virtual_service::HttpMatch;
use meltemi_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use meltemi_proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use meltemi_proto::envoy::config::route::v3::route_match::PathSpecifier;
use meltemi_proto::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};

use super::wire;

/// The conditions that Envoy checks; none if no request through a sidecar can meet them. Those on the caller are not among them.
pub(super) fn route_match(matching: &HttpMatch) -> Option<RouteMatch> {
    let path_specifier = match &matching.uri {
        None | Some(StringMatch::Present) => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        // Of characters, not of segments: `/foo` takes `/foobar` (HTTPMatchRequest.uri).
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(StringMatch::Regex(regex)) => PathSpecifier::SafeRegex(wire::regex(regex)),
    };
    // Claims are checked by gateways, which verify tokens: a sidecar never finds one.
    if matching.headers.keys().any(HeaderName::is_claim) {
        return None;
    }
    let without = matching.without_headers.iter().filter(|(name, _)| !name.is_claim());
    let pseudo =
        [(":method", &matching.method), (":authority", &matching.authority), (":scheme", &matching.scheme)];
    let headers = matching
        .headers
        .iter()
        .map(|(name, condition)| header(name.as_str(), condition))
        .chain(without.map(|(name, condition)| HeaderMatcher {
            invert_match: true,
            // A header that is not there does not have the value.
            treat_missing_header_as_empty: *condition != StringMatch::Present,
            ..header(name.as_str(), condition)
        }))
        .chain(pseudo.into_iter().filter_map(|(name, condition)| Some(header(name, condition.as_ref()?))));
    let ignores_case = matching.ignore_uri_case && !matches!(path_specifier, PathSpecifier::SafeRegex(_));
    Some(RouteMatch {
        path_specifier: Some(path_specifier),
        case_sensitive: ignores_case.then(|| wire::boolean(false)),
        headers: headers.collect(),
        query_parameters: matching
            .query_params
            .iter()
            .map(|(name, condition)| parameter(name, condition))
            .collect(),
        ..RouteMatch::default()
    })
}

/// Whether no later route can be reached (Istio: core/route, `IsCatchAllRoute`).
pub(super) fn takes_all(matching: &RouteMatch) -> bool {
    let any_path = match &matching.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    any_path && matching.headers.is_empty() && matching.query_parameters.is_empty()
}

/// The path as operations are called by it (Istio: core/route, `GetRouteOperation`).
pub(super) fn path_for_people(matching: &RouteMatch) -> String {
    match &matching.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    }
}

fn header(name: &str, condition: &StringMatch) -> HeaderMatcher {
    let specifier = wire::string_matcher(condition)
        .map_or(HeaderMatchSpecifier::PresentMatch(true), HeaderMatchSpecifier::StringMatch);
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

fn parameter(name: &str, condition: &StringMatch) -> QueryParameterMatcher {
    let specifier = wire::string_matcher(condition)
        .map_or(QueryParameterMatchSpecifier::PresentMatch(true), QueryParameterMatchSpecifier::StringMatch);
    QueryParameterMatcher { name: name.to_owned(), query_parameter_match_specifier: Some(specifier) }
}
