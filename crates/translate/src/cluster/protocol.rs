//! What a cluster speaks to its endpoints (Istio: core/cluster_builder.go, core/cluster_traffic_policy.go).

use std::collections::BTreeMap;

use meltemi_api::destination_rule::{ConnectionPool, H2UpgradePolicy, HttpPool};
use meltemi_model::rule::Policy;
use meltemi_names::Protocol;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as Common, KeepaliveSettings,
    UpstreamHttpProtocolOptions,
};
use meltemi_proto::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use meltemi_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use meltemi_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, OutlierDetection, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use meltemi_proto::google::protobuf::Any;

use super::tls;
use crate::tls::upstream::Spoken;
use crate::wrap::{duration, seconds, u32_value};

/// `Cluster.typed_extension_protocol_options`.
type Extensions = BTreeMap<String, Any>;

/// Under which name Envoy looks for them.
const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What passes through does so as it came, and idle connections end after five minutes.
pub(super) fn as_downstream_with_idle_timeout(pool: Option<&ConnectionPool>) -> Extensions {
    let limits = limits(pool).unwrap_or_default();
    let idle_timeout = limits.idle_timeout.or(Some(seconds(300)));
    extensions(&HttpProtocolOptions {
        common_http_protocol_options: Some(Common { idle_timeout, ..limits }),
        upstream_protocol_options: Some(as_downstream()),
        ..HttpProtocolOptions::default()
    })
}

/// What a port's connections speak.
pub(crate) fn spoken(protocol: Protocol, pool: Option<&ConnectionPool>, mesh: H2UpgradePolicy) -> Spoken {
    let http = pool.and_then(|pool| pool.http.as_ref());
    if http.is_some_and(|http| http.use_client_protocol) {
        Spoken::Either
    } else if protocol.is_http2() || upgrades(protocol, http, mesh) {
        Spoken::Http2
    } else if protocol == Protocol::Auto {
        Spoken::Either
    } else if protocol.is_http() {
        Spoken::Http1
    } else {
        Spoken::Bytes
    }
}

/// How the name of a TLS server is found where a rule writes none: it is the request's host, and so must be in the certificate, unless a
/// rule says what must be or that nothing must (Istio: core/cluster_tls.go). Bytes name no host.
pub(super) fn server_name(
    policy: &Policy,
    secrets: bool,
    spoken: Spoken,
) -> Option<UpstreamHttpProtocolOptions> {
    let tls = tls::of_rule(policy, secrets).filter(|tls| tls.sni.is_none() && spoken != Spoken::Bytes)?;
    Some(UpstreamHttpProtocolOptions {
        auto_sni: true,
        auto_san_validation: tls.subject_alt_names.is_empty() && !tls.insecure_skip_verify,
        ..UpstreamHttpProtocolOptions::default()
    })
}

/// The options of a port; none where Envoy's defaults (HTTP/1.1, no limits) are right.
pub(super) fn options(
    spoken: Spoken,
    pool: Option<&ConnectionPool>,
    server_name: Option<UpstreamHttpProtocolOptions>,
    failures: Option<OutlierDetection>,
) -> Extensions {
    let http = pool.and_then(|pool| pool.http.as_ref());
    let upstream = match spoken {
        Spoken::Http2 => Some(http2(http)),
        Spoken::Either => Some(as_downstream()),
        Spoken::Http1 | Spoken::Bytes => None,
    };
    let common = limits(pool);
    if upstream.is_none() && common.is_none() && server_name.is_none() && failures.is_none() {
        return Extensions::new();
    }
    extensions(&HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_http_protocol_options: server_name,
        // Envoy wants a protocol beside limits; HTTP/1.1 is what it would speak without.
        upstream_protocol_options: Some(upstream.unwrap_or_else(http1)),
        outlier_detection: failures,
        ..HttpProtocolOptions::default()
    })
}

fn upgrades(protocol: Protocol, http: Option<&HttpPool>, mesh: H2UpgradePolicy) -> bool {
    match http.map(|http| http.h2_upgrade_policy).unwrap_or_default() {
        // Who asks for it at the destination knows that it is HTTP, whatever the port says.
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => mesh == H2UpgradePolicy::Upgrade && protocol.is_http(),
    }
}

fn limits(pool: Option<&ConnectionPool>) -> Option<Common> {
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    let http = pool.and_then(|pool| pool.http.as_ref());
    let idle = http.and_then(|http| http.idle_timeout).or_else(|| tcp.and_then(|tcp| tcp.idle_timeout));
    let common = Common {
        idle_timeout: idle.map(duration),
        max_connection_duration: tcp.and_then(|tcp| tcp.max_connection_duration).map(duration),
        max_requests_per_connection: http
            .map(|http| http.max_requests_per_connection)
            .filter(|&requests| requests > 0)
            .and_then(u32_value),
        ..Common::default()
    };
    (common != Common::default()).then_some(common)
}

fn http1() -> UpstreamProtocolOptions {
    explicit(ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()))
}

fn http2(http: Option<&HttpPool>) -> UpstreamProtocolOptions {
    explicit(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
        max_concurrent_streams: http
            .map(|http| http.max_concurrent_streams)
            .filter(|&streams| streams > 0)
            .and_then(u32_value),
        connection_keepalive: http.and_then(|http| http.http2_keep_alive).map(|written| KeepaliveSettings {
            interval: written.interval.map(duration),
            timeout: written.timeout.map(duration),
            ..KeepaliveSettings::default()
        }),
        ..Http2ProtocolOptions::default()
    }))
}

fn explicit(config: ProtocolConfig) -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
}

fn as_downstream() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(Http2ProtocolOptions::default()),
        ..UseDownstreamHttpConfig::default()
    })
}

fn extensions(options: &HttpProtocolOptions) -> Extensions {
    Extensions::from([(HTTP.to_owned(), pack(options))])
}
