//! Outbound listeners: a plan's entry into Envoy's message.
//!
//! Knows Envoy's listeners. Must not know which services there are: [`super::plan`] decided that.

use std::sync::Arc;

use meltemi_catalog::{Need, Resource, ResourceName};
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
use meltemi_model::virtual_service::connection::WeightsOf;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::TrafficDirection;
use meltemi_proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use meltemi_proto::google::protobuf::BoolValue;

use super::ByName;
use super::bind::Bind;
use super::block::Block;
use super::chain::{PASSTHROUGH_CHAIN, RAW_BUFFER, bind, chain, evenly, listener, plaintext_http, to_port};
use super::http_manager::HttpManager;
use super::listener_filter::{http_inspector, tls_inspector};
use super::plan::{Backend, HttpChain, OutboundListener};
use super::ruled::RuledChain;
use super::settings::{ListenerSettings, SettingsOfListeners};
use super::tcp::{as_bytes, by_weight, to_backend, to_cluster};
use crate::address::{block, pipe};
use crate::encode::whole;
use crate::resource_names::{ANY_NAME, BLACK_HOLE, outbound_cluster};
use crate::route::any_name_routes;
use crate::wrap::seconds;
use crate::{dynamic, metadata};

/// How long a connection may take to finish its handshake (Istio: PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT).
pub(super) const HANDSHAKE_TIMEOUT_SECONDS: i64 = 15;

impl OutboundListener {
    pub(super) fn make(&self, read: &Read<'_>) -> Arc<Resource> {
        let telemetry = self.telemetry.clone();
        let settings =
            read.ask(SettingsOfListeners { access_log: self.access_log, metrics: self.metrics, telemetry });
        let name = self.bind.listener_name(self.port);
        let mut needs = Needs::default();
        let tcp = self.tcp.as_ref().map(|backend| needs.chain_to(backend, None, &settings));
        let mut chains: Vec<FilterChain> = Vec::new();
        chains.extend(self.http.iter().map(|http| {
            let others = self.tls.is_empty() && self.blocks.is_empty() && self.ruled.is_empty();
            let alone = self.bind.is_bound() && tcp.is_none() && others;
            needs.http_chain(&name, http, !alone, &settings)
        }));
        chains.extend(self.tls.iter().map(|backend| {
            let server_names = vec![backend.service.host.to_string()];
            needs.chain_to(
                backend,
                Some(FilterChainMatch { server_names, ..FilterChainMatch::default() }),
                &settings,
            )
        }));
        chains.extend(
            self.blocks.iter().map(|block| needs.chain_to(&block.backend, Some(block.matching()), &settings)),
        );
        let mut default = tcp;
        for ruled in self.ruled.iter() {
            let chain = needs.ruled_chain(ruled, read, &settings);
            if chain.filter_chain_match.is_some() {
                chains.push(chain);
            } else {
                default = Some(chain);
            }
        }
        if chains.is_empty() {
            chains.extend(default.take());
        } else if default.is_none() && !self.bind.is_bound() {
            let fallback = self.fallback.as_ref().map_or(settings.fallback, ResourceName::as_str);
            needs.cluster(fallback);
            let filter = to_cluster(fallback, &settings.outbound);
            default = Some(chain(PASSTHROUGH_CHAIN, None, filter));
        }
        let sniffs = self.http.is_some() && chains.iter().any(|chain| chain.filter_chain_match.is_some());
        let mut message = Listener {
            traffic_direction: TrafficDirection::Outbound.into(),
            listener_filters: self
                .reads_names()
                .then(tls_inspector)
                .into_iter()
                .chain(sniffs.then(http_inspector))
                .collect(),
            // Zero is for ever: without HTTP to find there is nothing to wait for but the client's own first bytes.
            listener_filters_timeout: Some(if sniffs {
                settings.detection_timeout
            } else {
                prost_types::Duration::default()
            }),
            continue_on_listener_filters_timeout: true,
            filter_chains: chains,
            default_filter_chain: default,
            ..listener(&name, self.bind.addresses(), self.port)
        };
        if let Bind::Unix(path) = &self.bind {
            message.address = Some(pipe(path));
        }
        bind(&mut message, self.bind.is_bound());
        message.connection_balance_config = self.telemetry.listening.outbound_evenly.then(evenly);
        for chain in message.filter_chains.iter_mut().chain(&mut message.default_filter_chain) {
            chain.transport_socket_connect_timeout = Some(seconds(HANDSHAKE_TIMEOUT_SECONDS));
        }
        // The listener of a port's HTTP services is the same whichever they are, and so made from none of them.
        let blocks = self.blocks.iter().map(|block| &block.backend);
        let services = self.tcp.iter().chain(self.tls.iter()).chain(blocks);
        let services = services.map(|backend| backend.service.object.clone());
        let ruled = self.ruled.iter();
        let rules = ruled.flat_map(|ruled| [ruled.service.object.clone(), ruled.virtual_service.clone()]);
        let origin = services.chain(rules).chain(self.telemetry.objects.iter().cloned());
        needs.clusters(&settings.outbound.needs);
        whole(TypeUrl::Listener, name.into(), &message, needs.0, origin.collect())
    }

    /// Whether chains are told apart by the name in TLS.
    fn reads_names(&self) -> bool {
        let by_rule = || self.ruled.iter().any(|ruled| !ruled.names.is_empty());
        !self.tls.is_empty() || self.blocks.iter().any(Block::reads_name) || by_rule()
    }
}

/// The resources that the chains made so far refer to.
#[derive(Default)]
struct Needs(Vec<Need>);

impl Needs {
    fn cluster(&mut self, name: impl Into<ResourceName>) {
        self.0.push(Need { type_url: TypeUrl::Cluster, name: name.into() });
    }

    fn clusters(&mut self, names: &[ResourceName]) {
        for name in names {
            self.cluster(name.clone());
        }
    }

    fn chain_to(
        &mut self,
        backend: &Backend,
        matching: Option<FilterChainMatch>,
        settings: &ListenerSettings,
    ) -> FilterChain {
        let cluster = outbound_cluster(backend.port, None, &backend.service.host);
        let filter = to_backend(cluster.as_str(), &backend.policy, &settings.outbound);
        self.cluster(cluster);
        let mut chain = chain("", matching, filter);
        if backend.policy.as_bytes {
            chain.filters.insert(0, as_bytes());
        }
        if let Some(family) = backend.dynamic {
            chain.filters.insert(0, dynamic::network_filter(family, backend.port));
        }
        chain
    }

    /// By weight among the destinations of a rule.
    fn ruled_chain(
        &mut self,
        ruled: &RuledChain,
        read: &Read<'_>,
        settings: &ListenerSettings,
    ) -> FilterChain {
        let weights =
            read.ask(WeightsOf { virtual_service: ruled.virtual_service.clone(), place: ruled.place });
        let (policy, logs) = (&ruled.policy, &settings.outbound);
        let filter = match &ruled.clusters[..] {
            // Of one destination the weight is not read.
            [only] => {
                self.cluster(only.clone());
                to_backend(only.as_str(), policy, logs)
            }
            many => {
                let all = many.iter().zip(weights.iter().copied());
                let weighted: Vec<(&ResourceName, u32)> = all.filter(|(_, weight)| *weight > 0).collect();
                for (cluster, _) in &weighted {
                    self.cluster((*cluster).clone());
                }
                let key = &ruled.virtual_service;
                if weighted.is_empty() {
                    // Envoy refuses a choice among nothing. Validation lets no such rule through.
                    self.cluster(BLACK_HOLE);
                    to_cluster(BLACK_HOLE, logs)
                } else {
                    by_weight(&format!("{}.{}", key.name, key.namespace), &weighted, policy, logs)
                }
            }
        };
        let matching = (!ruled.names.is_empty() || !ruled.subnets.is_empty()).then(|| FilterChainMatch {
            server_names: ruled.names.iter().map(ToString::to_string).collect(),
            prefix_ranges: ruled.subnets.iter().map(|subnet| block(*subnet)).collect(),
            ..FilterChainMatch::default()
        });
        let mut chain = chain("", matching, filter);
        if policy.as_bytes {
            chain.filters.insert(0, as_bytes());
        }
        if let Some((family, port)) = ruled.dynamic {
            chain.filters.insert(0, dynamic::network_filter(family, port));
        }
        chain.metadata = metadata::istio([metadata::config(&ruled.virtual_service)]);
        chain
    }

    fn http_chain(
        &mut self,
        listener: &str,
        http: &HttpChain,
        sniffed: bool,
        settings: &ListenerSettings,
    ) -> FilterChain {
        self.0.push(Need { type_url: TypeUrl::Route, name: http.route.clone() });
        let manager = HttpManager {
            stat_prefix: &format!("outbound_{listener}"),
            grpc_web: http.grpc_web,
            paths: settings.paths,
            logs: &settings.outbound,
            dynamic: http.dynamic,
            sessions: settings.sessions,
        };
        chain("", sniffed.then(|| plaintext(http.http10)), manager.outbound(&http.route, http.http10))
    }
}

fn plaintext(http10: bool) -> FilterChainMatch {
    FilterChainMatch {
        application_protocols: plaintext_http(http10),
        transport_protocol: RAW_BUFFER.to_owned(),
        ..FilterChainMatch::default()
    }
}

/// How long the first bytes of a connection to an unknown destination are waited for where the mesh's settings name no limit: a server
/// that speaks first is nobody's that could have been declared so.
const UNKNOWN_WAIT_SECONDS: i64 = 5;

/// `virtualOutbound`: takes what is redirected, and hands it to the listener of its destination; what has none goes where the mesh's
/// outboundTrafficPolicy says (Istio: pilot/pkg/networking/core/listener_builder.go).
pub(super) fn virtual_outbound(
    read: &Read<'_>,
    family: IpFamily,
    interception: Interception,
    settings: SettingsOfListeners,
    fallback: Option<&ResourceName>,
    by_name: Option<ByName>,
) -> Arc<Resource> {
    let origin = settings.telemetry.objects.to_vec();
    let settings = read.ask(settings);
    let fallback = fallback.map_or(settings.fallback, ResourceName::as_str);
    let name = "virtualOutbound";
    let logs = &settings.outbound;
    let mut message = Listener {
        traffic_direction: TrafficDirection::Outbound.into(),
        use_original_dst: Some(BoolValue { value: true }),
        filter_chains: vec![
            // What was sent to the port itself would be sent on to itself for ever.
            chain(
                "virtualOutbound-blackhole",
                Some(to_port(settings.outbound_port)),
                to_cluster(BLACK_HOLE, logs),
            ),
            chain("virtualOutbound-catchall-tcp", None, to_cluster(fallback, logs)),
        ],
        access_log: settings.outbound_log.clone(),
        transparent: transparent(interception),
        ..listener(name, Bind::Any(family).addresses(), settings.outbound_port)
    };
    bind(&mut message, true);
    let mut needs = Needs::default();
    if let Some(ByName { http10 }) = by_name {
        let manager = HttpManager {
            stat_prefix: "outbound_virtualOutbound_allow_any_dynamic_dns",
            grpc_web: false,
            paths: settings.paths,
            logs,
            dynamic: Some(family),
            sessions: settings.sessions,
        };
        let requests = manager.outbound_to(any_name_routes(), http10);
        let http = chain("virtualOutbound-catchall-tcp-http", Some(plaintext(http10)), requests);
        message.filter_chains.insert(1, http);
        message.listener_filters = vec![http_inspector()];
        let wait = settings.detection_timeout;
        let is_limited = wait != prost_types::Duration::default();
        message.listener_filters_timeout =
            Some(if is_limited { wait } else { seconds(UNKNOWN_WAIT_SECONDS) });
        message.continue_on_listener_filters_timeout = true;
        needs.cluster(ANY_NAME);
    }
    needs.cluster(BLACK_HOLE);
    needs.cluster(fallback);
    needs.clusters(&settings.outbound.needs);
    whole(TypeUrl::Listener, name.into(), &message, needs.0, origin)
}

/// Whether the listener takes connections to addresses that are not the machine's own, which TPROXY hands it.
pub(super) fn transparent(interception: Interception) -> Option<BoolValue> {
    (interception == Interception::Tproxy).then_some(BoolValue { value: true })
}
