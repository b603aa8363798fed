//! A request: its virtual host, each route in order with why it matched or not, and what the first that matches does.

pub(crate) mod action;
pub(crate) mod condition;
pub(crate) mod cors;
pub(crate) mod domain;
pub(crate) mod fault;
mod path;
pub(crate) mod session;

use std::borrow::Cow;

use meltemi_proto::envoy::config::route::v3::virtual_host::TlsRequirementType;
use meltemi_proto::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, StripPortMode,
};
use serde::Serialize;

use self::action::Action;
use self::condition::Condition;
use self::cors::Cors;
use self::domain::DomainRule;
use self::fault::Fault;
use self::session::Session;
use crate::cluster::istio;
use crate::configuration::{Broken, Called, Sent};
use crate::headers::{HeaderChange, changes};
use crate::request::Request;
use crate::seen::{Cause, Seen, SeenShare, part};

/// A request's way through an HTTP connection manager.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HttpWay {
    /// The filters that it passes, by name.
    pub filters: Vec<String>,
    /// The route configuration.
    pub route_configuration: String,
    /// The path that routes see, where the connection manager normalizes it to another one.
    pub normalized_path: Option<String>,
    /// The virtual host; none: no domain fits.
    pub virtual_host: Option<VirtualHostTaken>,
    /// The routes that were looked at, in order; the last one matched, unless none did.
    pub tried: Vec<RouteTried>,
    /// What the route that matched does; none: none matched.
    pub route: Option<RouteTaken>,
}

/// The virtual host of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualHostTaken {
    /// Its name.
    pub name: String,
    /// The domain by which it was found.
    pub domain: String,
    /// Of what kind that is.
    pub rule: DomainRule,
    /// How many routes it has.
    pub routes: usize,
}

/// A route that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteTried {
    /// Its place in the virtual host, from 0.
    pub index: usize,
    /// Its name; often empty.
    pub name: String,
    /// The object that it comes from, as a path at the API server (metadata `istio.config`).
    pub object: Option<String>,
    /// Its conditions. All must hold.
    pub conditions: Vec<Condition>,
    /// Whether it takes the request.
    pub matched: bool,
}

/// The route that takes a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteTaken {
    /// Its place in the virtual host, from 0.
    pub index: usize,
    /// Faults that are made before anything else.
    pub fault: Option<Fault>,
    /// By what clients stay with their endpoint, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// What browsers are told, if a script of a site calls and the route has something to say of that.
    pub cors: Option<Cors>,
    /// What is done.
    pub action: Action,
    /// Changes of the request's headers.
    pub request_headers: Vec<HeaderChange>,
    /// Changes of the response's headers.
    pub response_headers: Vec<HeaderChange>,
}

/// Filters that do nothing that decides where a request goes, and those that are read.
const READ: &[&str] = &[
    "envoy.filters.http.cors",
    DYNAMIC,
    "envoy.filters.http.fault",
    "envoy.filters.http.grpc_stats",
    "envoy.filters.http.grpc_web",
    "envoy.filters.http.router",
    session::FILTER,
];

/// The filter that looks up the names of requests to clusters that want it.
const DYNAMIC: &str = "envoy.filters.http.dynamic_forward_proxy";

pub(crate) fn way(
    sent: Sent<'_>,
    manager: &HttpConnectionManager,
    request: &Request,
    unread: &mut Vec<String>,
) -> Result<(HttpWay, Vec<SeenShare>), Broken> {
    let filters: Vec<String> = manager.http_filters.iter().map(|filter| filter.name.clone()).collect();
    let foreign = filters.iter().filter(|name| !READ.contains(&name.as_str()));
    unread.extend(foreign.map(|name| format!("http filter {name}")));
    let request = seen_by_routes(manager, request);
    let mut way = HttpWay {
        filters,
        route_configuration: String::new(),
        normalized_path: (request.1).then(|| request.0.path.clone()),
        virtual_host: None,
        tried: Vec::new(),
        route: None,
    };
    let request = &*request.0;
    let found = match &manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            way.route_configuration.clone_from(&rds.route_config_name);
            sent.configuration.route(&rds.route_config_name)?
        }
        Some(RouteSpecifier::RouteConfig(routes)) => {
            way.route_configuration.clone_from(&routes.name);
            Some(routes.clone())
        }
        _ => {
            unread.push("scoped_routes".to_owned());
            return Ok((way, Seen::Unknown.always()));
        }
    };
    let not_found = |cause| Seen::status(404, "NR", cause).always();
    let Some(routes) = found else { return Ok((way, not_found(Cause::NoVirtualHost))) };
    if !routes.vhost_header.is_empty() {
        unread.push("vhost_header".to_owned());
    }
    let Some((virtual_host, domain, rule)) = domain::find(&routes, &request.authority) else {
        return Ok((way, not_found(Cause::NoVirtualHost)));
    };
    way.virtual_host = Some(VirtualHostTaken {
        name: virtual_host.name.clone(),
        domain: domain.to_owned(),
        rule,
        routes: virtual_host.routes.len(),
    });
    if virtual_host.matcher.is_some() {
        unread.push(format!("virtual host {}: matcher", virtual_host.name));
        return Ok((way, Seen::Unknown.always()));
    }
    if virtual_host.require_tls != i32::from(TlsRequirementType::None) && request.scheme != "https" {
        return Ok((way, Seen::status(301, "-", Cause::TlsRequired).always()));
    }
    let Some(route) = first_match(virtual_host, request, &mut way.tried) else {
        return Ok((way, not_found(Cause::NoRoute)));
    };
    let index = way.tried.len().saturating_sub(1);
    let looks_up = way.filters.iter().any(|name| name == DYNAMIC);
    let called = looks_up.then_some(Called { host: &request.authority, port: None });
    let sent = Sent { called, ..sent };
    let (taken, seen) = taken(sent, &routes, virtual_host, route, (index, &way.filters), request, unread)?;
    way.route = Some(taken);
    Ok((way, seen))
}

/// The request as routes see it, and whether its path is another one.
fn seen_by_routes<'a>(manager: &HttpConnectionManager, request: &'a Request) -> (Cow<'a, Request>, bool) {
    let mut request = Cow::Borrowed(request);
    let mut normalizes = false;
    if manager.normalize_path.as_ref().is_some_and(|set| set.value) && request.path.starts_with('/') {
        let path = path::normalized(&request.path, manager.merge_slashes);
        if path != request.path {
            request.to_mut().path = path;
            normalizes = true;
        }
    }
    let own_port = format!(":{}", request.destination.port);
    let strips = match &manager.strip_port_mode {
        Some(StripPortMode::StripAnyHostPort(any)) => *any,
        None => manager.strip_matching_host_port && request.authority.ends_with(&own_port),
    };
    if strips {
        let bare = domain::without_port(&request.authority).to_owned();
        request.to_mut().authority = bare;
    }
    (request, normalizes)
}

fn first_match<'a>(
    virtual_host: &'a VirtualHost,
    request: &Request,
    tried: &mut Vec<RouteTried>,
) -> Option<&'a Route> {
    for (index, route) in virtual_host.routes.iter().enumerate() {
        let conditions =
            route.r#match.as_ref().map(|matching| condition::of(matching, request)).unwrap_or_default();
        let matched = conditions.iter().all(|condition| condition.holds == Some(true));
        tried.push(RouteTried {
            index,
            name: route.name.clone(),
            object: istio(route.metadata.as_ref(), "config"),
            conditions,
            matched,
        });
        if matched {
            return Some(route);
        }
    }
    None
}

fn taken(
    sent: Sent<'_>,
    routes: &RouteConfiguration,
    virtual_host: &VirtualHost,
    route: &Route,
    (index, filters): (usize, &[String]),
    request: &Request,
    unread: &mut Vec<String>,
) -> Result<(RouteTaken, Vec<SeenShare>), Broken> {
    let (action, mut seen) = action::of(sent, virtual_host, route, request)?;
    let settings = [
        &route.typed_per_filter_config,
        &virtual_host.typed_per_filter_config,
        &routes.typed_per_filter_config,
    ];
    let what = format!("route {index} of virtual host {}", virtual_host.name);
    // Without the filter nobody reads what the route says for it.
    let makes_faults = filters.iter().any(|name| name == fault::FILTER);
    let fault = if makes_faults { fault::of(&settings, &what, unread)? } else { None };
    let keeps = filters.iter().any(|name| name == session::FILTER);
    let session = if keeps { session::of(&settings, &what, unread)? } else { None };
    // Only what is sent on is of interest to that filter.
    let forwards = matches!(action, Action::Forward(_));
    let tells_browsers = forwards && filters.iter().any(|name| name == cors::FILTER);
    let cors = if tells_browsers { cors::of(&settings, request, &what, unread)? } else { None };
    if cors.as_ref().is_some_and(|cors| cors.answered) {
        seen = Seen::status(200, "-", Cause::Preflight).always();
    }
    let read = settings.iter().flat_map(|settings| settings.keys());
    let foreign = read.filter(|name| *name != fault::FILTER && !READ.contains(&name.as_str()));
    unread.extend(foreign.map(|name| format!("{what}: typed_per_filter_config[{name}]")));
    if let Some(abort) = fault.as_ref().and_then(|fault| fault.abort) {
        let aborted = Seen::status(abort.status, "FI", Cause::FaultAbort).always();
        let rest = part(abort.share.rest(), seen);
        seen = part(abort.share, aborted).into_iter().chain(rest).collect();
    }
    let levels = [
        (&route.request_headers_to_add, &route.request_headers_to_remove),
        (&virtual_host.request_headers_to_add, &virtual_host.request_headers_to_remove),
        (&routes.request_headers_to_add, &routes.request_headers_to_remove),
    ];
    let request_headers = levels.into_iter().flat_map(|(add, remove)| changes(add, remove)).collect();
    let levels = [
        (&route.response_headers_to_add, &route.response_headers_to_remove),
        (&virtual_host.response_headers_to_add, &virtual_host.response_headers_to_remove),
        (&routes.response_headers_to_add, &routes.response_headers_to_remove),
    ];
    let response_headers = levels.into_iter().flat_map(|(add, remove)| changes(add, remove)).collect();
    Ok((RouteTaken { index, fault, session, cors, action, request_headers, response_headers }, seen))
}
