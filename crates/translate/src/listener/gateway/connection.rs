//! Connections that a gateway does not take apart: where VirtualServices' `tcp` and `tls` rules send them (Istio: core/gateway.go).
//!
//! Must not know: TLS that the gateway ends itself. Invariant: a rule whose weights sum to nothing makes no chain, which Envoy would refuse.

use meltemi_api::gateway::ServerTlsMode;
use meltemi_api::virtual_service::{ConnectionDestination, ConnectionMatch};
use meltemi_catalog::ResourceName;
use meltemi_model::gateway::merge::ServerInForce;
use meltemi_model::gateway::{BoundTo, common};
use meltemi_model::index::{gateway_key, qualified};
use meltemi_model::read::{self, Read};
use meltemi_model::service::{ServiceByHost, ServiceShape};
use meltemi_model::virtual_service::followed;
use meltemi_names::{ObjectKey, Port, TypeUrl};
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain};

use super::super::policy::{self, ConnectionPolicy};
use super::super::settings::Logs;
use super::super::tcp::{as_bytes, by_weight, to_backend};
use super::{GatewayListenersKey, Noted};
use crate::external_name::meant;
use crate::resource_names::outbound_cluster;

/// The connections of one server.
pub(super) struct Connections<'a> {
    pub(super) read: &'a Read<'a>,
    pub(super) of: &'a GatewayListenersKey,
    pub(super) server: &'a ServerInForce,
    pub(super) logs: &'a Logs,
}

impl Connections<'_> {
    /// The filters for all of them: of the first rule that is for the server's port.
    pub(super) fn tcp(&self, noted: &mut Noted) -> Option<Vec<Filter>> {
        for key in self.bound() {
            let (_, service) = read::virtual_service(self.read, &key)?;
            let fits = service.tcp.iter().find(|rule| {
                let any = rule.matches.iter().any(|found| self.admits(found, &key));
                (rule.matches.is_empty() || any) && !rule.route.is_empty()
            });
            if let Some(rule) = fits {
                return self.filters(&rule.route, &key, noted);
            }
        }
        None
    }

    /// The chains by the name that clients ask for, which they go on asking the destination for.
    pub(super) fn passed_on(&self, noted: &mut Noted) -> Vec<FilterChain> {
        let mut chains = Vec::new();
        let by_rules =
            self.server.server.tls.as_ref().is_some_and(|tls| tls.mode == ServerTlsMode::Passthrough);
        for key in self.bound().into_iter().filter(|_| by_rules) {
            let Some((_, service)) = read::virtual_service(self.read, &key) else { continue };
            for rule in &service.tls {
                let matches = rule.matches.iter().filter(|found| self.admits(&found.connection, &key));
                for found in matches {
                    let Some(matching) = noted.claim(&found.sni_hosts) else { continue };
                    let Some(filters) = self.filters(&rule.route, &key, noted) else { continue };
                    chains.push(FilterChain {
                        filter_chain_match: Some(matching),
                        filters,
                        ..FilterChain::default()
                    });
                }
            }
        }
        chains
    }

    /// The VirtualServices of the server, in their order.
    fn bound(&self) -> Vec<ObjectKey> {
        let ServerInForce { gateway, server, .. } = self.server;
        let bound = self.read.ask(BoundTo(gateway.clone()));
        let followed = followed(&bound, &self.of.namespace).into_iter();
        let met = followed.filter(|outline| !common(&server.hosts, &gateway.namespace, outline).is_empty());
        met.map(|outline| outline.key.clone()).collect()
    }

    fn admits(&self, found: &ConnectionMatch, key: &ObjectKey) -> bool {
        let named = |name| gateway_key(name, &key.namespace).as_ref() == Some(&self.server.gateway);
        found.port.is_none_or(|port| Some(port) == self.server.server.number())
            && (found.gateways.is_empty() || found.gateways.iter().any(named))
    }

    fn filters(
        &self,
        route: &[ConnectionDestination],
        key: &ObjectKey,
        noted: &mut Noted,
    ) -> Option<Vec<Filter>> {
        // Of one destination the weight is not read.
        let mut to: Vec<(ResourceName, u32)> = Vec::new();
        let alone = route.len() == 1;
        let mut decides: Option<ConnectionPolicy> = None;
        for ConnectionDestination { destination, weight } in route {
            if *weight == 0 && !alone {
                continue;
            }
            let host = meant(self.read, &qualified(&destination.host, &key.namespace));
            let seen = ServiceByHost { viewer: self.of.namespace.clone(), host: host.clone() };
            let shape = self.read.ask(seen);
            let shape = shape.as_ref().as_ref();
            let port = destination.port.unwrap_or_else(|| self.usual_port(shape.map(|shape| &**shape)));
            let policy = shape
                .map(|shape| self.policy(shape, port, destination.subset.as_deref().filter(|_| alone)))
                .unwrap_or_default();
            match &mut decides {
                None => decides = Some(policy),
                Some(first) => first.as_bytes |= policy.as_bytes,
            }
            let cluster = outbound_cluster(port, destination.subset.as_deref(), &host);
            noted.needs(TypeUrl::Cluster, cluster.clone());
            to.push((cluster, *weight));
        }
        noted.origin.push(key.clone());
        let policy = decides.unwrap_or_default();
        let proxy = match to.as_slice() {
            [] => return None,
            [(only, _)] => to_backend(only.as_str(), &policy, self.logs),
            many => {
                let many: Vec<(&ResourceName, u32)> =
                    many.iter().map(|(name, weight)| (name, *weight)).collect();
                by_weight(&format!("{}.{}", key.name, key.namespace), &many, &policy, self.logs)
            }
        };
        Some(policy.as_bytes.then(as_bytes).into_iter().chain([proxy]).collect())
    }

    /// A service's only port, else that of the server.
    fn usual_port(&self, shape: Option<&ServiceShape>) -> Port {
        let only = shape.and_then(ServiceShape::only_port);
        only.or_else(|| self.server.server.number()).unwrap_or(Port::HTTP)
    }

    fn policy(&self, shape: &ServiceShape, port: Port, subset: Option<&str>) -> ConnectionPolicy {
        let Some(protocol) = shape.port(port).map(|port| port.protocol) else {
            return ConnectionPolicy::default();
        };
        let caller = policy::Caller {
            namespace: &self.of.namespace,
            selectors: &self.of.selectors,
            has_certificates: self.of.has_certificates,
        };
        let subset = subset.map(Into::into);
        policy::of(self.read, caller, &policy::Target { service: shape.id.clone(), port, protocol, subset })
    }
}
