//! The rules of a VirtualService as Envoy's routes, for one class of callers.

use meltemi_api::Meta;
use meltemi_api::virtual_service::{self, Destination, HttpMatch, HttpRoute, Retries};
use meltemi_model::index::qualified;
use meltemi_model::read::Read;
use meltemi_model::virtual_service::Callers;
use meltemi_names::{Host, Namespace, ObjectKey, Port, Selector};
use meltemi_proto::envoy::config::route::v3::route::Action;
use meltemi_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use meltemi_proto::envoy::config::route::v3::{Decorator, Route, RouteMatch};

use super::body::{Clusters, everything};
use super::gateway::OnlyPort;
use super::hash::HashRules;
use super::written::{Reachable, reachable};
use super::{action, cors, fault, headers, matching};
use crate::external_name::meant;
use crate::session::Sessions;
use crate::{metadata, session};

/// What the routes of a VirtualService are made from, beside its rules.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    pub(super) read: &'a Read<'a>,
    pub(super) meta: &'a Meta,
    pub(super) port: Port,
    pub(super) selectors: &'a [Selector],
    pub(super) source_namespace: Option<&'a Namespace>,
    pub(super) hash_rules: &'a HashRules,
    pub(super) sessions: &'a Sessions,
    pub(super) default_retries: Option<&'a Retries>,
    /// Where requests come in; none: at sidecars.
    pub(super) at: Option<At<'a>>,
}

/// A server of a Gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    pub(super) gateway: &'a ObjectKey,
    /// The namespace of the proxies.
    pub(super) viewer: &'a Namespace,
    /// Clients come by TLS.
    pub(super) https: bool,
}

impl Rule<'_> {
    /// The routes, one for each way to match a rule, in order, up to the first that takes all.
    pub(super) fn routes(&self, rules: &[HttpRoute], clusters: &mut Clusters) -> Vec<Route> {
        let admits = |callers: Callers| callers.admit(self.port, self.source_namespace, self.selectors);
        let of = |found: &HttpMatch| match self.at {
            Some(At { gateway, .. }) => Callers::at(found, gateway, &self.meta.key.namespace),
            None => Callers::of(found),
        };
        reachable(rules, of, admits).filter_map(|route| self.route(route, clusters)).collect()
    }

    /// The port of a destination's service. Where none is named a service is meant that has the port that the request came to: so it is
    /// at sidecars, which look for it among those alone. At gateways a service's only port is meant first (Istio: core/route,
    /// `GetDestinationCluster`).
    pub(super) fn port_of(&self, destination: &Destination, host: &Host) -> Port {
        let only = |At { viewer, .. }: At<'_>| {
            *self.read.ask(OnlyPort { viewer: viewer.clone(), host: host.clone() })
        };
        destination.port.or_else(|| self.at.and_then(only)).unwrap_or(self.port)
    }

    fn route(&self, route: Reachable<'_>, clusters: &mut Clusters) -> Option<Route> {
        let Reachable { rule, found, conditions, .. } = route;
        let mut change = vec![&rule.headers];
        let action = match rule.action() {
            virtual_service::Action::Redirect(redirect) => {
                action::redirect(redirect, self.port, self.at.is_some_and(|at| at.https))
            }
            virtual_service::Action::DirectResponse(response) => action::direct_response(response),
            virtual_service::Action::Route(destinations) => {
                if let [only] = destinations {
                    change.push(&only.headers);
                }
                self.forward(rule, destinations, clusters)
            }
            virtual_service::Action::None => return None,
        };
        let name = rule.name.clone().unwrap_or_default();
        let fault = rule.fault.as_ref().and_then(fault::config);
        let cors = rule.cors_policy.as_ref().map(cors::config);
        let session = match rule.action() {
            virtual_service::Action::Route(destinations) if !self.sessions.is_empty() => {
                let hosts: Vec<Host> =
                    destinations.iter().map(|to| self.host(&to.destination.host)).collect();
                session::of_route(self.sessions, &hosts)
            }
            _ => None,
        };
        Some(Route {
            name: found
                .and_then(|found| found.name.as_ref())
                .into_iter()
                .fold(name, |name, of_match| format!("{name}.{of_match}")),
            metadata: metadata::istio([metadata::config(&self.meta.key)]),
            decorator: Some(Decorator { operation: self.operation(&action, &conditions), propagate: None }),
            stat_prefix: found.and_then(|found| found.stat_prefix.clone()).unwrap_or_default(),
            typed_per_filter_config: fault
                .map(|config| (fault::FILTER.to_owned(), config))
                .into_iter()
                .chain(cors.map(|config| (cors::FILTER.to_owned(), config)))
                .chain(session)
                .collect(),
            request_headers_to_add: change
                .iter()
                .flat_map(|change| headers::added(&change.request))
                .collect(),
            request_headers_to_remove: change
                .iter()
                .flat_map(|change| headers::removed(&change.request))
                .collect(),
            response_headers_to_add: change
                .iter()
                .flat_map(|change| headers::added(&change.response))
                .collect(),
            response_headers_to_remove: change
                .iter()
                .flat_map(|change| headers::removed(&change.response))
                .collect(),
            r#match: Some(conditions),
            action: Some(action),
            ..everything()
        })
    }

    /// A host as written, as clusters are called by it: short names resolved, and an ExternalName service's name replaced by what it
    /// stands for.
    pub(super) fn host(&self, written: &Host) -> Host {
        meant(self.read, &qualified(written, &self.meta.key.namespace))
    }

    /// How traces call requests by this route (Istio: core/route, `GetRouteOperation`).
    fn operation(&self, action: &Action, conditions: &RouteMatch) -> String {
        let path = matching::path_for_people(conditions);
        if let Action::Route(route) = action
            && let Some(ClusterSpecifier::Cluster(cluster)) = &route.cluster_specifier
            && let [_, port, _, host] = cluster.split('|').collect::<Vec<_>>()[..]
        {
            return format!("{host}:{port}{path}");
        }
        format!("{}:{}{path}", self.meta.key.name, self.port)
    }
}
