//! The conditions of a route, each with what the request has instead.

use meltemi_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use meltemi_proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use meltemi_proto::envoy::config::route::v3::route_match::PathSpecifier;
use meltemi_proto::envoy::config::route::v3::{
    CookieMatcher, HeaderMatcher, QueryParameterMatcher, RouteMatch,
};
use serde::Serialize;

use super::path;
use crate::request::Request;
use crate::share::Share;
use crate::text::{How, Wanted};

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What is looked at.
    #[serde(flatten)]
    pub subject: Subject,
    /// What it is to be.
    pub wanted: Wanted,
    /// What the request has; none: it has no such thing.
    pub found: Option<String>,
    /// Whether it holds; none if the walk cannot tell.
    pub holds: Option<bool>,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "subject", content = "name", rename_all = "snake_case")]
pub enum Subject {
    /// The path without its query.
    Path,
    /// A header; pseudo-headers by their names.
    Header(String),
    /// A query parameter.
    Parameter(String),
    /// A cookie.
    Cookie(String),
    /// Chance.
    Chance,
    /// A field of the route's match that the walk does not read.
    Other(String),
}

/// All conditions of a route, the path's first.
pub(crate) fn of(matching: &RouteMatch, request: &Request) -> Vec<Condition> {
    let mut conditions = vec![of_path(matching, request)];
    conditions.extend(matching.headers.iter().map(|header| of_header(header, request)));
    conditions.extend(matching.query_parameters.iter().map(|parameter| of_parameter(parameter, request)));
    conditions.extend(matching.cookies.iter().map(|cookie| of_cookie(cookie, request)));
    if matching.grpc.is_some() {
        let found = request.header("content-type");
        let holds = found.as_deref().is_some_and(|found| {
            found
                .strip_prefix("application/grpc")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
        });
        conditions.push(Condition {
            subject: Subject::Header("content-type".to_owned()),
            wanted: Wanted::new(How::Prefix, "application/grpc"),
            found,
            holds: Some(holds),
        });
    }
    if let Some(share) = &matching.runtime_fraction {
        let share = fraction(share);
        let holds = if share.is_all() {
            Some(true)
        } else if share.is_none() {
            Some(false)
        } else {
            None
        };
        let wanted = Wanted::new(How::Chance, share.to_string());
        conditions.push(Condition { subject: Subject::Chance, wanted, found: None, holds });
    }
    let unread = [
        ("tls_context", matching.tls_context.is_some()),
        ("dynamic_metadata", !matching.dynamic_metadata.is_empty()),
        ("filter_state", !matching.filter_state.is_empty()),
    ];
    for (field, _) in unread.into_iter().filter(|(_, is_there)| *is_there) {
        conditions.push(other(field));
    }
    conditions
}

/// Envoy's percentage, whatever it counts in.
pub(crate) fn fraction(runtime: &RuntimeFractionalPercent) -> Share {
    runtime.default_value.as_ref().map_or(Share::ALL, percent)
}

pub(crate) fn percent(percent: &meltemi_proto::envoy::r#type::v3::FractionalPercent) -> Share {
    use meltemi_proto::envoy::r#type::v3::fractional_percent::DenominatorType;
    let whole = match DenominatorType::try_from(percent.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        _ => 100,
    };
    Share(Share::of(u64::from(percent.numerator), whole).0.min(100.0))
}

fn other(field: &str) -> Condition {
    Condition {
        subject: Subject::Other(field.to_owned()),
        wanted: Wanted::new(How::Unread, ""),
        found: None,
        holds: None,
    }
}

fn of_path(matching: &RouteMatch, request: &Request) -> Condition {
    let ignores_case = matching.case_sensitive.as_ref().is_some_and(|sensitive| !sensitive.value);
    let wanted = match &matching.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Wanted::new(How::Prefix, prefix),
        Some(PathSpecifier::Path(path)) => Wanted::new(How::Exact, path),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => Wanted::new(How::SegmentPrefix, prefix),
        Some(PathSpecifier::SafeRegex(regex)) => Wanted::regex(regex),
        Some(PathSpecifier::ConnectMatcher(_)) => {
            return Condition {
                subject: Subject::Header(":method".to_owned()),
                wanted: Wanted::new(How::Exact, "CONNECT"),
                found: Some(request.method.clone()),
                holds: Some(request.method == "CONNECT"),
            };
        }
        Some(PathSpecifier::PathMatchPolicy(policy)) => return other(&policy.name),
        None => return other("path_specifier"),
    };
    let wanted = Wanted { ignores_case: ignores_case && wanted.how != How::Regex, ..wanted };
    let found = path::bare(&request.path).to_owned();
    Condition { subject: Subject::Path, holds: wanted.holds(&found), wanted, found: Some(found) }
}

#[allow(deprecated, reason = "configurations that are read may still use the older forms")]
fn of_header(matcher: &HeaderMatcher, request: &Request) -> Condition {
    let (wanted, present) = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::ExactMatch(value)) => (Wanted::new(How::Exact, value), None),
        Some(HeaderMatchSpecifier::PrefixMatch(value)) => (Wanted::new(How::Prefix, value), None),
        Some(HeaderMatchSpecifier::SuffixMatch(value)) => (Wanted::new(How::Suffix, value), None),
        Some(HeaderMatchSpecifier::ContainsMatch(value)) => (Wanted::new(How::Contains, value), None),
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => (Wanted::regex(regex), None),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => (Wanted::matcher(matcher), None),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            (Wanted::new(How::Range, format!("{}..{}", range.start, range.end)), None)
        }
        Some(HeaderMatchSpecifier::PresentMatch(present)) => (Wanted::new(How::Present, ""), Some(*present)),
        None => (Wanted::new(How::Present, ""), Some(true)),
    };
    let inverted = matcher.invert_match;
    let negated = inverted != (present == Some(false));
    let found = request.header(&matcher.name);
    let mut values = request.header_values(&matcher.name);
    if values.is_empty() && matcher.treat_missing_header_as_empty {
        values.push(String::new());
    }
    let holds = match present {
        Some(present) => Some((values.is_empty() != present) != inverted),
        // A header that is not there meets no condition, nor its opposite.
        None if values.is_empty() => Some(false),
        // Of several values one is enough (tried on Envoy 1.40), and for the opposite none may be so.
        None => {
            let each: Vec<Option<bool>> = values.iter().map(|value| wanted.holds(value)).collect();
            let any = if each.contains(&Some(true)) {
                Some(true)
            } else if each.contains(&None) {
                None
            } else {
                Some(false)
            };
            any.map(|any| any != inverted)
        }
    };
    Condition {
        subject: Subject::Header(matcher.name.clone()),
        wanted: Wanted { negated, ..wanted },
        found,
        holds,
    }
}

fn of_parameter(matcher: &QueryParameterMatcher, request: &Request) -> Condition {
    let found = request.parameter(&matcher.name).map(str::to_owned);
    let (wanted, holds) = match &matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            let wanted = Wanted::matcher(matcher);
            let holds = found.as_deref().map_or(Some(false), |found| wanted.holds(found));
            (wanted, holds)
        }
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            (Wanted { negated: true, ..Wanted::new(How::Present, "") }, Some(found.is_none()))
        }
        _ => (Wanted::new(How::Present, ""), Some(found.is_some())),
    };
    Condition { subject: Subject::Parameter(matcher.name.clone()), wanted, found, holds }
}

fn of_cookie(matcher: &CookieMatcher, request: &Request) -> Condition {
    let found = request.cookie(&matcher.name);
    let wanted = matcher.string_match.as_ref().map_or_else(|| Wanted::new(How::Present, ""), Wanted::matcher);
    let holds = match &found {
        Some(found) => wanted.holds(found).map(|holds| holds != matcher.invert_match),
        None => Some(matcher.invert_match),
    };
    let wanted = Wanted { negated: matcher.invert_match, ..wanted };
    Condition { subject: Subject::Cookie(matcher.name.clone()), wanted, found, holds }
}
