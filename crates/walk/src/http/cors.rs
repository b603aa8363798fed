//! Calls of scripts from other sites: what the filter answers, and what it adds to the answer.

use std::collections::BTreeMap;

use meltemi_proto::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use meltemi_proto::google::protobuf::Any;
use serde::Serialize;

use super::condition;
use crate::configuration::{Broken, opened};
use crate::request::Request;
use crate::text::Wanted;

/// The name of the filter, in the connection manager and where it is set for a route.
pub(crate) const FILTER: &str = "envoy.filters.http.cors";

/// What the filter does with a request that has an `Origin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cors {
    /// The site whose script calls.
    pub origin: String,
    /// Whether it is one of those that are allowed.
    pub allowed: bool,
    /// The request only asks whether another one may be sent.
    pub preflight: bool,
    /// The filter answers, with 200 and these headers alone; else they are added to the answer.
    pub answered: bool,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// What becomes of the request by the most specific of the settings; `settings` are those of a route, its virtual host and the route
/// configuration. Fields that one leaves out are read from the next.
pub(crate) fn of(
    settings: &[&BTreeMap<String, Any>],
    request: &Request,
    what: &str,
    unread: &mut Vec<String>,
) -> Result<Option<Cors>, Broken> {
    let mut policies: Vec<CorsPolicy> = Vec::new();
    for any in settings.iter().filter_map(|settings| settings.get(FILTER)) {
        match opened::<CorsPolicy>(Some(any), || format!("CORS of {what}"))? {
            Some(policy) => policies.push(policy),
            None => {
                unread.push(format!("{what}: typed_per_filter_config[{FILTER}] of type {}", any.type_url))
            }
        }
    }
    let Some(origin) = request.header("origin").filter(|origin| !origin.is_empty()) else { return Ok(None) };
    let Some(first) = policies.first() else { return Ok(None) };
    let part = first.filter_enabled.as_ref().and_then(|part| part.default_value.as_ref());
    match part.map(condition::percent) {
        Some(share) if share.is_none() => return Ok(None),
        Some(share) if !share.is_all() => unread.push(format!("{what}: CORS for a part of the requests")),
        _ => {}
    }
    Ok(Some(decided(&policies, origin, request)))
}

fn decided(policies: &[CorsPolicy], origin: String, request: &Request) -> Cors {
    let origins = policies.iter().map(|policy| &policy.allow_origin_string_match);
    let origins = origins.into_iter().find(|origins| !origins.is_empty());
    let allowed = origins.into_iter().flatten().map(Wanted::matcher).any(|wanted| {
        // One that takes `*` takes all.
        wanted.holds("*") == Some(true) || wanted.holds(&origin) == Some(true)
    });
    let asked = request.header("access-control-request-method").unwrap_or_default();
    let preflight = request.method == "OPTIONS" && !asked.is_empty();
    let forwards = policies.iter().find_map(|policy| policy.forward_not_matching_preflights.as_ref());
    let answered = preflight && (allowed || !forwards.is_none_or(|forwards| forwards.value));
    let text = |field: fn(&CorsPolicy) -> &String| {
        policies.iter().map(field).find(|text| !text.is_empty()).cloned().unwrap_or_default()
    };
    let credentials = policies.iter().find_map(|policy| policy.allow_credentials.as_ref());
    let credentials = credentials.is_some_and(|credentials| credentials.value);
    let mut headers = Vec::new();
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            headers.push((format!("access-control-{name}"), value));
        }
    };
    if allowed {
        add("allow-origin", origin.clone());
    }
    if credentials && (allowed || answered) {
        add("allow-credentials", "true".to_owned());
    }
    if answered {
        let asked_headers = request.header("access-control-request-headers").unwrap_or_default();
        let all_or = |text: String, asked: String| if text == "*" { asked } else { text };
        add("allow-methods", all_or(text(|policy| &policy.allow_methods), asked));
        add("allow-headers", all_or(text(|policy| &policy.allow_headers), asked_headers));
        add("max-age", text(|policy| &policy.max_age));
    } else if allowed {
        add("expose-headers", text(|policy| &policy.expose_headers));
    }
    Cors { origin, allowed, preflight, answered, headers }
}
