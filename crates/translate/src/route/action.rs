//! What a route does with its request: sends it on, redirects it, or answers.

use meltemi_api::virtual_service::{
    DerivePort, Destination, DirectResponse, HttpDestination, HttpRoute, Redirect, Rewrite, UriRewrite,
};
use meltemi_names::Port;
use meltemi_proto::envoy::config::core::v3::{DataSource, data_source};
use meltemi_proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use meltemi_proto::envoy::config::route::v3::route::Action;
use meltemi_proto::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use meltemi_proto::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use meltemi_proto::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RouteAction, WeightedCluster,
};
use meltemi_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::body::Clusters;
use super::http_route::Rule;
use super::{hash, headers, retry, wire};
use crate::wrap::{duration, u32_value};

impl Rule<'_> {
    /// Sends the request to one of the destinations.
    pub(super) fn forward(
        &self,
        route: &HttpRoute,
        destinations: &[HttpDestination],
        clusters: &mut Clusters,
    ) -> Action {
        let cluster_specifier = match destinations {
            // Of one destination the weight is not read.
            [only] => ClusterSpecifier::Cluster(self.cluster(&only.destination, clusters)),
            many => {
                // Envoy takes a sum of 32 bits.
                let sum: u64 = many.iter().map(|weighted| u64::from(weighted.weight)).sum();
                let scale = sum / u64::from(u32::MAX) + 1;
                let weighted: Vec<ClusterWeight> = many
                    .iter()
                    .map(|weighted| (weighted, u64::from(weighted.weight) / scale))
                    .filter(|(_, weight)| *weight > 0)
                    .map(|(weighted, weight)| {
                        self.weighted(weighted, u32::try_from(weight).unwrap_or(u32::MAX), clusters)
                    })
                    .collect();
                if weighted.is_empty() {
                    // Envoy refuses a choice among nothing, and with it all else that comes in one response.
                    return Action::DirectResponse(DirectResponseAction {
                        status: 503,
                        ..DirectResponseAction::default()
                    });
                }
                ClusterSpecifier::WeightedClusters(WeightedCluster {
                    clusters: weighted,
                    ..WeightedCluster::default()
                })
            }
        };
        let mut hash_policy = Vec::new();
        for HttpDestination { destination, .. } in destinations {
            let host = self.host(&destination.host);
            let port = self.port_of(destination, &host);
            let policy = hash::policy(self.read, self.hash_rules, &host, port, destination.subset.as_deref());
            hash_policy.extend(policy.filter(|policy| !hash_policy.contains(policy)));
        }
        let hashed = destinations.len() == 1 && !hash_policy.is_empty();
        let timeout = route.timeout.map_or(wire::NO_TIME, duration);
        let rewrite = route.rewrite.as_ref();
        let only = match destinations {
            [only] => only.headers.request.authority(),
            _ => None,
        };
        let authority = rewrite
            .and_then(|rewrite| rewrite.authority.as_deref())
            .or_else(|| route.headers.request.authority())
            .or(only);
        let (prefix_rewrite, regex_rewrite) = path_rewrite(rewrite);
        #[allow(
            deprecated,
            reason = "as Istio: without it a client's grpc-timeout header is bounded by Envoy's own default"
        )]
        let action = RouteAction {
            cluster_specifier: Some(cluster_specifier),
            timeout: Some(timeout),
            max_grpc_timeout: Some(timeout),
            retry_policy: retry::policy(route.retries.as_ref(), self.default_retries, hashed),
            prefix_rewrite,
            regex_rewrite,
            host_rewrite_specifier: authority
                .map(|authority| HostRewriteSpecifier::HostRewriteLiteral(authority.to_owned())),
            request_mirror_policies: route
                .mirrors()
                .map(|(destination, share)| RequestMirrorPolicy {
                    cluster: self.cluster(destination, clusters),
                    runtime_fraction: Some(wire::runtime_share(share)),
                    trace_sampled: Some(wire::boolean(false)),
                    disable_shadow_host_suffix_append: true,
                    ..RequestMirrorPolicy::default()
                })
                .collect(),
            hash_policy,
            ..RouteAction::default()
        };
        Action::Route(action)
    }

    fn weighted(&self, weighted: &HttpDestination, weight: u32, clusters: &mut Clusters) -> ClusterWeight {
        let change = &weighted.headers;
        ClusterWeight {
            name: self.cluster(&weighted.destination, clusters),
            weight: u32_value(weight),
            request_headers_to_add: headers::added(&change.request),
            request_headers_to_remove: headers::removed(&change.request),
            response_headers_to_add: headers::added(&change.response),
            response_headers_to_remove: headers::removed(&change.response),
            host_rewrite_specifier: change.request.authority().map(|authority| {
                cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(authority.to_owned())
            }),
            ..ClusterWeight::default()
        }
    }

    fn cluster(&self, destination: &Destination, clusters: &mut Clusters) -> String {
        let host = self.host(&destination.host);
        let port = self.port_of(destination, &host);
        clusters.name(crate::resource_names::outbound_cluster(port, destination.subset.as_deref(), &host))
    }
}

fn path_rewrite(rewrite: Option<&Rewrite>) -> (String, Option<RegexMatchAndSubstitute>) {
    match rewrite.and_then(Rewrite::of_uri) {
        None => (String::new(), None),
        // Envoy replaces the matched prefix; where the whole path was matched, the whole path.
        Some(UriRewrite::Replace(path)) => (path.to_owned(), None),
        Some(UriRewrite::Regex(regex)) => (
            String::new(),
            Some(RegexMatchAndSubstitute {
                pattern: Some(wire::regex(&regex.pattern)),
                substitution: regex.rewrite.clone(),
            }),
        ),
    }
}

/// Sends the client elsewhere; `port` is the one that the request came to, by TLS or not.
pub(super) fn redirect(redirect: &Redirect, port: Port, https: bool) -> Action {
    let asked =
        redirect.port.or_else(|| (redirect.derive_port == Some(DerivePort::FromRequestPort)).then_some(port));
    // Requests through sidecars are plain HTTP as far as the proxy sees.
    let scheme = redirect.scheme.as_deref().unwrap_or(if https { "https" } else { "http" });
    let usual = if scheme == "https" { 443 } else { 80 };
    let port_redirect = asked.map_or(0, |port| u32::from(port.number()));
    let code = match redirect.redirect_code.map(meltemi_api::value::HttpStatus::code) {
        Some(302) => RedirectResponseCode::Found,
        Some(303) => RedirectResponseCode::SeeOther,
        Some(307) => RedirectResponseCode::TemporaryRedirect,
        Some(308) => RedirectResponseCode::PermanentRedirect,
        // Validation lets no other code through.
        _ => RedirectResponseCode::MovedPermanently,
    };
    Action::Redirect(RedirectAction {
        host_redirect: redirect.authority.clone().unwrap_or_default(),
        port_redirect: if port_redirect == usual { 0 } else { port_redirect },
        path_rewrite_specifier: path_rewrite_specifier(redirect),
        scheme_rewrite_specifier: redirect.scheme.clone().map(SchemeRewriteSpecifier::SchemeRedirect),
        response_code: code.into(),
        ..RedirectAction::default()
    })
}

fn path_rewrite_specifier(redirect: &Redirect) -> Option<PathRewriteSpecifier> {
    match (&redirect.prefix_rewrite, &redirect.uri) {
        (Some(prefix), _) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.clone())),
        (None, uri) => uri.clone().map(PathRewriteSpecifier::PathRedirect),
    }
}

/// Answers the request.
pub(super) fn direct_response(response: &DirectResponse) -> Action {
    let body = response.body.as_ref().filter(|body| !body.0.is_empty()).map(|body| DataSource {
        specifier: Some(match String::from_utf8(body.0.clone()) {
            Ok(text) => data_source::Specifier::InlineString(text),
            Err(other) => data_source::Specifier::InlineBytes(other.into_bytes()),
        }),
        watched_directory: None,
    });
    let status = wire::final_status(response.status);
    Action::DirectResponse(DirectResponseAction { status, body, ..DirectResponseAction::default() })
}
