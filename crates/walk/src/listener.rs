//! Which listener takes a connection.
//!
//! Knows Envoy's hand-over by original destination. Must not know chains.

use std::net::IpAddr;

use meltemi_proto::envoy::config::core::v3::address::Address as Kind;
use meltemi_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use meltemi_proto::envoy::config::core::v3::{Address, TrafficDirection};
use meltemi_proto::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use meltemi_proto::envoy::config::listener::v3::{Listener, ListenerFilterChainMatchPredicate};
use serde::Serialize;

use crate::request::Destination;

/// The listener that takes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerTaken {
    /// Its name.
    pub name: String,
    /// Its first address, `address:port`.
    pub address: String,
    /// How it was found.
    pub found: Found,
    /// The listener that redirected connections arrive at, where that is another one.
    pub handed_over_by: Option<String>,
    /// Filters that look at the connection before its chain is chosen, as far as they are on for this port.
    pub inspectors: Vec<String>,
}

/// How a listener was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The client connects to its socket.
    OwnSocket,
    /// By the address and port that the client asked for.
    Address,
    /// By the port that the client asked for, at any address.
    Port,
    /// No listener is for that destination: it is the one that redirected connections arrive at.
    Rest,
}

impl ListenerTaken {
    /// Whether the destination that the client asked for is known, and not the listener's own socket instead of it.
    pub(crate) fn restores(&self) -> bool {
        self.found != Found::OwnSocket || self.inspectors.iter().any(|name| name == ORIGINAL_DST)
    }
}

const ORIGINAL_DST: &str = "envoy.filters.listener.original_dst";

/// The listener for what a workload sends. What is redirected arrives at the one listener that hands connections over.
pub(crate) fn outbound(
    listeners: &[Listener],
    destination: Destination,
) -> Option<(&Listener, ListenerTaken)> {
    let entry = listeners.iter().find(|listener| {
        is_bound(listener)
            && listener.use_original_dst.as_ref().is_some_and(|set| set.value)
            && listener.traffic_direction != i32::from(TrafficDirection::Inbound)
    });
    let Some(entry) = entry else {
        let found = at(listeners.iter().filter(|listener| is_bound(listener)), destination)?;
        return Some((found.0, taken(found.0, Found::OwnSocket, None, destination)));
    };
    let others = listeners.iter().filter(|listener| listener.name != entry.name);
    Some(match at(others, destination) {
        Some((listener, found)) => (listener, taken(listener, found, Some(&entry.name), destination)),
        None => (entry, taken(entry, Found::Rest, None, destination)),
    })
}

/// The listener for what a workload is sent: the one that restores the destination, else the one at that very address.
pub(crate) fn inbound(
    listeners: &[Listener],
    destination: Destination,
) -> Option<(&Listener, ListenerTaken)> {
    let inbound = |listener: &&Listener| {
        is_bound(listener) && listener.traffic_direction == i32::from(TrafficDirection::Inbound)
    };
    let restoring = listeners.iter().find(|listener| {
        inbound(listener) && listener.listener_filters.iter().any(|filter| filter.name == ORIGINAL_DST)
    });
    if let Some(listener) = restoring {
        return Some((listener, taken(listener, Found::Rest, None, destination)));
    }
    let (listener, _) = at(listeners.iter().filter(inbound), destination)?;
    Some((listener, taken(listener, Found::OwnSocket, None, destination)))
}

fn taken(listener: &Listener, found: Found, by: Option<&String>, destination: Destination) -> ListenerTaken {
    let address = addresses(listener).next();
    ListenerTaken {
        name: listener.name.clone(),
        address: address.map(|(address, port)| format!("{}:{port}", bracketed(&address))).unwrap_or_default(),
        found,
        handed_over_by: by.cloned(),
        inspectors: listener
            .listener_filters
            .iter()
            .filter(|filter| !is_off(filter.filter_disabled.as_ref(), destination.port))
            .map(|filter| filter.name.clone())
            .collect(),
    }
}

/// The listener of that address before the one of any address.
fn at<'a>(
    listeners: impl Iterator<Item = &'a Listener> + Clone,
    destination: Destination,
) -> Option<(&'a Listener, Found)> {
    let of_port = |listener: &Listener, wanted: &dyn Fn(IpAddr) -> bool| {
        addresses(listener)
            .any(|(address, port)| port == destination.port && address.parse().is_ok_and(wanted))
    };
    let exact = destination.address.and_then(|wanted| {
        listeners.clone().find(|listener| of_port(listener, &|address| address == wanted))
    });
    if let Some(listener) = exact {
        return Some((listener, Found::Address));
    }
    let any = |address: IpAddr| {
        address.is_unspecified()
            && destination.address.is_none_or(|wanted| wanted.is_ipv4() == address.is_ipv4())
    };
    listeners.clone().find(|listener| of_port(listener, &any)).map(|listener| (listener, Found::Port))
}

fn is_bound(listener: &Listener) -> bool {
    listener.bind_to_port.as_ref().is_none_or(|set| set.value)
}

fn addresses(listener: &Listener) -> impl Iterator<Item = (String, u16)> {
    let additional = listener.additional_addresses.iter().map(|additional| additional.address.as_ref());
    std::iter::once(listener.address.as_ref()).chain(additional).filter_map(|address| socket(address?))
}

/// Address and port of a socket address.
pub(crate) fn socket(address: &Address) -> Option<(String, u16)> {
    match &address.address {
        Some(Kind::SocketAddress(socket)) => {
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => u16::try_from(port).ok()?,
                _ => 0,
            };
            Some((socket.address.clone(), port))
        }
        _ => None,
    }
}

/// IPv6 addresses in brackets.
pub(crate) fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn is_off(predicate: Option<&ListenerFilterChainMatchPredicate>, port: u16) -> bool {
    match predicate.and_then(|predicate| predicate.rule.as_ref()) {
        Some(Rule::AnyMatch(any)) => *any,
        Some(Rule::OrMatch(set)) => set.rules.iter().any(|rule| is_off(Some(rule), port)),
        Some(Rule::AndMatch(set)) => set.rules.iter().all(|rule| is_off(Some(rule), port)),
        Some(Rule::NotMatch(rule)) => !is_off(Some(rule), port),
        Some(Rule::DestinationPortRange(range)) => (range.start..range.end).contains(&i32::from(port)),
        None => false,
    }
}
