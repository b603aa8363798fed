//! A cluster: how endpoints are found and chosen, what limits it has, what it speaks.

use meltemi_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy,
};
use meltemi_proto::envoy::config::cluster::v3::{Cluster, OutlierDetection};
use meltemi_proto::envoy::config::common::matcher::v3::MatchPredicate;
use meltemi_proto::envoy::config::common::matcher::v3::match_predicate::Rule;
use meltemi_proto::envoy::config::core::v3::{Metadata, RoutingPriority};
use meltemi_proto::envoy::config::route::v3::HeaderMatcher;
use meltemi_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use meltemi_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use meltemi_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use meltemi_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use meltemi_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meltemi_proto::google::protobuf::{Struct, UInt32Value, value};
use serde::Serialize;

use crate::configuration::{Broken, Sent, opened};
use crate::endpoint::{self, Chosen, EndpointWay, Sockets};
use crate::http::domain::without_port;
use crate::listener::bracketed;
use crate::seen::{Cause, Seen};
use crate::share::Share;
use crate::socket::UpstreamSocket;
use crate::time::{limit, milliseconds};

/// A cluster, as a request meets it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterWay {
    /// Its name.
    pub name: String,
    /// There is one of that name; else nothing below is known.
    pub exists: bool,
    /// How its endpoints are found: `eds`, `static`, `strict_dns`, `logical_dns`, `original_dst`, `dynamic_dns` (of the name that is called), `custom`.
    pub discovery: &'static str,
    /// The object that its policy comes from, as a path at the API server (metadata `istio.config`).
    pub object: Option<String>,
    /// The subset that it stands for (metadata `istio.subset`).
    pub subset: Option<String>,
    /// The hosts that it stands for (metadata `istio.services`).
    pub hosts: Vec<String>,
    /// How an endpoint is chosen: `round_robin`, `least_request`, ...
    pub balancing: &'static str,
    /// What is spoken to the endpoints: `http1`, `http2`, `as_client`, `negotiated`.
    pub protocol: &'static str,
    /// How long a connection may take.
    pub connect_timeout_ms: u64,
    /// An unused connection is closed after that; none: Envoy's hour, or none at all.
    pub idle_timeout_ms: Option<u64>,
    /// Circuit breakers.
    pub limits: Limits,
    /// When an endpoint is set aside.
    pub outliers: Option<Outliers>,
    /// So few endpoints are healthy that health is not looked at.
    pub panic: bool,
    /// Its endpoints, in the order of the configuration.
    pub endpoints: Vec<EndpointWay>,
}

/// What a cluster takes at most; none: without a limit that anybody meets (Envoy's own default of 1024 is written out).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Connections.
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    pub pending_requests: Option<u32>,
    /// Requests at once.
    pub requests: Option<u32>,
    /// Retries at once; none also where a budget counts instead.
    pub retries: Option<u32>,
    /// Retries in proportion to requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Requests on one connection.
    pub requests_per_connection: Option<u32>,
}

/// Retries in proportion to the requests that are under way or wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RetryBudget {
    /// Of these requests.
    pub percent: f64,
    /// So many retries at once are always allowed.
    pub at_least: u32,
}

/// Outlier detection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outliers {
    /// So many answers of 500 and above in a row set an endpoint aside; none: they do not.
    pub consecutive_5xx: Option<u32>,
    /// So many answers of 502, 503 and 504 in a row do.
    pub consecutive_gateway_failures: Option<u32>,
    /// How often is looked.
    pub interval_ms: u64,
    /// How long the first time.
    pub ejection_ms: u64,
    /// Of all endpoints at most.
    pub max_ejection_percent: u32,
    /// The statuses that count instead of 500 and above; empty: those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u32>,
}

/// Envoy's.
const LIMIT: u32 = 1024;
const RETRY_LIMIT: u32 = 3;
const BUDGET_PERCENT: f64 = 20.0;
const CONNECT_TIMEOUT_MS: u64 = 5000;

/// The one endpoint of a cluster that has none of its own: where the connection was to go, or the name that was called leads.
fn sole(cluster: &Cluster, address: impl FnOnce(&UpstreamSocket) -> String) -> Result<EndpointWay, Broken> {
    let Chosen { by: socket_match, socket, proxy_protocol } = Sockets::of(cluster)?.choose(None, None);
    Ok(EndpointWay {
        address: address(&socket),
        health: "healthy",
        priority: 0,
        locality: None,
        weight: 1,
        share: Some(Share::ALL),
        socket,
        proxy_protocol,
        socket_match,
    })
}

/// The cluster of that name; and why the client of a request to it gets no answer of an endpoint.
pub(crate) fn of(sent: Sent<'_>, name: &str) -> Result<(ClusterWay, Option<Cause>), Broken> {
    let Some(cluster) = sent.configuration.cluster(name)? else {
        return Ok((unknown(name), Some(Cause::UnknownCluster)));
    };
    let mut way = described(&cluster)?;
    let inline = || cluster.load_assignment.clone().unwrap_or_default();
    let assignment = match way.discovery {
        "original_dst" => {
            // Who connects to the listener's own socket wants to go nowhere else.
            let Some(destination) = sent.restored else { return Ok((way, Some(Cause::NoEndpoint))) };
            let address = destination.address.map(|address| address.to_string());
            let port = overridden(&cluster).unwrap_or(destination.port.into());
            let called = address.map(|address| format!("{}:{port}", bracketed(&address)));
            way.endpoints = vec![sole(&cluster, |_| called.unwrap_or_default())?];
            return Ok((way, None));
        }
        "dynamic_dns" => {
            let Some(called) = sent.called else { return Ok((way, Some(Cause::NoEndpoint))) };
            let host = without_port(called.host);
            let written = called.host.strip_prefix(host).and_then(|rest| rest.strip_prefix(':'));
            let port = written.and_then(|port| port.parse().ok()).or(called.port);
            way.endpoints = vec![sole(&cluster, |socket| {
                let usual = || if *socket == UpstreamSocket::Plaintext { 80 } else { 443 };
                format!("{host}:{}", port.unwrap_or_else(usual))
            })?];
            return Ok((way, None));
        }
        "eds" => {
            let asked = cluster.eds_cluster_config.as_ref().map(|eds| eds.service_name.as_str());
            let asked = asked.filter(|name| !name.is_empty()).unwrap_or(name);
            sent.configuration.assignment(asked)?.unwrap_or_default()
        }
        _ => inline(),
    };
    (way.endpoints, way.panic) = endpoint::of(&cluster, &assignment)?;
    let threshold = cluster
        .common_lb_config
        .as_ref()
        .and_then(|common| common.healthy_panic_threshold.as_ref())
        .map(|percent| percent.value);
    let cause = (!endpoint::takes_requests(&assignment, threshold)).then_some(Cause::NoEndpoint);
    Ok((way, cause))
}

/// The port that connections go to, whatever they were for.
fn overridden(cluster: &Cluster) -> Option<u32> {
    match &cluster.lb_config {
        Some(LbConfig::OriginalDstLbConfig(config)) => {
            config.upstream_port_override.as_ref().map(|port| port.value)
        }
        _ => None,
    }
}

/// What a request that is sent to the cluster sees.
pub(crate) fn seen(name: &str, cause: Option<Cause>, unknown_status: u32) -> Seen {
    match cause {
        None => Seen::Endpoint { cluster: name.to_owned() },
        Some(Cause::UnknownCluster) => Seen::status(unknown_status, "NC", Cause::UnknownCluster),
        Some(cause) => Seen::status(503, "UH", cause),
    }
}

/// What a connection that is sent to the cluster sees.
pub(crate) fn seen_by_connection(name: &str, cause: Option<Cause>) -> Seen {
    match cause {
        None => Seen::Endpoint { cluster: name.to_owned() },
        Some(Cause::UnknownCluster) => Seen::closed("NC", Cause::UnknownCluster),
        Some(cause) => Seen::closed("UH", cause),
    }
}

fn unknown(name: &str) -> ClusterWay {
    ClusterWay {
        name: name.to_owned(),
        exists: false,
        discovery: "",
        object: None,
        subset: None,
        hosts: Vec::new(),
        balancing: "",
        protocol: "",
        connect_timeout_ms: 0,
        idle_timeout_ms: None,
        limits: Limits::default(),
        outliers: None,
        panic: false,
        endpoints: Vec::new(),
    }
}

#[allow(deprecated, reason = "configurations that are read may still use the older fields")]
fn described(cluster: &Cluster) -> Result<ClusterWay, Broken> {
    let options = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS);
    let options = opened::<HttpProtocolOptions>(options, || format!("cluster {}", cluster.name))?;
    let common = options.as_ref().and_then(|options| options.common_http_protocol_options.as_ref());
    let text = |field: &str| istio(cluster.metadata.as_ref(), field);
    Ok(ClusterWay {
        name: cluster.name.clone(),
        exists: true,
        discovery: match cluster.cluster_discovery_type {
            Some(ClusterDiscoveryType::Type(kind)) => match DiscoveryType::try_from(kind) {
                Ok(DiscoveryType::Eds) => "eds",
                Ok(DiscoveryType::StrictDns) => "strict_dns",
                Ok(DiscoveryType::LogicalDns) => "logical_dns",
                Ok(DiscoveryType::OriginalDst) => "original_dst",
                _ => "static",
            },
            Some(ClusterDiscoveryType::ClusterType(ref custom)) if custom.name == DYNAMIC => "dynamic_dns",
            Some(ClusterDiscoveryType::ClusterType(_)) => "custom",
            None => "static",
        },
        object: text("config"),
        subset: text("subset"),
        hosts: hosts(cluster.metadata.as_ref()),
        balancing: match LbPolicy::try_from(cluster.lb_policy) {
            Ok(LbPolicy::LeastRequest) => "least_request",
            Ok(LbPolicy::RingHash) => "ring_hash",
            Ok(LbPolicy::Maglev) => "maglev",
            Ok(LbPolicy::Random) => "random",
            Ok(LbPolicy::ClusterProvided) => "cluster_provided",
            Ok(LbPolicy::LoadBalancingPolicyConfig) => "by_policy",
            _ if cluster.load_balancing_policy.is_some() => "by_policy",
            _ => "round_robin",
        },
        protocol: match options.as_ref().and_then(|options| options.upstream_protocol_options.as_ref()) {
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => match explicit.protocol_config {
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => "http2",
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => "http3",
                _ => "http1",
            },
            Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => "as_client",
            Some(UpstreamProtocolOptions::AutoConfig(_)) => "negotiated",
            None if cluster.http2_protocol_options.is_some() => "http2",
            None => "http1",
        },
        connect_timeout_ms: cluster.connect_timeout.as_ref().map_or(CONNECT_TIMEOUT_MS, milliseconds),
        idle_timeout_ms: limit(common.and_then(|common| common.idle_timeout.as_ref())),
        limits: limits(cluster, common.and_then(|common| common.max_requests_per_connection.as_ref())),
        outliers: cluster.outlier_detection.as_ref().map(|detection| {
            let counted = options.as_ref().and_then(|options| options.outlier_detection.as_ref());
            let statuses = counted.and_then(|counted| counted.error_matcher.as_ref()).map(statuses);
            outliers(detection, statuses.unwrap_or_default())
        }),
        panic: false,
        endpoints: Vec::new(),
    })
}

/// The name of the clusters whose endpoint is the name that is called.
const DYNAMIC: &str = "envoy.clusters.dynamic_forward_proxy";

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn limits(cluster: &Cluster, per_connection: Option<&UInt32Value>) -> Limits {
    let usual = cluster.circuit_breakers.as_ref().and_then(|breakers| {
        breakers.thresholds.iter().find(|found| found.priority == i32::from(RoutingPriority::Default))
    });
    let budget = usual.and_then(|found| found.retry_budget.as_ref());
    let of = |value: Option<&UInt32Value>, usual: u32| {
        Some(value.map_or(usual, |value| value.value)).filter(|limit| *limit < i32::MAX as u32)
    };
    Limits {
        connections: of(usual.and_then(|found| found.max_connections.as_ref()), LIMIT),
        pending_requests: of(usual.and_then(|found| found.max_pending_requests.as_ref()), LIMIT),
        requests: of(usual.and_then(|found| found.max_requests.as_ref()), LIMIT),
        retries: if budget.is_some() {
            None
        } else {
            of(usual.and_then(|found| found.max_retries.as_ref()), RETRY_LIMIT)
        },
        retry_budget: budget.map(|budget| RetryBudget {
            percent: budget.budget_percent.as_ref().map_or(BUDGET_PERCENT, |percent| percent.value),
            at_least: budget.min_retry_concurrency.as_ref().map_or(RETRY_LIMIT, |least| least.value),
        }),
        requests_per_connection: per_connection.map(|value| value.value).filter(|limit| *limit > 0),
    }
}

/// The statuses that a matcher of answers names one by one.
fn statuses(matcher: &MatchPredicate) -> Vec<u32> {
    match &matcher.rule {
        Some(Rule::OrMatch(set)) => set.rules.iter().flat_map(statuses).collect(),
        Some(Rule::HttpResponseHeadersMatch(headers)) => {
            let status = |header: &HeaderMatcher| match &header.header_match_specifier {
                Some(HeaderMatchSpecifier::StringMatch(text)) if header.name == ":status" => {
                    match &text.match_pattern {
                        Some(MatchPattern::Exact(text)) => text.parse().ok(),
                        _ => None,
                    }
                }
                _ => None,
            };
            headers.headers.iter().filter_map(status).collect()
        }
        _ => Vec::new(),
    }
}

fn outliers(detection: &OutlierDetection, statuses: Vec<u32>) -> Outliers {
    let value = |found: &Option<UInt32Value>, usual: u32| found.as_ref().map_or(usual, |found| found.value);
    let counted =
        |found: &Option<UInt32Value>, enforcing: &Option<UInt32Value>, usual: u32, enforced: u32| {
            Some(value(found, usual)).filter(|count| *count > 0 && value(enforcing, enforced) > 0)
        };
    Outliers {
        consecutive_5xx: counted(&detection.consecutive_5xx, &detection.enforcing_consecutive_5xx, 5, 100),
        consecutive_gateway_failures: counted(
            &detection.consecutive_gateway_failure,
            &detection.enforcing_consecutive_gateway_failure,
            5,
            0,
        ),
        interval_ms: detection.interval.as_ref().map_or(10_000, milliseconds),
        ejection_ms: detection.base_ejection_time.as_ref().map_or(30_000, milliseconds),
        max_ejection_percent: value(&detection.max_ejection_percent, 10),
        statuses,
    }
}

fn fields(metadata: Option<&Metadata>) -> Option<&Struct> {
    metadata?.filter_metadata.get("istio")
}

/// A text of metadata `istio`.
pub(crate) fn istio(metadata: Option<&Metadata>, field: &str) -> Option<String> {
    match &fields(metadata)?.fields.get(field)?.kind {
        Some(value::Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}

fn hosts(metadata: Option<&Metadata>) -> Vec<String> {
    let list = fields(metadata).and_then(|fields| fields.fields.get("services"));
    let Some(value::Kind::ListValue(list)) = list.and_then(|list| list.kind.as_ref()) else {
        return Vec::new();
    };
    let host = |service: &meltemi_proto::google::protobuf::Value| match &service.kind {
        Some(value::Kind::StructValue(service)) => match &service.fields.get("host")?.kind {
            Some(value::Kind::StringValue(host)) => Some(host.clone()),
            _ => None,
        },
        _ => None,
    };
    list.values.iter().filter_map(host).collect()
}
