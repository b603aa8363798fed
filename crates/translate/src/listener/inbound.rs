//! `virtualInbound`: the one listener of what is sent to a workload.
//!
//! Knows inbound chains and routes, per class of workloads. Must not know which workload it is, nor its address.

mod ingress;
pub mod matches;

use std::sync::Arc;

use meltemi_api::virtual_service::Retries;
use meltemi_catalog::{Need, Resource, ResourceName};
use meltemi_model::peer::{Mode, Modes, ModesOf, PortModes};
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
use meltemi_model::service::ServiceOf;
use meltemi_model::workload::InboundPort;
use meltemi_names::{ObjectKey, Port, Protocol, TypeUrl};
use meltemi_proto::envoy::config::core::v3::{TrafficDirection, TransportSocket};
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use meltemi_proto::envoy::config::route::v3::{
    Decorator, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route, route_action,
    route_match,
};
use meltemi_proto::google::protobuf::BoolValue;

use self::matches::{ChainRow, rows};
use super::bind::{Bind, Treatment};
use super::chain::{bind, chain, listener, to_port};
use super::http_manager::HttpManager;
use super::listener_filter::{except, http_inspector, original_dst, tls_inspector};
use super::metrics::Side;
use super::outbound::transparent;
use super::settings::{ListenerSettings, Logs, SettingsOfListeners, TelemetryKey};
use super::tcp::to_cluster;
use super::{InboundKey, ListenerKey};
use crate::cluster::ClusterKey;
use crate::encode::whole;
use crate::key::{Members, ResourceKey};
use crate::metadata;
use crate::resource_names::{BLACK_HOLE, INBOUND_PASSTHROUGH, inbound_cluster};
use crate::route::retry;
use crate::tls::{MeshTls, downstream};

/// `virtualInbound` of a class of workloads: all that it is made by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundListener {
    /// As in [`InboundKey`].
    ports: Arc<[InboundPort]>,
    interception: Interception,
    family: IpFamily,
    access_log: bool,
    /// As in [`crate::key::OutboundKey`].
    metrics: bool,
    /// What it tells of its traffic.
    telemetry: TelemetryKey,
    /// As in [`InboundKey`].
    workload: Arc<str>,
    /// What the workload takes from its callers.
    modes: PortModes,
    /// The policies that say so.
    policies: Arc<[ObjectKey]>,
    /// It can end the callers' mutual TLS.
    has_certificates: bool,
}

impl InboundListener {
    /// The listener of a class of workloads, by the policies in force.
    fn of(read: &Read<'_>, key: &InboundKey, ports: Arc<[InboundPort]>, ingress: bool) -> Self {
        let policies = ModesOf { namespace: key.namespace.clone(), policy: key.policy.clone() };
        let Modes { modes, decided_by } = &*read.ask(policies);
        let modes = if key.has_certificates {
            modes.clone()
        } else {
            // Who may come as they like come in plain text to a workload that has no certificate.
            modes.map(|mode| if mode == Mode::Strict { mode } else { Mode::Disable })
        };
        Self {
            ports,
            interception: key.interception,
            family: key.family,
            access_log: key.access_log,
            metrics: key.metrics,
            telemetry: key.telemetry.seen_by(read, &key.namespace),
            workload: Arc::clone(&key.workload),
            modes,
            policies: decided_by.iter().chain(key.scope.iter().filter(|_| ingress)).cloned().collect(),
            has_certificates: key.has_certificates,
        }
    }
}

/// What a class of workloads has: a cluster for each port, the listener of what is redirected, and those of sockets.
pub(super) fn members(read: &Read<'_>, key: &InboundKey) -> Members {
    let redirected = key.interception != Interception::None;
    let led = ingress::led(read, key);
    let ingress = led.ingress;
    let cluster = |led: &ingress::Led| ClusterKey::Inbound {
        service: led.port.service.clone(),
        port: led.port.port,
        target: led.port.target,
        protocol: led.port.protocol,
        family: key.family,
        sidecar: key.scope.clone(),
        endpoint: led.endpoint.clone(),
    };
    let clusters = led.ports.iter().map(cluster);
    let passthrough = redirected.then_some(ClusterKey::InboundPassthrough { family: key.family });
    let clusters = clusters.chain(passthrough).map(ResourceKey::from);
    let ports = led.ports.iter().filter(|led| led.bind.is_none()).map(|led| led.port.clone()).collect();
    let captured =
        redirected.then(|| ListenerKey::VirtualInbound(InboundListener::of(read, key, ports, ingress)));
    let sockets = led.ports.iter().filter_map(|led| {
        let listener = InboundListener::of(read, key, [led.port.clone()].into(), ingress);
        Some(ListenerKey::BoundInbound(listener, led.bind.clone()?))
    });
    clusters.chain(captured.into_iter().chain(sockets).map(ResourceKey::from)).collect()
}

/// A socket for what is sent to a workload at one port (Istio: core/listener_inbound.go, `inboundCustomListener`).
pub(super) fn bound(read: &Read<'_>, key: &InboundListener, at: &Bind) -> Option<Arc<Resource>> {
    let telemetry = key.telemetry.clone();
    let settings =
        read.ask(SettingsOfListeners { access_log: key.access_log, metrics: key.metrics, telemetry });
    let port = key.ports.first()?;
    let target = Target::of(read, port, key.modes.of(port.target));
    let mutual = target.rows().iter().any(|row| row.mutual_tls) && key.has_certificates;
    let tls = mutual.then(|| downstream::mutual(&read.ask(MeshTls)));
    let tells_tls = target.rows().iter().any(ChainRow::tells_tls);
    let tells_http = target.rows().iter().any(ChainRow::tells_http);
    let name = at.listener_name(port.target);
    let mut message = Listener {
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters: tells_tls
            .then(tls_inspector)
            .into_iter()
            .chain(tells_http.then(http_inspector))
            .collect(),
        listener_filters_timeout: Some(settings.detection_timeout),
        continue_on_listener_filters_timeout: true,
        filter_chains: target.chains(key, &settings, tls.as_ref()).collect(),
        access_log: settings.inbound_log.clone(),
        ..listener(&name, at.addresses(), port.target)
    };
    bind(&mut message, true);
    let clusters =
        std::iter::once(ResourceName::from(target.cluster)).chain(settings.inbound_needs().iter().cloned());
    let needs = clusters.map(|name| Need { type_url: TypeUrl::Cluster, name }).collect();
    let origin = std::iter::once(port.service.object.clone()).chain(key.policies.iter().cloned());
    let origin = origin.chain(key.telemetry.objects.iter().cloned());
    Some(whole(TypeUrl::Listener, name.into(), &message, needs, origin.collect()))
}

pub(super) fn virtual_inbound(read: &Read<'_>, key: &InboundListener) -> Arc<Resource> {
    let telemetry = key.telemetry.clone();
    let settings =
        read.ask(SettingsOfListeners { access_log: key.access_log, metrics: key.metrics, telemetry });
    let name = "virtualInbound";
    let passthrough = Target::passthrough(None, key.modes.rest);
    let to_itself = to_cluster(BLACK_HOLE, &passthrough.logs(key, &settings, false));
    // A port of its own mode has chains of its own, also where no service leads to it.
    let led_to = |port: Port| key.ports.iter().any(|led| led.target == port);
    let others = key.modes.ports.iter().filter(|(port, _)| !led_to(*port));
    let targets: Vec<Target> = others
        .map(|(port, mode)| Target::passthrough(Some(*port), *mode))
        .chain(key.ports.iter().map(|port| Target::of(read, port, key.modes.of(port.target))))
        // What is sent to the listener's own port is nobody's; Envoy refuses two chains of one match.
        .filter(|target| target.port != Some(settings.inbound_port))
        .collect();
    let all = || std::iter::once(&passthrough).chain(&targets);
    let mutual = all().flat_map(Target::rows).any(|row| row.mutual_tls) && key.has_certificates;
    let tls = mutual.then(|| downstream::mutual(&read.ask(MeshTls)));
    let mut chains = vec![chain("virtualInbound-blackhole", Some(to_port(settings.inbound_port)), to_itself)];
    chains.extend(all().flat_map(|target| target.chains(key, &settings, tls.as_ref())));
    let without = |inspected: fn(&ChainRow) -> bool| {
        let bare = targets.iter().filter(move |target| !target.rows().iter().any(inspected));
        bare.filter_map(|target| target.port)
    };
    let mut filters = vec![original_dst()];
    if all().flat_map(Target::rows).any(ChainRow::tells_tls) {
        filters.push(except(without(ChainRow::tells_tls), tls_inspector()));
    }
    filters.push(except(without(ChainRow::tells_http), http_inspector()));
    let mut message = Listener {
        traffic_direction: TrafficDirection::Inbound.into(),
        listener_filters: filters,
        listener_filters_timeout: Some(settings.detection_timeout),
        continue_on_listener_filters_timeout: true,
        filter_chains: chains,
        access_log: settings.inbound_log.clone(),
        transparent: transparent(key.interception),
        ..listener(name, Bind::Any(key.family).addresses(), settings.inbound_port)
    };
    bind(&mut message, true);
    let clusters = targets.into_iter().map(|target| target.cluster);
    let clusters = clusters.chain([INBOUND_PASSTHROUGH.to_owned(), BLACK_HOLE.to_owned()]);
    let clusters = clusters.map(ResourceName::from).chain(settings.inbound_needs().iter().cloned());
    let needs = clusters.map(|name| Need { type_url: TypeUrl::Cluster, name });
    let origin = key.ports.iter().map(|port| port.service.object.clone()).chain(key.policies.iter().cloned());
    let origin = origin.chain(key.telemetry.objects.iter().cloned());
    whole(TypeUrl::Listener, name.into(), &message, needs.collect(), origin.collect())
}

/// Where some of what is sent to a workload ends.
struct Target {
    /// The port that the application listens on; none: every port that no service leads to.
    port: Option<Port>,
    cluster: String,
    protocol: Protocol,
    /// What it takes from callers.
    mode: Mode,
    /// The port that callers know it by; 0 where there is none.
    service_port: u16,
    /// What spans are called: `<host>:<port>/*`.
    operation: Option<String>,
    /// What metrics call the service, packed; empty if it is not known.
    metrics_service: String,
}

impl Target {
    /// Ports that no service leads to: that one, or all that no chain is for.
    fn passthrough(port: Option<Port>, mode: Mode) -> Self {
        Self {
            port,
            cluster: INBOUND_PASSTHROUGH.to_owned(),
            protocol: Protocol::Auto,
            mode,
            service_port: 0,
            operation: None,
            metrics_service: meltemi_telemetry::service("", INBOUND_PASSTHROUGH, ""),
        }
    }

    fn of(read: &Read<'_>, port: &InboundPort, mode: Mode) -> Self {
        let service = read.ask(ServiceOf(port.service.clone()));
        Self {
            port: Some(port.target),
            cluster: inbound_cluster(port.target).to_string(),
            protocol: port.protocol,
            mode,
            service_port: port.port.number(),
            operation: service
                .as_ref()
                .as_ref()
                .map(|service| format!("{}:{}/*", service.id.host, port.port)),
            metrics_service: service
                .as_ref()
                .as_ref()
                .map(|service| metadata::packed_service(&service.id))
                .unwrap_or_default(),
        }
    }

    fn rows(&self) -> &'static [ChainRow] {
        rows(self.mode, Treatment::of(self.protocol))
    }

    fn logs(&self, key: &InboundListener, settings: &ListenerSettings, mutual_tls: bool) -> Logs {
        let service = &self.metrics_service;
        settings.inbound(Side::Destination { workload: &key.workload, service, mutual_tls })
    }

    /// Its chains; `tls`: how callers' mutual TLS is ended.
    fn chains(
        &self,
        key: &InboundListener,
        settings: &ListenerSettings,
        tls: Option<&TransportSocket>,
    ) -> impl Iterator<Item = FilterChain> {
        // A chain that needs a certificate is left out where there is none: such connections are refused, never taken as plaintext.
        let served = || self.rows().iter().filter(|row| tls.is_some() || !row.mutual_tls);
        // Nor by the chains of the ports that have none of their own.
        let refused = self.port.filter(|_| served().next().is_none()).map(|port| {
            chain(
                &self.chain_name(false),
                Some(to_port(port)),
                to_cluster(BLACK_HOLE, &self.logs(key, settings, false)),
            )
        });
        let chains = served().map(|row| {
            let logs = self.logs(key, settings, row.mutual_tls);
            let filter = if row.http { self.http(&logs, settings) } else { to_cluster(&self.cluster, &logs) };
            let matching = FilterChainMatch {
                application_protocols: row
                    .application_protocols
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect(),
                transport_protocol: row.transport_protocol.to_owned(),
                ..self.port.map(to_port).unwrap_or_default()
            };
            FilterChain {
                transport_socket: tls.filter(|_| row.mutual_tls).cloned(),
                ..chain(&self.chain_name(row.http), Some(matching), filter)
            }
        });
        chains.chain(refused).collect::<Vec<_>>().into_iter()
    }

    fn is_passthrough(&self) -> bool {
        self.cluster == INBOUND_PASSTHROUGH
    }

    fn chain_name(&self, http: bool) -> String {
        match self.port {
            Some(port) if !self.is_passthrough() => format!("0.0.0.0_{port}"),
            _ if http => "virtualInbound-catchall-http".to_owned(),
            _ => "virtualInbound".to_owned(),
        }
    }

    fn http(&self, logs: &Logs, settings: &ListenerSettings) -> Filter {
        let stat_prefix = match self.port {
            Some(port) if !self.is_passthrough() => format!("inbound_0.0.0.0_{port}"),
            _ => self.cluster.clone(),
        };
        let manager = HttpManager {
            stat_prefix: &stat_prefix,
            grpc_web: self.protocol == Protocol::GrpcWeb,
            paths: settings.paths,
            logs,
        };
        manager.inbound(self.routes(settings.inbound_retries.as_ref()), self.protocol.is_http2())
    }

    /// Every request to the one cluster (Istio: pilot/pkg/networking/core/route/route.go).
    fn routes(&self, retries: Option<&Retries>) -> RouteConfiguration {
        // gRPC calls are the client's to retry.
        let is_grpc = matches!(self.protocol, Protocol::Grpc | Protocol::GrpcWeb);
        let no_limit = Some(prost_types::Duration::default());
        let action = RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(self.cluster.clone())),
            timeout: no_limit,
            max_stream_duration: Some(route_action::MaxStreamDuration {
                max_stream_duration: no_limit,
                grpc_timeout_header_max: no_limit,
                ..route_action::MaxStreamDuration::default()
            }),
            retry_policy: if is_grpc { None } else { retry::inbound(retries) },
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
