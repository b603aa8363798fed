//! Routes of gateways: which route configurations their servers have, and whose rules are in each virtual host.
//!
//! Knows: the hosts that servers and VirtualServices have in common. Must not know: listeners; how a rule becomes a route.
//! Start at [`GatewayRoutesKey`] (names only), then [`GatewayRules`] (what a virtual host's routes depend on).
//! Invariant: a route configuration has at least one virtual host, or its listener would wait for one for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::gateway::merge::{Merged, ServerInForce};
use meltemi_model::gateway::{BoundTo, GatewaySet, common};
use meltemi_model::read::{self, Read};
use meltemi_model::service::ServiceByHost;
use meltemi_model::virtual_service::delegate::http_rules;
use meltemi_model::virtual_service::{Outline, followed};
use meltemi_names::{Host, Namespace, ObjectKey, Port, Selector};
use meltemi_proto::envoy::config::route::v3::Route;

use super::body::{BodyKey, Clusters, DefaultRetries};
use super::hash::{self, HashRules};
use super::http_route::{At, Rule};
use super::matching;
use super::virtual_host::{Subject, VirtualHostKey};
use super::{ConfigName, RouteKey};
use crate::key::{Members, ResourceKey};

/// The routes of the gateways that some proxies serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayRoutesKey {
    /// The Gateways.
    pub set: GatewaySet,
    /// The proxies' namespace: whose VirtualServices and services they see.
    pub namespace: Namespace,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// Routes go out as virtual hosts.
    pub virtual_hosts: bool,
}

impl Question for GatewayRoutesKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: routes of gateways";

    fn answer(&self, read: &Read<'_>) -> Members {
        let merged = read.ask(Merged(self.set.clone()));
        let mut members = Members::new();
        for (name, servers) in merged.routes() {
            // A Unix socket has no port, and is called by HTTP's own. All servers of one configuration are in the clear on one port, or it is one server.
            let port = servers.iter().find_map(|server| server.server.number());
            let config = ConfigName::Gateway { name, port: port.unwrap_or(Port::HTTP) };
            let head = RouteKey { config: config.clone(), virtual_hosts: self.virtual_hosts };
            members.push(head.into());
            let hosts = self.hosts(read, &servers);
            let nothing = hosts.is_empty().then_some((Subject::Rest("blackhole"), BodyKey::Nothing));
            let ruled = hosts.into_iter().map(|(host, Served { rules, redirects })| {
                (Subject::Host(host), BodyKey::Gateway { rules: rules.into(), redirects })
            });
            members.extend(ruled.chain(nothing).map(|(subject, body)| {
                ResourceKey::from(VirtualHostKey {
                    config: config.clone(),
                    subject,
                    dropped: Arc::default(),
                    body,
                    virtual_hosts: self.virtual_hosts,
                })
            }));
        }
        members
    }
}

/// How a host is served.
#[derive(Default)]
struct Served {
    /// In the order in which the rules stand.
    rules: Vec<GatewayRules>,
    /// Clients in the clear are sent to HTTPS.
    redirects: bool,
}

impl GatewayRoutesKey {
    /// The hosts of a route configuration (Istio: core/gateway.go, `buildGatewayHTTPRouteConfig`).
    fn hosts(&self, read: &Read<'_>, servers: &[&ServerInForce]) -> BTreeMap<Host, Served> {
        let mut hosts: BTreeMap<Host, Served> = BTreeMap::new();
        for in_force in servers {
            let ServerInForce { gateway, server, .. } = in_force;
            let bound = read.ask(BoundTo(gateway.clone()));
            for outline in followed(&bound, &self.namespace) {
                let port = server.number().unwrap_or(Port::HTTP);
                let met = common(&server.hosts, &gateway.namespace, outline);
                if met.is_empty() || !outline.admits(port, &self.namespace, &self.selectors) {
                    continue;
                }
                let rules = self.rules(read, gateway, outline, port, server.encrypted().is_some());
                for host in met {
                    let served = hosts.entry(host).or_default();
                    served.redirects |= server.redirects();
                    if !served.rules.contains(&rules) {
                        served.rules.push(rules.clone());
                    }
                }
            }
            // Also hosts that no VirtualService is for are redirected.
            for host in server.hosts.iter().filter(|_| server.redirects()) {
                hosts.entry(host.host.clone()).or_default().redirects = true;
            }
        }
        hosts
    }

    fn rules(
        &self,
        read: &Read<'_>,
        gateway: &ObjectKey,
        outline: &Outline,
        port: Port,
        https: bool,
    ) -> GatewayRules {
        let asked = |selector: &&Selector| outline.callers.iter().any(|callers| callers.labels == **selector);
        GatewayRules {
            virtual_service: outline.key.clone(),
            gateway: gateway.clone(),
            port,
            https,
            viewer: self.namespace.clone(),
            selectors: self.selectors.iter().filter(asked).cloned().collect(),
            hashed: hash::rules_that_hash(read, &self.namespace, &self.selectors, &outline.destinations),
        }
    }
}

/// The rules of a VirtualService at a server of a Gateway: all that their routes depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayRules {
    /// The VirtualService.
    pub virtual_service: ObjectKey,
    /// The Gateway that it is bound to.
    pub gateway: ObjectKey,
    /// The number of the server's port, as clients know it.
    pub port: Port,
    /// Clients come by TLS.
    pub https: bool,
    /// The proxies' namespace.
    pub viewer: Namespace,
    /// Of the proxies' selectors those that the VirtualService asks for.
    pub selectors: Arc<[Selector]>,
    /// For each destination the DestinationRules in force, where requests are hashed by them.
    pub hashed: HashRules,
}

/// The routes of several VirtualServices for one host: one after the other, those that take everything last (Istio:
/// core/route, `SortVHostRoutes`). With the objects that they come from.
pub(super) fn routes(
    read: &Read<'_>,
    all: &[GatewayRules],
    clusters: &mut Clusters,
) -> (Vec<Route>, Vec<ObjectKey>) {
    let default_retries = read.ask(DefaultRetries);
    let mut routes = Vec::new();
    let mut origin = Vec::new();
    for rules in all {
        let Some((meta, spec)) = read::virtual_service(read, &rules.virtual_service) else { continue };
        let rule = Rule {
            read,
            meta,
            port: rules.port,
            selectors: &rules.selectors,
            source_namespace: Some(&rules.viewer),
            hash_rules: &rules.hashed,
            default_retries: default_retries.as_ref().as_ref(),
            at: Some(At { gateway: &rules.gateway, viewer: &rules.viewer, https: rules.https }),
        };
        let http = http_rules(read, meta, spec);
        routes.extend(rule.routes(&http.rules, clusters));
        origin.extend([rules.virtual_service.clone(), rules.gateway.clone()]);
        origin.extend(http.delegates().cloned());
        origin.extend(rules.hashed.iter().flat_map(|(_, rules)| rules.iter()).cloned());
    }
    // Stable: the first of those that take everything is in force.
    routes.sort_by_key(|route: &Route| route.r#match.as_ref().is_some_and(matching::takes_all));
    (routes, origin)
}

/// The port of a service that has one alone: destinations that name none mean that (Istio: core/route, `GetDestinationCluster`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OnlyPort {
    pub(super) viewer: Namespace,
    pub(super) host: Host,
}

impl Question for OnlyPort {
    type World = Mesh;
    type Answer = Option<Port>;
    const NAME: &'static str = "only port";

    fn answer(&self, read: &Read<'_>) -> Option<Port> {
        let seen = ServiceByHost { viewer: self.viewer.clone(), host: self.host.clone() };
        read.ask(seen).as_ref().as_ref()?.only_port()
    }
}
