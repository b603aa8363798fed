//! What a virtual host does with its requests: encoded once for all callers for whom it is the same.

use std::sync::Arc;

use meltemi_api::virtual_service::Retries;
use meltemi_catalog::{Need, ResourceName};
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::{self, Read};
use meltemi_model::service::ServiceId;
use meltemi_model::settings::settings;
use meltemi_model::virtual_service::delegate::http_rules;
use meltemi_names::{Namespace, ObjectKey, Port, Selector, TypeUrl};
use meltemi_proto::envoy::config::route::v3::route::Action;
use meltemi_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use meltemi_proto::envoy::config::route::v3::route_match::PathSpecifier;
use meltemi_proto::envoy::config::route::v3::virtual_host::TlsRequirementType;
use meltemi_proto::envoy::config::route::v3::{
    Decorator, DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};

use super::gateway::{self, GatewayRules};
use super::hash::{self, HashRules};
use super::http_route::Rule;
use super::{retry, wire};
use crate::encode::Piece;
use crate::resource_names::{ANY_NAME, PASSTHROUGH, outbound_cluster};
use crate::session::{self, Sessions};
use crate::wrap::u32_value;

/// What the routes of a virtual host depend on. Callers whose keys are equal share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyKey {
    /// Requests to unknown hosts go where the client wanted.
    AllowAny,
    /// Requests to unknown hosts go where those hosts lead.
    AnyName,
    /// Requests to unknown hosts go to that cluster.
    EgressProxy(ResourceName),
    /// Requests to unknown hosts are refused.
    BlockAll,
    /// Nobody is served: all requests are answered 404.
    Nothing,
    /// The VirtualServices decide that are bound to Gateways of one listener.
    Gateway {
        /// Whose rules, in their order.
        rules: Arc<[GatewayRules]>,
        /// Clients in the clear are sent to HTTPS.
        redirects: bool,
    },
    /// No VirtualService applies: all requests go to the service.
    Default {
        /// The service.
        service: ServiceId,
        /// Its port.
        port: Port,
        /// The DestinationRules in force for it, if requests are hashed by them.
        rules: HashRules,
        /// Its session, if clients stay with their endpoint.
        sessions: Sessions,
    },
    /// A VirtualService decides.
    Rules {
        /// Which.
        virtual_service: ObjectKey,
        /// The port that requests come to.
        port: Port,
        /// Of the caller's selectors those that the VirtualService asks for.
        selectors: Arc<[Selector]>,
        /// The caller's namespace, if the VirtualService names it.
        source_namespace: Option<Namespace>,
        /// For each destination the DestinationRules in force, where requests are hashed by them.
        rules: HashRules,
        /// For each destination its session, where clients stay with their endpoint.
        sessions: Sessions,
    },
}

/// The routes of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHostBody {
    /// Fields of `VirtualHost`: all but its name and domains.
    pub routes: Piece,
    /// The clusters that they name.
    pub needs: Vec<Need>,
    /// The objects that they come from.
    pub origin: Vec<ObjectKey>,
}

impl Question for BodyKey {
    type World = Mesh;
    type Answer = VirtualHostBody;
    const NAME: &'static str = "virtual host body";

    fn answer(&self, read: &Read<'_>) -> VirtualHostBody {
        let mut clusters = Clusters::default();
        let (routes, origin) = match self {
            Self::AllowAny => (vec![allow_any(PASSTHROUGH.into(), &mut clusters)], Vec::new()),
            Self::AnyName => {
                clusters.name(ANY_NAME.into());
                (vec![any_name()], Vec::new())
            }
            Self::EgressProxy(proxy) => (vec![allow_any(proxy.clone(), &mut clusters)], Vec::new()),
            Self::BlockAll => (vec![block_all()], Vec::new()),
            Self::Nothing => (Vec::new(), Vec::new()),
            Self::Gateway { rules, .. } => gateway::routes(read, rules, &mut clusters),
            Self::Default { service, port, rules, sessions } => {
                let mut route = default_route(read, service, *port, rules, &mut clusters);
                route.typed_per_filter_config.extend(session::of_route(sessions, [&service.host]));
                (vec![route], origin_of(&service.object, rules))
            }
            Self::Rules { virtual_service, port, selectors, source_namespace, rules, sessions } => {
                let Some((meta, spec)) = read::virtual_service(read, virtual_service) else {
                    return VirtualHostBody {
                        routes: Piece::of(&VirtualHost::default()),
                        needs: Vec::new(),
                        origin: Vec::new(),
                    };
                };
                let default_retries = read.ask(DefaultRetries);
                let rule = Rule {
                    read,
                    meta,
                    port: *port,
                    selectors,
                    source_namespace: source_namespace.as_ref(),
                    hash_rules: rules,
                    sessions,
                    default_retries: default_retries.as_ref().as_ref(),
                    at: None,
                };
                let http = http_rules(read, meta, spec);
                let mut origin = origin_of(virtual_service, rules);
                origin.extend(http.delegates().cloned());
                (rule.routes(&http.rules, &mut clusters), origin)
            }
        };
        let require_tls = match self {
            Self::Gateway { redirects: true, .. } => TlsRequirementType::All,
            _ => TlsRequirementType::None,
        };
        let message = VirtualHost {
            routes,
            include_request_attempt_count: true,
            require_tls: require_tls.into(),
            ..VirtualHost::default()
        };
        VirtualHostBody { routes: Piece::of(&message), needs: clusters.needs, origin }
    }
}

fn origin_of(object: &ObjectKey, rules: &HashRules) -> Vec<ObjectKey> {
    let rules = rules.iter().flat_map(|(_, rules)| rules.iter());
    std::iter::once(object).chain(rules).cloned().collect()
}

/// The clusters that routes name, noted as they are named.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    needs: Vec<Need>,
}

impl Clusters {
    pub(super) fn name(&mut self, name: ResourceName) -> String {
        let text = name.to_string();
        self.needs.push(Need { type_url: TypeUrl::Cluster, name });
        text
    }
}

/// `defaultHttpRetryPolicy` of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct DefaultRetries;

impl Question for DefaultRetries {
    type World = Mesh;
    type Answer = Option<Retries>;
    const NAME: &'static str = "default retries";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        settings(read).default_http_retry_policy.clone()
    }
}

fn default_route(
    read: &Read<'_>,
    service: &ServiceId,
    port: Port,
    rules: &HashRules,
    clusters: &mut Clusters,
) -> Route {
    let host = &service.host;
    let hash_policy: Vec<_> = hash::policy(read, rules, host, port, None).into_iter().collect();
    #[allow(
        deprecated,
        reason = "as Istio: without it a client's grpc-timeout header is bounded by Envoy's own default"
    )]
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(clusters.name(outbound_cluster(port, None, host)))),
        timeout: Some(wire::NO_TIME),
        max_grpc_timeout: Some(wire::NO_TIME),
        retry_policy: retry::policy(
            None,
            read.ask(DefaultRetries).as_ref().as_ref(),
            !hash_policy.is_empty(),
        ),
        hash_policy,
        ..RouteAction::default()
    };
    Route {
        name: "default".to_owned(),
        decorator: Some(Decorator { operation: format!("{host}:{port}/*"), propagate: None }),
        action: Some(Action::Route(action)),
        ..everything()
    }
}

fn allow_any(cluster: ResourceName, clusters: &mut Clusters) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(clusters.name(cluster))),
        timeout: Some(wire::NO_TIME),
        ..RouteAction::default()
    };
    Route { name: "allow_any".to_owned(), action: Some(Action::Route(action)), ..everything() }
}

/// The virtual host, and route, of requests that go where their hosts lead.
pub(super) const ANY_NAME_HOST: &str = "allow_any_dynamic_dns";

#[allow(deprecated, reason = "as Istio, where a route has no timeout")]
fn any_name() -> Route {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(ANY_NAME.to_owned())),
        timeout: Some(wire::NO_TIME),
        max_grpc_timeout: Some(wire::NO_TIME),
        ..RouteAction::default()
    };
    Route { name: ANY_NAME_HOST.to_owned(), action: Some(Action::Route(action)), ..everything() }
}

/// Routes of requests whose hosts say where they go, all of them.
pub(crate) fn any_name_routes() -> RouteConfiguration {
    let virtual_host = VirtualHost {
        name: ANY_NAME_HOST.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![any_name()],
        include_request_attempt_count: true,
        ..VirtualHost::default()
    };
    RouteConfiguration {
        name: ANY_NAME_HOST.to_owned(),
        virtual_hosts: vec![virtual_host],
        validate_clusters: Some(wire::boolean(false)),
        max_direct_response_body_size_bytes: u32_value(super::MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

fn block_all() -> Route {
    let action = DirectResponseAction { status: 502, ..DirectResponseAction::default() };
    Route { name: "block_all".to_owned(), action: Some(Action::DirectResponse(action)), ..everything() }
}

/// A route that matches every request.
pub(super) fn everything() -> Route {
    let matching =
        RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..RouteMatch::default() };
    Route { r#match: Some(matching), ..Route::default() }
}
