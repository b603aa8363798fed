//! Filter chains and sockets: the parts that every kind of listener is put together from.

use std::net::IpAddr;

use meltemi_names::Port;
use meltemi_proto::envoy::config::listener::v3::listener::ConnectionBalanceConfig;
use meltemi_proto::envoy::config::listener::v3::listener::connection_balance_config::{
    BalanceType, ExactBalance,
};
use meltemi_proto::envoy::config::listener::v3::{
    AdditionalAddress, Filter, FilterChain, FilterChainMatch, Listener,
};
use meltemi_proto::google::protobuf::BoolValue;

use crate::address::tcp;
use crate::wrap::u32_value;

/// The chain for what no service of a port takes (Istio: pilot/pkg/networking/core/listener.go).
pub(crate) const PASSTHROUGH_CHAIN: &str = "PassthroughFilterChain";

/// What http_inspector calls the plaintext HTTP versions that are taken as HTTP.
pub(crate) fn plaintext_http(http10: bool) -> Vec<String> {
    let versions = ["http/1.1", "h2c"].into_iter().chain(http10.then_some("http/1.0"));
    versions.map(str::to_owned).collect()
}

/// No TLS was seen.
pub(crate) const RAW_BUFFER: &str = "raw_buffer";

/// A chain of one network filter, of that name and match.
pub(crate) fn chain(name: &str, matching: Option<FilterChainMatch>, filter: Filter) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filter_chain_match: matching,
        filters: vec![filter],
        ..FilterChain::default()
    }
}

/// Connections to that port.
pub(crate) fn to_port(port: Port) -> FilterChainMatch {
    FilterChainMatch { destination_port: u32_value(port.number().into()), ..FilterChainMatch::default() }
}

/// A listener of that name at these addresses; the second is for proxies with addresses of both families.
pub(crate) fn listener(name: &str, (first, second): (IpAddr, Option<IpAddr>), port: Port) -> Listener {
    let additional = second.map(|address| AdditionalAddress {
        address: Some(tcp(address, port)),
        ..AdditionalAddress::default()
    });
    Listener {
        name: name.to_owned(),
        address: Some(tcp(first, port)),
        additional_addresses: additional.into_iter().collect(),
        ..Listener::default()
    }
}

/// Envoy's threads share its connections evenly.
pub(crate) fn evenly() -> ConnectionBalanceConfig {
    ConnectionBalanceConfig { balance_type: Some(BalanceType::ExactBalance(ExactBalance {})) }
}

/// Makes it a listener with a socket of its own, or one that only `virtualOutbound` hands connections to.
pub(crate) fn bind(listener: &mut Listener, bound: bool) {
    if bound {
        // One connection at a time, so that workers share them evenly (Istio sets the same).
        listener.max_connections_to_accept_per_socket_event = u32_value(1);
    } else {
        listener.bind_to_port = Some(BoolValue { value: false });
    }
}
