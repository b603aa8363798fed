//! Envoy's addresses.

use std::net::IpAddr;

use meltemi_api::value::Subnet;
use meltemi_names::Port;
use meltemi_proto::envoy::config::core::v3::{
    Address, CidrRange, Pipe, SocketAddress, address, socket_address,
};

use crate::wrap::u32_value;

/// An IP address and a port number; 0 lets the system choose.
pub fn socket_address(ip: IpAddr, port: u16) -> SocketAddress {
    SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    }
}

/// A TCP address.
pub fn tcp(ip: IpAddr, port: Port) -> Address {
    Address { address: Some(address::Address::SocketAddress(socket_address(ip, port.number()))) }
}

/// A name that Envoy resolves, and a port.
pub fn named(name: &str, port: Port) -> Address {
    let socket = SocketAddress {
        address: name.to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.number().into())),
        ..SocketAddress::default()
    };
    Address { address: Some(address::Address::SocketAddress(socket)) }
}

/// A Unix domain socket.
pub fn pipe(path: &str) -> Address {
    Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned(), ..Pipe::default() })) }
}

/// A block of addresses.
pub fn block(subnet: Subnet) -> CidrRange {
    CidrRange { address_prefix: subnet.address.to_string(), prefix_len: u32_value(subnet.prefix.into()) }
}
