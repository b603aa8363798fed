//! Clients that stay with the endpoint that served them first.

use std::collections::BTreeMap;

use meltemi_proto::envoy::extensions::filters::http::stateful_session::v3::StatefulSessionPerRoute;
use meltemi_proto::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override;
use meltemi_proto::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use meltemi_proto::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use meltemi_proto::google::protobuf::Any;
use serde::Serialize;

use crate::configuration::{Broken, opened};

/// The name of the filter, in the connection manager and where it is set for a route.
pub(crate) const FILTER: &str = "envoy.filters.http.stateful_session";

/// By what a client is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// `cookie` or `header`.
    pub by: &'static str,
    /// Its name.
    pub name: String,
}

/// The most specific of the settings, and what of it is not read.
pub(crate) fn of(
    settings: &[&BTreeMap<String, Any>],
    what: &str,
    unread: &mut Vec<String>,
) -> Result<Option<Session>, Broken> {
    let Some(any) = settings.iter().find_map(|settings| settings.get(FILTER)) else { return Ok(None) };
    let said = opened::<StatefulSessionPerRoute>(Some(any), || format!("session of {what}"))?;
    let state = match said.and_then(|said| said.r#override) {
        Some(Override::Disabled(_)) => return Ok(None),
        Some(Override::StatefulSession(session)) => {
            session.session_state.and_then(|state| state.typed_config)
        }
        None => None,
    };
    let place = || format!("session of {what}");
    if let Some(state) = opened::<CookieBasedSessionState>(state.as_ref(), place)?
        && let Some(cookie) = state.cookie
    {
        return Ok(Some(Session { by: "cookie", name: cookie.name }));
    }
    if let Some(state) = opened::<HeaderBasedSessionState>(state.as_ref(), place)? {
        return Ok(Some(Session { by: "header", name: state.name }));
    }
    unread.push(format!("{what}: typed_per_filter_config[{FILTER}]"));
    Ok(None)
}
