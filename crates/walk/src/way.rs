//! The whole way: listener, filter chain, and what the chain does with the request.

use meltemi_proto::envoy::config::listener::v3::filter::ConfigType;
use meltemi_proto::envoy::config::listener::v3::{FilterChain, Listener};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use meltemi_proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use serde::Serialize;

use crate::chain::{self, ChainTaken};
use crate::configuration::{Broken, Configuration, Sent, opened};
use crate::http::{self, HttpWay};
use crate::listener::{self, ListenerTaken};
use crate::reports::{self, Reports};
use crate::request::{Destination, Request, TlsOffer};
use crate::seen::{Cause, Seen, SeenShare, merged};
use crate::socket::{ClientCertificate, DownstreamSocket};
use crate::tcp::{self, TcpWay};

/// The way of a request through one proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Way {
    /// The listener that takes the connection.
    pub listener: Option<ListenerTaken>,
    /// The filter chain.
    pub chain: Option<ChainTaken>,
    /// What it does.
    pub handling: Option<Handling>,
    /// What the proxy tells others of it; none where nothing is handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<Reports>,
    /// What the client sees, the most frequent first.
    pub seen: Vec<SeenShare>,
    /// What the walk met and does not read; the way may be another one because of it.
    pub unread: Vec<String>,
}

/// What a filter chain does with a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handling {
    /// Takes it apart into requests.
    Http(Box<HttpWay>),
    /// Sends it on as it is.
    Tcp(TcpWay),
}

/// How much TLS a proxy asks for on a port (the modes of PeerAuthentication), as its chains have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only callers with a certificate get in.
    Strict,
    /// Those with a certificate, and those in the clear.
    Permissive,
    /// In the clear.
    Disable,
    /// Nobody gets in.
    Closed,
}

/// The way of what the proxy's own workload sends.
///
/// # Errors
/// When a part of the configuration that the walk comes to does not decode.
pub fn walk(configuration: &Configuration, request: &Request) -> Result<Way, Broken> {
    let listeners = configuration.listeners()?;
    through(configuration, listener::outbound(&listeners, request.destination), request)
}

/// The way of what is sent to the proxy's own workload, at `request.destination`.
///
/// # Errors
/// As [`walk`].
pub fn arrive(configuration: &Configuration, request: &Request) -> Result<Way, Broken> {
    let listeners = configuration.listeners()?;
    through(configuration, listener::inbound(&listeners, request.destination), request)
}

/// How much TLS the proxy asks for there; none if it has no listener for what is sent to its workload.
///
/// # Errors
/// As [`walk`].
pub fn mode(configuration: &Configuration, destination: Destination) -> Result<Option<Mode>, Broken> {
    let listeners = configuration.listeners()?;
    let Some((found, taken)) = listener::inbound(&listeners, destination) else { return Ok(None) };
    let request = Request { http: false, ..Request::new("", "", "/", destination) };
    let mut unread = Vec::new();
    let plain = chain::choose(found, &taken, &request, &mut unread)?;
    let takes_plain = plain.is_some_and(|(_, chain)| chain.socket == DownstreamSocket::Plaintext);
    let mut takes_certificates = false;
    for chain in found.filter_chains.iter().chain(&found.default_filter_chain) {
        // Whatever the chain asks of a client is offered; it is taken if no other chain comes first.
        let wanted = chain.filter_chain_match.as_ref();
        let offer = TlsOffer {
            server_name: wanted.and_then(|wanted| wanted.server_names.first().cloned()),
            protocols: wanted.map(|wanted| wanted.application_protocols.clone()).unwrap_or_default(),
            identity: Some(String::new()),
        };
        let request = Request { tls: Some(offer), ..request.clone() };
        let taken = chain::choose(found, &taken, &request, &mut unread)?;
        takes_certificates |= taken.is_some_and(|(_, chain)| {
            matches!(
                chain.socket,
                DownstreamSocket::Tls { client_certificate: ClientCertificate::Required, .. }
            )
        });
    }
    Ok(Some(match (takes_plain, takes_certificates) {
        (true, true) => Mode::Permissive,
        (true, false) => Mode::Disable,
        (false, true) => Mode::Strict,
        (false, false) => Mode::Closed,
    }))
}

fn through(
    configuration: &Configuration,
    found: Option<(&Listener, ListenerTaken)>,
    request: &Request,
) -> Result<Way, Broken> {
    let mut way = Way {
        listener: None,
        chain: None,
        handling: None,
        reports: None,
        seen: Vec::new(),
        unread: Vec::new(),
    };
    let Some((listener, taken)) = found else {
        way.seen = Seen::closed("-", Cause::NoListener).always();
        return Ok(way);
    };
    let chosen = chain::choose(listener, &taken, request, &mut way.unread)?;
    way.listener = Some(taken);
    let Some((chain, taken)) = chosen else {
        way.seen = Seen::closed("NR", Cause::NoFilterChain).always();
        return Ok(way);
    };
    let refused = refusal(&taken.socket, request.tls.as_ref());
    way.chain = Some(taken);
    if let Some(cause) = refused {
        way.seen = Seen::closed("-", cause).always();
        return Ok(way);
    }
    let restored = way.listener.as_ref().is_some_and(ListenerTaken::restores);
    let sent = Sent { configuration, restored: restored.then_some(request.destination) };
    if let Some((handling, reports, seen)) = handled(sent, listener, chain, request, &mut way.unread)? {
        (way.handling, way.reports, way.seen) = (Some(handling), Some(reports), merged(seen));
    } else {
        way.seen = Seen::Unknown.always();
    }
    way.unread.dedup();
    Ok(way)
}

/// Why the client's handshake fails.
fn refusal(socket: &DownstreamSocket, offer: Option<&TlsOffer>) -> Option<Cause> {
    let DownstreamSocket::Tls { client_certificate, settings } = socket else { return None };
    let Some(offer) = offer else { return Some(Cause::TlsExpected) };
    match &offer.identity {
        None => (*client_certificate == ClientCertificate::Required).then_some(Cause::NoClientCertificate),
        Some(identity) => {
            let accepted = settings.accepts.is_empty()
                || settings.accepts.iter().any(|name| name.wanted.holds(identity) != Some(false));
            (!accepted).then_some(Cause::ClientNotAccepted)
        }
    }
}

/// What the chain's last filter does; none where the walk does not read it.
fn handled(
    sent: Sent<'_>,
    listener: &Listener,
    chain: &FilterChain,
    request: &Request,
    unread: &mut Vec<String>,
) -> Result<Option<(Handling, Reports, Vec<SeenShare>)>, Broken> {
    let mut offered = None;
    for filter in &chain.filters {
        let what = || format!("filter {} of listener {}", filter.name, listener.name);
        let any = match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) => Some(any),
            _ => None,
        };
        if let Some(manager) = opened::<HttpConnectionManager>(any, what)? {
            let (way, seen) = http::way(sent, &manager, request, unread)?;
            let reports = reports::of_manager(&manager, &what())?;
            return Ok(Some((Handling::Http(Box::new(way)), reports, seen)));
        }
        if let Some(proxy) = opened::<TcpProxy>(any, what)? {
            let (way, seen) = tcp::way(sent, &proxy)?;
            let way = TcpWay { application_protocols: offered, ..way };
            return Ok(Some((Handling::Tcp(way), reports::of_proxy(&proxy, &what())?, seen)));
        }
        if let Some(state) = opened::<SetFilterState>(any, what)?
            && let Some(protocols) = tcp::offered(&state)
        {
            offered = Some(protocols);
            continue;
        }
        unread.push(what());
    }
    Ok(None)
}
