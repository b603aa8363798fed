//! The listeners of gateways: one for each port, with a chain for requests in the clear or one for each encrypted server.
//!
//! Knows: merged servers, and Envoy's listeners. Must not know: which servers there are ([`meltemi_model::gateway::merge`] decided that),
//! nor what routes hold.   Start at [`GatewayListenersKey`] (which there are) and [`GatewayListener`] (each of them).
//! Invariants: no chain needs a certificate that the proxy cannot have; no two chains of a listener match the same connections.

mod connection;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::gateway::ServerBind;
use meltemi_api::mesh_config::GatewayTopology;
use meltemi_catalog::{Need, ResourceName};
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::gateway::merge::{Address, Merged, ServerInForce};
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_names::{Host, Namespace, ObjectKey, Port, Selector, TypeUrl};
use meltemi_proto::envoy::config::core::v3::TrafficDirection;
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};

use self::connection::Connections;
use super::bind::Bind;
use super::chain::{bind, chain, listener};
use super::http_manager::HttpManager;
use super::listener_filter::{proxy_protocol, tls_inspector};
use super::outbound::HANDSHAKE_TIMEOUT_SECONDS;
use super::settings::{ListenerSettings, SettingsOfListeners, TelemetryKey};
use crate::address::pipe;
use crate::encode::whole;
use crate::key::{Made, Members};
use crate::listener::ListenerKey;
use crate::tls::gateway::{Means, terminating};
use crate::wrap::seconds;

/// The listeners of the gateways that some proxies serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayListenersKey {
    /// The Gateways.
    pub set: GatewaySet,
    /// The proxies' namespace: whose VirtualServices and services they see.
    pub namespace: Namespace,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// Which addresses the proxies have.
    pub family: IpFamily,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// As in [`crate::key::OutboundKey`].
    pub access_log: bool,
    /// As in [`crate::key::OutboundKey`].
    pub metrics: bool,
    /// As in [`crate::key::OutboundKey`].
    pub telemetry: TelemetryKey,
    /// As in [`crate::key::OutboundKey`].
    pub has_certificates: bool,
    /// The control plane may be asked for Secrets: it knows who asks. Whether it gives some is not for a listener.
    pub asks_secrets: bool,
    /// What stands before the proxies.
    pub topology: GatewayTopology,
}

impl Question for GatewayListenersKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: listeners of gateways";

    fn answer(&self, read: &Read<'_>) -> Members {
        let merged = read.ask(Merged(self.set.clone()));
        let addresses = merged.listeners.keys().cloned();
        let of = Self { telemetry: self.telemetry.seen_by(read, &self.namespace), ..self.clone() };
        let listeners = addresses.map(|address| GatewayListener { address, of: of.clone() });
        listeners.map(|listener| ListenerKey::Gateway(listener).into()).collect()
    }
}

/// One listener of gateways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayListener {
    /// Where it listens.
    pub address: Address,
    /// Whose it is.
    pub of: GatewayListenersKey,
}

/// What chains refer to, and come from.
#[derive(Default)]
struct Noted {
    needs: Vec<Need>,
    origin: Vec<ObjectKey>,
    /// Names in the handshake that a chain is for; none: every other name. Envoy refuses two chains for one.
    names: BTreeSet<Option<Host>>,
}

impl Noted {
    fn needs(&mut self, type_url: TypeUrl, name: impl Into<ResourceName>) {
        self.needs.push(Need { type_url, name: name.into() });
    }

    /// Of the names those that no chain is for yet; none if there are none.
    fn claim(&mut self, names: &[Host]) -> Option<FilterChainMatch> {
        let all = names.is_empty() || names.iter().any(|name| name.as_str() == "*");
        if all {
            return self.names.insert(None).then(FilterChainMatch::default);
        }
        let free = names.iter().filter(|name| self.names.insert(Some((*name).clone())));
        let server_names: Vec<String> = free.map(ToString::to_string).collect();
        (!server_names.is_empty()).then(|| FilterChainMatch { server_names, ..FilterChainMatch::default() })
    }
}

impl GatewayListener {
    /// None if none of its servers has anything to do: connections are refused, as by a port that nobody listens on.
    pub(super) fn make(&self, read: &Read<'_>) -> Made {
        let merged = read.ask(Merged(self.of.set.clone()));
        let servers = merged.listeners.get(&self.address)?;
        let first = servers.first()?;
        let settings = read.ask(SettingsOfListeners {
            access_log: self.of.access_log,
            metrics: self.of.metrics,
            telemetry: self.of.telemetry.clone(),
        });
        let name = self.name();
        let mut noted = Noted::default();
        noted.origin.extend(servers.iter().map(|server| server.gateway.clone()));
        noted.origin.extend(self.of.telemetry.objects.iter().cloned());
        for cluster in &settings.outbound.needs {
            noted.needs(TypeUrl::Cluster, cluster.clone());
        }
        let encrypted = first.server.encrypted().is_some();
        let mut chains = Vec::new();
        if encrypted {
            for server in servers {
                self.encrypted(read, server, &name, &settings, &mut noted, &mut chains);
            }
        } else if let Some(route) = &first.route {
            let filter = self.http(route, &format!("outbound_{name}"), &settings, &mut noted);
            chains.push(chain("", None, filter));
        } else {
            let filters = self.connections(read, first, &settings).tcp(&mut noted);
            chains.extend(filters.map(|filters| FilterChain { filters, ..FilterChain::default() }));
        }
        if chains.is_empty() {
            return None;
        }
        for chain in &mut chains {
            chain.transport_socket_connect_timeout = Some(seconds(HANDSHAKE_TIMEOUT_SECONDS));
        }
        let mut message = Listener {
            traffic_direction: TrafficDirection::Outbound.into(),
            // Who calls is said before anything else.
            listener_filters: (self.of.topology.proxy_protocol.is_some().then(proxy_protocol).into_iter())
                .chain(encrypted.then(tls_inspector))
                .collect(),
            filter_chains: chains,
            ..self.socket(&name)
        };
        bind(&mut message, true);
        noted.origin.sort_unstable();
        noted.origin.dedup();
        Some(whole(TypeUrl::Listener, name.into(), &message, noted.needs, noted.origin))
    }

    /// `<address>_<port>` (Istio: core/gateway.go, `getListenerName`).
    fn name(&self) -> String {
        let port = self.address.port.map_or(0, Port::number);
        match &self.address.bind {
            None => format!("{}_{port}", Bind::Any(self.of.family).addresses().0),
            Some(written) => format!("{written}_{port}"),
        }
    }

    fn socket(&self, name: &str) -> Listener {
        let at = |addresses: (IpAddr, Option<IpAddr>)| {
            listener(name, addresses, self.address.port.unwrap_or(Port::HTTP))
        };
        match &self.address.bind {
            None => at(Bind::Any(self.of.family).addresses()),
            Some(ServerBind::Ip(address)) => at((*address, None)),
            Some(ServerBind::Unix(path)) => {
                Listener { name: name.to_owned(), address: Some(pipe(path)), ..Listener::default() }
            }
        }
    }

    fn connections<'a>(
        &'a self,
        read: &'a Read<'a>,
        server: &'a ServerInForce,
        settings: &'a ListenerSettings,
    ) -> Connections<'a> {
        Connections { read, of: &self.of, server, logs: &settings.outbound }
    }

    fn http(&self, route: &str, stat: &str, settings: &ListenerSettings, noted: &mut Noted) -> Filter {
        noted.needs(TypeUrl::Route, route);
        let (logs, paths) = (&settings.outbound, settings.paths);
        let manager = HttpManager { stat_prefix: stat, grpc_web: false, logs, paths };
        manager.gateway(route, self.of.http10, &self.of.topology)
    }

    /// The chains of a server that is encrypted, by whoever ends that.
    fn encrypted(
        &self,
        read: &Read<'_>,
        in_force: &ServerInForce,
        name: &str,
        settings: &ListenerSettings,
        noted: &mut Noted,
        chains: &mut Vec<FilterChain>,
    ) {
        let Some(tls) = in_force.server.terminates() else {
            chains.extend(self.connections(read, in_force, settings).passed_on(noted));
            return;
        };
        let means = Means { has_certificates: self.of.has_certificates, asks_secrets: self.of.asks_secrets };
        let Some(socket) = terminating(tls, means) else { return };
        let filters = match &in_force.route {
            Some(route) => {
                let stat = in_force.server.name.clone().unwrap_or_else(|| format!("outbound_{name}"));
                Some(vec![self.http(route, &stat, settings, noted)])
            }
            None => self.connections(read, in_force, settings).tcp(noted),
        };
        let Some(filters) = filters else { return };
        let Some(matching) = noted.claim(&in_force.server_names()) else { return };
        chains.push(FilterChain {
            filter_chain_match: Some(matching),
            transport_socket: Some(socket),
            filters,
            ..FilterChain::default()
        });
    }
}
