//! The HTTP connection manager: the network filter that takes a connection apart into requests.
//!
//! Knows Envoy's messages and Istio's defaults for sidecars. Must not know services: routes are given. Invariant: only filters that a
//! stock Envoy has, in Istio's order.

use meltemi_api::mesh_config::{ForwardClientCert, GatewayTopology, Normalization};
use meltemi_catalog::ResourceName;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, Http1ProtocolOptions, Http2ProtocolOptions,
    config_source::ConfigSourceSpecifier,
};
use meltemi_proto::envoy::config::listener::v3::{Filter, filter};
use meltemi_proto::envoy::config::route::v3::RouteConfiguration;
use meltemi_proto::envoy::extensions::filters::http::{
    cors::v3::Cors,
    fault::v3::HttpFault,
    grpc_stats::v3::{FilterConfig as GrpcStats, filter_config::PerMethodStatSpecifier},
    grpc_web::v3::GrpcWeb,
    router::v3::Router,
};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, RequestIdExtension,
    http_connection_manager::{
        ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails,
        UpgradeConfig,
    },
    http_filter,
};
use meltemi_proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use meltemi_proto::google::protobuf::{Any, BoolValue};

use super::settings::Logs;

/// What differs from one connection manager to the next.
#[derive(Debug)]
pub(crate) struct HttpManager<'a> {
    /// The prefix of its statistics, without the `;` that ends it.
    pub(crate) stat_prefix: &'a str,
    /// Translates gRPC-Web.
    pub(crate) grpc_web: bool,
    /// What of a path is made regular before it is looked at.
    pub(crate) paths: Normalization,
    /// Where it logs and counts.
    pub(crate) logs: &'a Logs,
}

impl HttpManager<'_> {
    /// For requests of the workload: routes come by name.
    pub(crate) fn outbound(&self, route: &ResourceName, http10: bool) -> Filter {
        let http1 = Http1ProtocolOptions { accept_http_10: true, ..Http1ProtocolOptions::default() };
        pack_filter(&HttpConnectionManager {
            http_protocol_options: http10.then_some(http1),
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                route_config_name: route.to_string(),
                config_source: Some(from_ads()),
            })),
            ..self.common()
        })
    }

    /// For requests from outside the mesh: nobody before the gateway is believed but those who are said to stand there (Istio:
    /// core/gateway.go, `buildGatewayConnectionManager`).
    pub(crate) fn gateway(&self, route: &str, http10: bool, topology: &GatewayTopology) -> Filter {
        let (forward, shows_client) = forwarded(topology.forward_client_cert_details);
        let http1 = Http1ProtocolOptions { accept_http_10: http10, ..Http1ProtocolOptions::default() };
        pack_filter(&HttpConnectionManager {
            server_name: "istio-envoy".to_owned(),
            use_remote_address: Some(BoolValue { value: true }),
            xff_num_trusted_hops: topology.num_trusted_proxies,
            forward_client_cert_details: forward.into(),
            set_current_client_cert_details: shows_client.then(|| SetCurrentClientCertDetails {
                subject: Some(BoolValue { value: true }),
                cert: true,
                uri: true,
                dns: true,
                ..SetCurrentClientCertDetails::default()
            }),
            http_protocol_options: Some(http1),
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                route_config_name: route.to_owned(),
                config_source: Some(from_ads()),
            })),
            ..self.common()
        })
    }

    /// For requests to the workload: routes are given.
    pub(crate) fn inbound(&self, routes: RouteConfiguration, http2: bool) -> Filter {
        pack_filter(&HttpConnectionManager {
            // The name that Istio's clients know its sidecars by (Istio: pilot/pkg/networking/core/listener_inbound.go).
            server_name: "istio-envoy".to_owned(),
            forward_client_cert_details: ForwardClientCertDetails::AppendForward.into(),
            set_current_client_cert_details: Some(SetCurrentClientCertDetails {
                subject: Some(BoolValue { value: true }),
                uri: true,
                dns: true,
                ..SetCurrentClientCertDetails::default()
            }),
            http2_protocol_options: http2.then(Http2ProtocolOptions::default),
            route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
            ..self.common()
        })
    }

    /// What Istio sets for every sidecar (Istio: pilot/pkg/networking/core/listener_builder.go).
    fn common(&self) -> HttpConnectionManager {
        HttpConnectionManager {
            stat_prefix: format!("{};", self.stat_prefix),
            http_filters: self.http_filters(),
            access_log: self.logs.http.clone(),
            tracing: self.logs.tracing.clone(),
            use_remote_address: Some(BoolValue { value: false }),
            normalize_path: Some(BoolValue { value: self.paths != Normalization::None }),
            merge_slashes: self.paths >= Normalization::MergeSlashes,
            path_with_escaped_slashes_action: if self.paths == Normalization::DecodeAndMergeSlashes {
                PathWithEscapedSlashesAction::UnescapeAndForward.into()
            } else {
                PathWithEscapedSlashesAction::KeepUnchanged.into()
            },
            // No limit but the route's own: Envoy's 5 minutes would cut long polls.
            stream_idle_timeout: Some(prost_types::Duration::default()),
            upgrade_configs: vec![UpgradeConfig {
                upgrade_type: "websocket".to_owned(),
                ..UpgradeConfig::default()
            }],
            proxy_100_continue: true,
            request_id_extension: Some(RequestIdExtension {
                typed_config: Some(pack(&UuidRequestIdConfig {
                    use_request_id_for_trace_sampling: Some(BoolValue { value: self.logs.by_request_id }),
                    ..UuidRequestIdConfig::default()
                })),
            }),
            ..HttpConnectionManager::default()
        }
    }

    fn http_filters(&self) -> Vec<HttpFilter> {
        let grpc_stats = GrpcStats {
            emit_filter_state: true,
            per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(BoolValue {
                value: false,
            })),
            ..GrpcStats::default()
        };
        let mut filters = Vec::with_capacity(5);
        if self.grpc_web {
            filters.push(http_filter("envoy.filters.http.grpc_web", pack(&GrpcWeb::default())));
        }
        filters.push(http_filter("envoy.filters.http.grpc_stats", pack(&grpc_stats)));
        // Fault and cors do nothing here: routes set them.
        filters.push(http_filter("envoy.filters.http.fault", pack(&HttpFault::default())));
        filters.push(http_filter("envoy.filters.http.cors", pack(&Cors::default())));
        filters.push(http_filter("envoy.filters.http.router", pack(&Router::default())));
        filters
    }
}

/// What becomes of what is said of the client's certificate, and whether the client's own is said.
fn forwarded(written: ForwardClientCert) -> (ForwardClientCertDetails, bool) {
    match written {
        ForwardClientCert::Sanitize => (ForwardClientCertDetails::Sanitize, false),
        ForwardClientCert::ForwardOnly => (ForwardClientCertDetails::ForwardOnly, false),
        ForwardClientCert::AppendForward => (ForwardClientCertDetails::AppendForward, true),
        ForwardClientCert::Undefined | ForwardClientCert::SanitizeSet => {
            (ForwardClientCertDetails::SanitizeSet, true)
        }
        ForwardClientCert::AlwaysForwardOnly => (ForwardClientCertDetails::AlwaysForwardOnly, false),
    }
}

fn pack_filter(manager: &HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(manager))),
    }
}

fn http_filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

/// Over the stream that the listener itself came by. No limit on waiting for the first answer: a listener without its routes would
/// answer 404.
fn from_ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(prost_types::Duration::default()),
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())),
        ..ConfigSource::default()
    }
}
