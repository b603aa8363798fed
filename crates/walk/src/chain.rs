//! Which filter chain of a listener takes a connection: Envoy's narrowing, one property after the other, without a way back.

use std::net::IpAddr;

use meltemi_proto::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use meltemi_proto::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use serde::Serialize;

use crate::cluster::istio;
use crate::configuration::Broken;
use crate::listener::ListenerTaken;
use crate::request::Request;
use crate::socket::DownstreamSocket;

/// The filter chain that takes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainTaken {
    /// Its name; often empty.
    pub name: String,
    /// Its place among the listener's chains; none: the listener's default.
    pub index: Option<usize>,
    /// What the listener's inspectors tell of the connection.
    pub connection: Connection,
    /// How the client is spoken to.
    pub socket: DownstreamSocket,
    /// Its network filters, by name.
    pub filters: Vec<String>,
    /// The names that clients must ask for in TLS, of which it takes one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<String>,
    /// The object that it comes from, as a path at the API server (metadata `istio.config`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// What a chain may match on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// `tls` or `raw_buffer`.
    pub transport_protocol: &'static str,
    /// ALPN, or what http_inspector found.
    pub application_protocols: Vec<String>,
    /// SNI.
    pub server_name: Option<String>,
}

const TLS_INSPECTOR: &str = "envoy.filters.listener.tls_inspector";
const HTTP_INSPECTOR: &str = "envoy.filters.listener.http_inspector";

impl Connection {
    /// What the listener learns of a request's connection.
    pub(crate) fn of(request: &Request, listener: &ListenerTaken) -> Self {
        let inspects = |name: &str| listener.inspectors.iter().any(|inspector| inspector == name);
        match &request.tls {
            Some(offer) if inspects(TLS_INSPECTOR) => Self {
                transport_protocol: "tls",
                application_protocols: offer.protocols.clone(),
                server_name: offer.server_name.as_ref().map(|name| name.to_ascii_lowercase()),
            },
            None if request.http && inspects(HTTP_INSPECTOR) => Self {
                transport_protocol: "raw_buffer",
                application_protocols: vec![if request.http2 { "h2c" } else { "http/1.1" }.to_owned()],
                server_name: None,
            },
            _ => Self { transport_protocol: "raw_buffer", ..Self::default() },
        }
    }
}

/// The chain, and what was learned of the connection.
pub(crate) fn choose<'a>(
    listener: &'a Listener,
    found: &ListenerTaken,
    request: &Request,
    unread: &mut Vec<String>,
) -> Result<Option<(&'a FilterChain, ChainTaken)>, Broken> {
    let at = |field: &str| format!("listener {}: {field}", listener.name);
    if listener.filter_chain_matcher.is_some() {
        unread.push(at("filter_chain_matcher"));
        return Ok(None);
    }
    let connection = Connection::of(request, found);
    let none = FilterChainMatch::default();
    let mut chains: Vec<(usize, &FilterChain, &FilterChainMatch)> = Vec::new();
    for (index, chain) in listener.filter_chains.iter().enumerate() {
        let wanted = chain.filter_chain_match.as_ref().unwrap_or(&none);
        let asks_for_source = !wanted.source_prefix_ranges.is_empty()
            || !wanted.direct_source_prefix_ranges.is_empty()
            || !wanted.source_ports.is_empty()
            || wanted.source_type != i32::from(ConnectionSourceType::Any);
        if asks_for_source {
            unread.push(at("a chain's conditions on the source"));
        } else {
            chains.push((index, chain, wanted));
        }
    }
    let port = u32::from(request.destination.port);
    narrow(&mut chains, |wanted| wanted.destination_port.as_ref().map(|wanted| wanted.value == port), |_| 0);
    let address = request.destination.address;
    narrow(
        &mut chains,
        |wanted| {
            (!wanted.prefix_ranges.is_empty())
                .then(|| address.is_some_and(|address| longest(wanted, address).is_some()))
        },
        |wanted| address.and_then(|address| longest(wanted, address)).map_or(0, |length| length as usize + 1),
    );
    let name = connection.server_name.as_deref().unwrap_or_default();
    narrow(
        &mut chains,
        |wanted| (!wanted.server_names.is_empty()).then(|| of_name(wanted, name) > 0),
        |wanted| of_name(wanted, name),
    );
    narrow(
        &mut chains,
        |wanted| {
            (!wanted.transport_protocol.is_empty())
                .then(|| wanted.transport_protocol == connection.transport_protocol)
        },
        |_| 0,
    );
    let protocols = &connection.application_protocols;
    // The client's order counts: the first that any chain names.
    let rank = |wanted: &FilterChainMatch| {
        let place = protocols.iter().position(|protocol| wanted.application_protocols.contains(protocol));
        place.map_or(0, |place| protocols.len() - place)
    };
    narrow(&mut chains, |wanted| (!wanted.application_protocols.is_empty()).then(|| rank(wanted) > 0), rank);
    let (index, chain) = match (chains.first(), &listener.default_filter_chain) {
        (Some((index, chain, _)), _) => (Some(*index), *chain),
        (None, Some(chain)) => (None, chain),
        (None, None) => return Ok(None),
    };
    let socket = DownstreamSocket::of(
        chain.transport_socket.as_ref(),
        &format!("chain {} of listener {}", chain.name, listener.name),
    )?;
    let filters = chain.filters.iter().map(|filter| filter.name.clone()).collect();
    let wanted = chain.filter_chain_match.as_ref();
    let taken = ChainTaken {
        name: chain.name.clone(),
        index,
        connection,
        socket,
        filters,
        server_names: wanted.map(|wanted| wanted.server_names.clone()).unwrap_or_default(),
        object: istio(chain.metadata.as_ref(), "config"),
    };
    Ok(Some((chain, taken)))
}

/// Keeps the chains that name the property and have it, the most specific of them; where there is none, those that do not name it.
fn narrow(
    chains: &mut Vec<(usize, &FilterChain, &FilterChainMatch)>,
    has: impl Fn(&FilterChainMatch) -> Option<bool>,
    specific: impl Fn(&FilterChainMatch) -> usize,
) {
    let matching = chains.iter().filter(|(_, _, wanted)| has(wanted) == Some(true));
    match matching.map(|(_, _, wanted)| specific(wanted)).max() {
        Some(most) => {
            chains.retain(|(_, _, wanted)| has(wanted) == Some(true) && specific(wanted) == most);
        }
        None => chains.retain(|(_, _, wanted)| has(wanted).is_none()),
    }
}

/// The longest prefix that holds the address.
fn longest(wanted: &FilterChainMatch, address: IpAddr) -> Option<u32> {
    let holding = wanted.prefix_ranges.iter().filter_map(|range| {
        let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
        holds(range.address_prefix.parse().ok()?, length, address).then_some(length)
    });
    holding.max()
}

fn holds(prefix: IpAddr, length: u32, address: IpAddr) -> bool {
    let masked = |bits: u128, width: u32| match width.checked_sub(length) {
        Some(rest) if rest < 128 => bits >> rest,
        Some(_) => 0,
        None => bits,
    };
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            masked(u32::from(prefix).into(), 32) == masked(u32::from(address).into(), 32)
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            masked(prefix.into(), 128) == masked(address.into(), 128)
        }
        _ => false,
    }
}

/// 0: not its name; else the higher, the more of the name is written out.
fn of_name(wanted: &FilterChainMatch, name: &str) -> usize {
    let specific = |pattern: &str| match pattern.strip_prefix('*') {
        Some(suffix) if name.len() > suffix.len() && name.ends_with(suffix) => suffix.len(),
        None if !name.is_empty() && pattern == name => usize::MAX,
        _ => 0,
    };
    wanted.server_names.iter().map(|pattern| specific(&pattern.to_ascii_lowercase())).max().unwrap_or(0)
}
