//! The state of every proxy for people and tools: what `meltemi proxy-status` shows. The schema is stable: fields are added, never
//! changed.

use std::time::Instant;

use meltemi_catalog::Generation;
use meltemi_model::proxy::SecretAccess;
use meltemi_xds::{StreamStatus, TypeStatus};
use serde::{Deserialize, Serialize};

use crate::secrets::Standing;
use crate::streams::{Stream, Streams};

/// All proxies connected to this replica.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxies {
    /// The state of the mesh that is served now.
    pub generation: u64,
    /// One for each stream; a proxy that restarts hot may have two.
    pub proxies: Vec<ProxyStatus>,
}

/// One stream of one proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStatus {
    /// `name.namespace`.
    pub proxy: String,
    /// By what name it was authenticated; none on the port without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Of a gateway, why it gets no keys of the Secrets that its Gateways name; none where it may have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_secrets: Option<String>,
    /// `delta` or `sotw`.
    pub stream: String,
    /// For how long it has been connected, in seconds.
    pub connected_seconds: f64,
    /// The generation whose effects it has acknowledged, all of them.
    pub version: u64,
    /// How many generations that is behind what is served.
    pub lag: u64,
    /// The types that it subscribed to, in push order.
    pub types: Vec<TypeState>,
}

/// One type on one stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeState {
    /// `CDS`, `EDS`, ...
    pub r#type: String,
    /// In sync, sent or rejected.
    pub state: SyncState,
    /// How many resources it may have.
    pub resources: usize,
    /// The generation of the last accepted response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acked: Option<u64>,
    /// What it refused, if it refuses something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejection>,
}

/// Where a type stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SyncState {
    /// All was sent and accepted.
    Synced,
    /// Something is on its way, or waits for something that is.
    Sent,
    /// Something was refused; the proxy keeps its last good state of it.
    Rejected,
}

/// What a proxy refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// The proxy's words.
    pub reason: String,
    /// The resources, or the first of them.
    pub resources: Vec<String>,
    /// The objects that these were made from.
    pub made_from: Vec<String>,
}

/// The state of all streams now.
pub fn proxies(streams: &Streams, generation: Generation, now: Instant) -> Proxies {
    Proxies {
        generation: generation.0,
        proxies: streams.all().iter().map(|stream| proxy(stream, generation, now)).collect(),
    }
}

/// The view is looked at after `generation` was: views are handed out before their generation is told, so that a proxy without lag has
/// acknowledged all that this generation means for it, which may be nothing.
fn proxy(stream: &Stream, generation: Generation, now: Instant) -> ProxyStatus {
    let latest = stream.views.borrow().generation();
    let status: StreamStatus = stream.handle.status();
    let version = in_force(status.watermark, latest, generation);
    let since = status.since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
    ProxyStatus {
        proxy: stream.proxy.id.to_string(),
        identity: stream.identity.as_ref().map(ToString::to_string),
        no_secrets: no_secrets(&stream.secrets.borrow()),
        stream: status.form.as_str().to_owned(),
        connected_seconds: since,
        version: version.0,
        lag: generation.0.saturating_sub(version.0),
        types: status.types.iter().map(type_state).collect(),
    }
}

fn no_secrets(standing: &Standing) -> Option<String> {
    (standing.access == SecretAccess::Roots).then(|| standing.why.to_string())
}

/// The generation whose effects a proxy has acknowledged, all of them: `watermark`, or all there is when it has acknowledged the `latest`
/// state of its view, since later generations changed nothing for it.
fn in_force(watermark: Generation, latest: Generation, generation: Generation) -> Generation {
    if watermark >= latest { watermark.max(generation) } else { watermark }
}

fn type_state(status: &TypeStatus) -> TypeState {
    let state = if status.error.is_some() || !status.aside.is_empty() {
        SyncState::Rejected
    } else if status.in_sync() {
        SyncState::Synced
    } else {
        SyncState::Sent
    };
    TypeState {
        r#type: status.type_url.short().to_owned(),
        state,
        resources: status.subscribed,
        acked: status.acked.map(|generation| generation.0),
        rejected: status.error.as_ref().map(|error| Rejection {
            reason: error.message.clone(),
            resources: error.resources.iter().map(|(name, _)| name.to_string()).collect(),
            made_from: error.origins.iter().map(ToString::to_string).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_a_generation_does_not_touch_has_it_in_force() {
        let force = |watermark, latest, generation| {
            in_force(Generation(watermark), Generation(latest), Generation(generation)).0
        };
        assert_eq!(force(3, 3, 7), 7);
        assert_eq!(force(7, 7, 7), 7);
        // Its view has changed, and it has not acknowledged that, whether or not its stream knows already.
        assert_eq!(force(3, 7, 7), 3);
        // The view may be newer than the generation that was asked about.
        assert_eq!(force(8, 8, 7), 8);
    }
}
