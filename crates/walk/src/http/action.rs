//! What a route does with its request.

use meltemi_proto::envoy::config::core::v3::data_source::Specifier;
use meltemi_proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use meltemi_proto::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use meltemi_proto::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy, HostRewriteSpecifier,
};
use meltemi_proto::envoy::config::route::v3::route_match::PathSpecifier;
use meltemi_proto::envoy::config::route::v3::weighted_cluster::cluster_weight;
use meltemi_proto::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, RouteAction, VirtualHost, route::Action as EnvoyAction,
};
use meltemi_proto::envoy::config::route::v3::{Route, RouteMatch};
use serde::Serialize;

use super::condition::fraction;
use super::domain::without_port;
use super::path;
use crate::cluster::{self, ClusterWay};
use crate::configuration::{Broken, Sent};
use crate::headers::{HeaderChange, changes};
use crate::request::Request;
use crate::seen::{Cause, Seen, SeenShare};
use crate::share::Share;
use crate::text::substituted;
use crate::time::{limit, milliseconds};

/// What a route does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Sends the request on.
    Forward(Box<Forward>),
    /// Sends the client elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u32,
        /// Where to.
        location: String,
    },
    /// Answers.
    Respond {
        /// The status.
        status: u32,
        /// The body, if it is a text.
        body: Option<String>,
    },
    /// Something that the walk does not read.
    Unread {
        /// Its name in Envoy's API.
        field: &'static str,
    },
}

/// A request that is sent on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forward {
    /// To one of these.
    pub destinations: Vec<DestinationWay>,
    /// Copies, whose answers nobody sees.
    pub mirrors: Vec<Mirror>,
    /// For the whole answer, tries included; none: without end.
    pub timeout_ms: Option<u64>,
    /// How long the exchange may be silent, where the route says so; none: as the connection manager says.
    pub idle_timeout_ms: Option<u64>,
    /// Further tries.
    pub retry: Option<Retry>,
    /// The path that is sent on, where it is another one.
    pub path: Option<String>,
    /// The host that is sent on, where it is another one.
    pub authority: Option<String>,
    /// By what the endpoint is chosen, where the cluster's balancing hashes.
    pub hashed_by: Vec<String>,
}

/// One of the clusters that a request may go to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DestinationWay {
    /// How many requests.
    pub share: Share,
    /// As configured; none where there is no choice.
    pub weight: Option<u32>,
    /// Where to.
    pub cluster: ClusterWay,
    /// Changes of the request's headers, for this destination alone.
    pub request_headers: Vec<HeaderChange>,
    /// Changes of the response's headers, for this destination alone.
    pub response_headers: Vec<HeaderChange>,
    /// The host that is sent on, where it is another one for this destination.
    pub authority: Option<String>,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mirror {
    /// Of how many requests.
    pub share: Share,
    /// Where to.
    pub cluster: ClusterWay,
}

/// Further tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// How many after the first.
    pub attempts: u32,
    /// After what.
    pub on: Vec<String>,
    /// After which statuses, where `on` has `retriable-status-codes`.
    pub statuses: Vec<u32>,
    /// For each try; none: as for all.
    pub per_try_timeout_ms: Option<u64>,
    /// An endpoint that was tried is avoided.
    pub avoids_tried_endpoints: bool,
    /// A priority that was tried is avoided.
    pub avoids_tried_priorities: bool,
    /// The shortest pause; none: Envoy's 25 ms.
    pub back_off_ms: Option<u64>,
}

/// Envoy's.
const TIMEOUT_MS: u64 = 15_000;

/// What the route does, and what the client sees of it.
pub(crate) fn of(
    sent: Sent<'_>,
    virtual_host: &VirtualHost,
    route: &Route,
    request: &Request,
) -> Result<(Action, Vec<SeenShare>), Broken> {
    let none = RouteMatch::default();
    let matching = route.r#match.as_ref().unwrap_or(&none);
    match &route.action {
        Some(EnvoyAction::Route(action)) => forward(sent, virtual_host, action, matching, request),
        Some(EnvoyAction::Redirect(action)) => {
            let status = status_of(action);
            let location = location(action, matching, request);
            let seen = Seen::status(status, "-", Cause::Redirect).always();
            Ok((Action::Redirect { status, location }, seen))
        }
        Some(EnvoyAction::DirectResponse(action)) => {
            let seen = Seen::status(action.status, "-", Cause::DirectResponse).always();
            Ok((Action::Respond { status: action.status, body: body(action) }, seen))
        }
        Some(EnvoyAction::FilterAction(_)) => {
            Ok((Action::Unread { field: "filter_action" }, Seen::Unknown.always()))
        }
        Some(EnvoyAction::NonForwardingAction(_)) => {
            Ok((Action::Unread { field: "non_forwarding_action" }, Seen::Unknown.always()))
        }
        None => Ok((Action::Unread { field: "action" }, Seen::Unknown.always())),
    }
}

fn forward(
    sent: Sent<'_>,
    virtual_host: &VirtualHost,
    action: &RouteAction,
    matching: &RouteMatch,
    request: &Request,
) -> Result<(Action, Vec<SeenShare>), Broken> {
    let unknown_status = match ClusterNotFoundResponseCode::try_from(action.cluster_not_found_response_code) {
        Ok(ClusterNotFoundResponseCode::NotFound) => 404,
        Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
        _ => 503,
    };
    let (mut destinations, mut seen) = (Vec::new(), Vec::new());
    let mut add = |share: Share, weight, name: &str| -> Result<(), Broken> {
        let (cluster, cause) = cluster::of(sent, name)?;
        seen.push(SeenShare { share, seen: cluster::seen(name, cause, unknown_status) });
        destinations.push(DestinationWay {
            share,
            weight,
            cluster,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            authority: None,
        });
        Ok(())
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => add(Share::ALL, None, name)?,
        Some(ClusterSpecifier::ClusterHeader(header)) => {
            add(Share::ALL, None, &request.header(header).unwrap_or_default())?;
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let weight = |found: &Option<meltemi_proto::google::protobuf::UInt32Value>| {
                found.as_ref().map_or(0, |found| found.value)
            };
            let whole: u64 = weighted.clusters.iter().map(|one| u64::from(weight(&one.weight))).sum();
            for one in &weighted.clusters {
                let own = weight(&one.weight);
                let of_header = || request.header(&one.cluster_header).unwrap_or_default();
                let name = if one.name.is_empty() { of_header() } else { one.name.clone() };
                add(Share::of(u64::from(own), whole), Some(own), &name)?;
            }
            for (way, one) in destinations.iter_mut().zip(&weighted.clusters) {
                way.request_headers = changes(&one.request_headers_to_add, &one.request_headers_to_remove);
                way.response_headers = changes(&one.response_headers_to_add, &one.response_headers_to_remove);
                way.authority = one.host_rewrite_specifier.as_ref().map(|rewrite| {
                    let cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host) = rewrite;
                    host.clone()
                });
            }
        }
        Some(
            ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
        ) => {
            return Ok((Action::Unread { field: "cluster_specifier_plugin" }, Seen::Unknown.always()));
        }
        None => return Ok((Action::Unread { field: "cluster_specifier" }, Seen::Unknown.always())),
    }
    let mut mirrors = Vec::new();
    let policies = if action.request_mirror_policies.is_empty() {
        &virtual_host.request_mirror_policies
    } else {
        &action.request_mirror_policies
    };
    for policy in policies {
        let share = policy.runtime_fraction.as_ref().map_or(Share::ALL, fraction);
        let (cluster, _) = cluster::of(sent, &policy.cluster)?;
        mirrors.push(Mirror { share, cluster });
    }
    let forward = Forward {
        destinations,
        mirrors,
        timeout_ms: match &action.timeout {
            Some(span) => limit(Some(span)),
            None => Some(TIMEOUT_MS),
        },
        idle_timeout_ms: limit(action.idle_timeout.as_ref()),
        retry: action.retry_policy.as_ref().or(virtual_host.retry_policy.as_ref()).map(retry),
        path: rewritten(action, matching, &request.path).filter(|path| *path != request.path),
        authority: authority(action, request),
        hashed_by: action.hash_policy.iter().map(hashed_by).collect(),
    };
    Ok((Action::Forward(Box::new(forward)), seen))
}

fn retry(policy: &RetryPolicy) -> Retry {
    Retry {
        attempts: policy.num_retries.as_ref().map_or(1, |attempts| attempts.value),
        on: policy
            .retry_on
            .split(',')
            .map(str::trim)
            .filter(|on| !on.is_empty())
            .map(str::to_owned)
            .collect(),
        statuses: policy.retriable_status_codes.clone(),
        per_try_timeout_ms: limit(policy.per_try_timeout.as_ref()),
        avoids_tried_endpoints: policy
            .retry_host_predicate
            .iter()
            .any(|predicate| predicate.name == "envoy.retry_host_predicates.previous_hosts"),
        avoids_tried_priorities: policy.retry_priority.is_some(),
        back_off_ms: policy
            .retry_back_off
            .as_ref()
            .and_then(|pause| pause.base_interval.as_ref())
            .map(milliseconds),
    }
}

fn hashed_by(policy: &HashPolicy) -> String {
    match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => format!("header {}", header.header_name),
        Some(PolicySpecifier::Cookie(cookie)) => format!("cookie {}", cookie.name),
        Some(PolicySpecifier::ConnectionProperties(_)) => "source address".to_owned(),
        Some(PolicySpecifier::QueryParameter(parameter)) => format!("query parameter {}", parameter.name),
        Some(PolicySpecifier::FilterState(state)) => format!("filter state {}", state.key),
        None => String::new(),
    }
}

fn authority(action: &RouteAction, request: &Request) -> Option<String> {
    match action.host_rewrite_specifier.as_ref()? {
        HostRewriteSpecifier::HostRewriteLiteral(host) | HostRewriteSpecifier::HostRewrite(host) => {
            Some(host.clone())
        }
        HostRewriteSpecifier::HostRewriteHeader(header) => request.header(header),
        HostRewriteSpecifier::HostRewritePathRegex(rewrite) => {
            let pattern = &rewrite.pattern.as_ref()?.regex;
            substituted(pattern, &rewrite.substitution, path::bare(&request.path))
        }
        // It is the chosen endpoint's name.
        HostRewriteSpecifier::AutoHostRewrite(_) => None,
    }
}

/// The path that is sent on. What was matched is replaced: the prefix, or else the whole path.
fn rewritten(action: &RouteAction, matching: &RouteMatch, full: &str) -> Option<String> {
    let (own, query) = (path::bare(full), path::query(full));
    if !action.prefix_rewrite.is_empty() {
        return Some(format!("{}{query}", replaced(matching, own, &action.prefix_rewrite)));
    }
    let rewrite = action.regex_rewrite.as_ref()?;
    let new = substituted(&rewrite.pattern.as_ref()?.regex, &rewrite.substitution, own)?;
    Some(format!("{new}{query}"))
}

fn replaced(matching: &RouteMatch, own: &str, by: &str) -> String {
    let matched = match &matching.path_specifier {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => prefix.len(),
        _ => own.len(),
    };
    format!("{by}{}", own.get(matched..).unwrap_or_default())
}

fn status_of(action: &RedirectAction) -> u32 {
    match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        _ => 301,
    }
}

fn location(action: &RedirectAction, matching: &RouteMatch, request: &Request) -> String {
    let scheme = match &action.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https",
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) if !scheme.is_empty() => scheme,
        _ => &request.scheme,
    };
    let port = if action.port_redirect == 0 { String::new() } else { format!(":{}", action.port_redirect) };
    let host = if action.host_redirect.is_empty() {
        let own = &request.authority;
        let bare = without_port(own);
        // A port that is the old scheme's own goes with the scheme.
        let usual = |scheme: &str| if scheme == "https" { ":443" } else { ":80" };
        let changes_scheme = scheme != request.scheme && own[bare.len()..] == *usual(&request.scheme);
        if !port.is_empty() || changes_scheme { bare } else { own }
    } else {
        &action.host_redirect
    };
    let (own, query) = (path::bare(&request.path), path::query(&request.path));
    let path = match &action.path_rewrite_specifier {
        // A new path with a query of its own loses the old one.
        Some(PathRewriteSpecifier::PathRedirect(new)) if new.contains('?') => {
            return format!("{scheme}://{host}{port}{new}");
        }
        Some(PathRewriteSpecifier::PathRedirect(new)) if !new.is_empty() => new.clone(),
        Some(PathRewriteSpecifier::PrefixRewrite(new)) => replaced(matching, own, new),
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => rewrite
            .pattern
            .as_ref()
            .and_then(|pattern| substituted(&pattern.regex, &rewrite.substitution, own))
            .unwrap_or_else(|| own.to_owned()),
        _ => own.to_owned(),
    };
    let query = if action.strip_query { "" } else { query };
    format!("{scheme}://{host}{port}{path}{query}")
}

fn body(action: &DirectResponseAction) -> Option<String> {
    match action.body.as_ref()?.specifier.as_ref()? {
        Specifier::InlineString(text) => Some(text.clone()),
        Specifier::InlineBytes(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    }
}
