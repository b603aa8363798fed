//! `virtualInbound`: the one listener of what is sent to a workload.
//!
//! Knows inbound chains and routes, per class of workloads. Must not know which workload it is, nor its address.

pub mod matches;

use std::sync::Arc;

use meltemi_catalog::{Need, Resource};
use meltemi_model::read::Read;
use meltemi_model::service::ServiceOf;
use meltemi_model::workload::InboundPort;
use meltemi_names::{Port, Protocol, TypeUrl};
use meltemi_proto::envoy::config::core::v3::TrafficDirection;
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use meltemi_proto::envoy::config::route::v3::{
    Decorator, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route,
    route_action, route_match,
};
use meltemi_proto::google::protobuf::BoolValue;

use self::matches::{ChainRow, Mode, rows};
use super::InboundKey;
use super::bind::{Bind, Treatment};
use super::chain::{bind, chain, listener, to_port};
use super::http_manager::HttpManager;
use super::listener_filter::{except, http_inspector, original_dst, tls_inspector};
use super::metrics::Side;
use super::outbound::transparent;
use super::settings::{ListenerSettings, Logs, SettingsOfListeners};
use super::tcp::to_cluster;
use crate::encode::whole;
use crate::metadata;
use crate::resource_names::{BLACK_HOLE, INBOUND_PASSTHROUGH, inbound_cluster};
use crate::wrap::u32_value;

/// No workload has a certificate: whatever a policy allows, plaintext is all that can be spoken.
const MODE: Mode = Mode::Disable;

pub(super) fn virtual_inbound(read: &Read<'_>, key: &InboundKey) -> Arc<Resource> {
    let settings = read.ask(SettingsOfListeners { access_log: key.access_log, metrics: key.metrics });
    let name = "virtualInbound";
    let passthrough = Target::passthrough();
    let to_itself = to_cluster(BLACK_HOLE, &passthrough.logs(key, &settings, false));
    let targets: Vec<Target> = key.ports.iter().map(|port| Target::of(read, port)).collect();
    let mut chains = vec![chain("virtualInbound-blackhole", Some(to_port(settings.inbound_port)), to_itself)];
    chains.extend(passthrough.chains(key, &settings));
    chains.extend(targets.iter().flat_map(|target| target.chains(key, &settings)));
    let without = |inspected: fn(&ChainRow) -> bool| {
        let bare = targets.iter().filter(move |target| !target.rows().iter().any(inspected));
        bare.filter_map(|target| target.port)
    };
    let mut filters = vec![original_dst()];
    let all_rows = std::iter::once(&passthrough).chain(&targets).flat_map(|target| target.rows());
    if all_rows.into_iter().any(ChainRow::tells_tls) {
        filters.push(except(without(ChainRow::tells_tls), tls_inspector()));
    }
    filters.push(except(without(ChainRow::tells_http), http_inspector()));
    let mut message = Listener {
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters: filters,
        listener_filters_timeout: Some(settings.detection_timeout),
        continue_on_listener_filters_timeout: true,
        filter_chains: chains,
        access_log: settings.listener_log.clone(),
        transparent: transparent(key.interception),
        ..listener(name, Bind::Any(key.family).addresses(), settings.inbound_port)
    };
    bind(&mut message, true);
    let clusters = targets.into_iter().map(|target| target.cluster);
    let clusters = clusters.chain([INBOUND_PASSTHROUGH.to_owned(), BLACK_HOLE.to_owned()]);
    let needs = clusters.map(|name| Need { type_url: TypeUrl::Cluster, name: name.into() });
    let origin = key.ports.iter().map(|port| port.service.clone());
    whole(TypeUrl::Listener, name.into(), &message, needs.collect(), origin.collect())
}

/// Where some of what is sent to a workload ends.
struct Target {
    /// The port that the application listens on; none: every port that no service leads to.
    port: Option<Port>,
    cluster: String,
    protocol: Protocol,
    /// The port that callers know it by; 0 where there is none.
    service_port: u16,
    /// What spans are called: `<host>:<port>/*`.
    operation: Option<String>,
    /// What metrics call the service, packed; empty if it is not known.
    metrics_service: String,
}

impl Target {
    fn passthrough() -> Self {
        Self {
            port: None,
            cluster: INBOUND_PASSTHROUGH.to_owned(),
            protocol: Protocol::Auto,
            service_port: 0,
            operation: None,
            metrics_service: meltemi_telemetry::service("", INBOUND_PASSTHROUGH, ""),
        }
    }

    fn of(read: &Read<'_>, port: &InboundPort) -> Self {
        let service = read.ask(ServiceOf(port.service.clone()));
        Self {
            port: Some(port.target),
            cluster: inbound_cluster(port.target).to_string(),
            protocol: port.protocol,
            service_port: port.port.number(),
            operation: service.as_ref().as_ref().map(|service| format!("{}:{}/*", service.host, port.port)),
            metrics_service: service
                .as_ref()
                .as_ref()
                .map(|service| metadata::packed_service(&service.host, &port.service))
                .unwrap_or_default(),
        }
    }

    fn rows(&self) -> &'static [ChainRow] {
        rows(MODE, Treatment::of(self.protocol))
    }

    fn logs(&self, key: &InboundKey, settings: &ListenerSettings, mutual_tls: bool) -> Logs {
        let service = &self.metrics_service;
        settings.inbound(Side::Destination { workload: &key.workload, service, mutual_tls })
    }

    fn chains(&self, key: &InboundKey, settings: &ListenerSettings) -> impl Iterator<Item = FilterChain> {
        // A chain that needs a certificate is left out: such connections are refused, never taken as plaintext.
        let served = self.rows().iter().filter(|row| !row.mutual_tls);
        served.map(|row| {
            let logs = self.logs(key, settings, row.mutual_tls);
            let filter = if row.http { self.http(&logs) } else { to_cluster(&self.cluster, &logs) };
            let matching = FilterChainMatch {
                application_protocols: row
                    .application_protocols
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect(),
                transport_protocol: row.transport_protocol.to_owned(),
                ..self.port.map(to_port).unwrap_or_default()
            };
            let name = match (self.port, row.http) {
                (Some(port), _) => format!("0.0.0.0_{port}"),
                (None, true) => "virtualInbound-catchall-http".to_owned(),
                (None, false) => "virtualInbound".to_owned(),
            };
            chain(&name, Some(matching), filter)
        })
    }

    fn http(&self, logs: &Logs) -> Filter {
        let stat_prefix = match self.port {
            Some(port) => format!("inbound_0.0.0.0_{port}"),
            None => self.cluster.clone(),
        };
        let manager =
            HttpManager { stat_prefix: &stat_prefix, grpc_web: self.protocol == Protocol::GrpcWeb, logs };
        manager.inbound(self.routes(), self.protocol.is_http2())
    }

    /// Every request to the one cluster (Istio: pilot/pkg/networking/core/route/route.go).
    fn routes(&self) -> RouteConfiguration {
        // gRPC calls are the client's to retry.
        let is_grpc = matches!(self.protocol, Protocol::Grpc | Protocol::GrpcWeb);
        let retry = RetryPolicy {
            retry_on: "reset-before-request".to_owned(),
            num_retries: u32_value(2),
            ..RetryPolicy::default()
        };
        let no_limit = Some(prost_types::Duration::default());
        let action = RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(self.cluster.clone())),
            timeout: no_limit,
            max_stream_duration: Some(route_action::MaxStreamDuration {
                max_stream_duration: no_limit,
                grpc_timeout_header_max: no_limit,
                ..route_action::MaxStreamDuration::default()
            }),
            retry_policy: (!is_grpc).then_some(retry),
            ..RouteAction::default()
        };
        let route = Route {
            name: "default".to_owned(),
            r#match: Some(RouteMatch {
                path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
                ..RouteMatch::default()
            }),
            action: Some(route::Action::Route(action)),
            decorator: self
                .operation
                .clone()
                .map(|operation| Decorator { operation, ..Decorator::default() }),
            ..Route::default()
        };
        RouteConfiguration {
            name: self.cluster.clone(),
            virtual_hosts: vec![VirtualHost {
                name: format!("inbound|http|{}", self.service_port),
                domains: vec!["*".to_owned()],
                routes: vec![route],
                ..VirtualHost::default()
            }],
            validate_clusters: Some(BoolValue { value: false }),
            ..RouteConfiguration::default()
        }
    }
}
