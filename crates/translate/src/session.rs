//! Persistent sessions: clients stay with the endpoint that served them first (Istio: pilot/pkg/networking/util/util.go).
//!
//! Knows Envoy's filter for it, and for which destinations a route asks for it. Must not know endpoints.
//! Invariant: while no service has sessions, one question is asked, and nothing is made.

use std::sync::Arc;

use meltemi_api::value::Session;
use meltemi_model::read::Read;
use meltemi_model::service::{AnySession, ServiceByHost};
use meltemi_names::{Host, Namespace};
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::{HealthStatus, HealthStatusSet, TypedExtensionConfig};
use meltemi_proto::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override,
};
use meltemi_proto::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use meltemi_proto::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use meltemi_proto::envoy::r#type::http::v3::Cookie;
use meltemi_proto::google::protobuf::Any;

use crate::external_name::meant;

/// The HTTP filter's name, by which routes say something to it.
pub(crate) const FILTER: &str = "envoy.filters.http.stateful_session";

/// For each host its session, for those alone that have one.
pub type Sessions = Arc<[(Host, Session)]>;

/// The sessions of these hosts as a caller sees them.
pub(crate) fn of_hosts<'h>(
    read: &Read<'_>,
    viewer: &Namespace,
    hosts: impl IntoIterator<Item = &'h Host>,
) -> Sessions {
    if !*read.ask(AnySession) {
        return Arc::default();
    }
    let session = |host: &Host| {
        let host = meant(read, host);
        let service = read.ask(ServiceByHost { viewer: viewer.clone(), host: host.clone() });
        Some((host, service.as_ref().as_ref()?.session.clone()?))
    };
    let mut found: Vec<_> = hosts.into_iter().filter_map(session).collect();
    found.sort_unstable();
    found.dedup();
    found.into()
}

/// The filter, which does nothing unless a route says what.
pub(crate) fn filter() -> Any {
    pack(&StatefulSession::default())
}

/// What a route says to the filter: the session of the first of its destinations that has one.
pub(crate) fn of_route<'h>(
    sessions: &Sessions,
    destinations: impl IntoIterator<Item = &'h Host>,
) -> Option<(String, Any)> {
    if sessions.is_empty() {
        return None;
    }
    let session = |host: &Host| sessions.iter().find(|(found, _)| found == host).map(|(_, session)| session);
    let session = destinations.into_iter().find_map(session)?;
    let (name, state) = match session {
        Session::Cookie { name, path } => {
            // Without a time to live the cookie ends with the client's own session.
            let cookie = Cookie { name: name.clone(), path: path.clone(), ..Cookie::default() };
            let state = CookieBasedSessionState { cookie: Some(cookie) };
            ("envoy.http.stateful_session.cookie", pack(&state))
        }
        Session::Header(name) => {
            ("envoy.http.stateful_session.header", pack(&HeaderBasedSessionState { name: name.clone() }))
        }
    };
    let state = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(state) };
    let session = StatefulSession { session_state: Some(state), ..StatefulSession::default() };
    let said = StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) };
    Some((FILTER.to_owned(), pack(&said)))
}

/// In which states an endpoint still serves clients that are kept to it: also while it goes away.
pub(crate) fn serving() -> HealthStatusSet {
    let states =
        [HealthStatus::Healthy, HealthStatus::Draining, HealthStatus::Unknown, HealthStatus::Degraded];
    HealthStatusSet { statuses: states.into_iter().map(Into::into).collect() }
}
