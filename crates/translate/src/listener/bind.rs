//! Where outbound listeners listen, and which ports take them there. Knows addresses and protocols; must not know chains and filters.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meltemi_model::proxy::IpFamily;
use meltemi_model::service::{ServicePort, ServiceShape};
use meltemi_names::{Port, Protocol};

/// Where an outbound listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bind {
    /// On no socket: at any destination address that `virtualOutbound` hands over and no other listener has.
    Any(IpFamily),
    /// On no socket: at that destination address.
    Address(IpAddr),
    /// On a socket of the loopback address: nothing is redirected, so the application calls it there.
    Loopback(IpFamily),
}

impl Bind {
    /// The addresses: the first names the listener, the second is there for proxies of both families.
    pub(crate) fn addresses(self) -> (IpAddr, Option<IpAddr>) {
        let (family, v4, v6) = match self {
            Self::Address(address) => return (address, None),
            Self::Any(family) => (family, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            Self::Loopback(family) => (family, Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        };
        match family {
            IpFamily::V4 => (v4.into(), None),
            IpFamily::V6 => (v6.into(), None),
            IpFamily::Dual => (v4.into(), Some(v6.into())),
        }
    }

    /// `<address>_<port>`; IPv6 without brackets (Istio: pilot/pkg/networking/core/listener.go).
    pub(crate) fn listener_name(self, port: Port) -> String {
        format!("{}_{port}", self.addresses().0)
    }

    /// Whether it is a socket.
    pub(crate) fn is_bound(self) -> bool {
        matches!(self, Self::Loopback(_))
    }

    /// Whether it is the address of one service: what arrives needs no name to tell whom it is for.
    pub(crate) fn is_own(self) -> bool {
        matches!(self, Self::Address(_))
    }
}

/// How a listener treats a port (Istio: pilot/pkg/networking/networking.go).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Treatment {
    /// By request.
    Http,
    /// By connection; TLS of the application too.
    Tcp,
    /// As the first bytes show.
    Sniffed,
}

impl Treatment {
    /// How a port of that protocol is treated.
    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Http2 | Protocol::HttpProxy | Protocol::Grpc | Protocol::GrpcWeb => {
                Self::Http
            }
            Protocol::Https
            | Protocol::Tls
            | Protocol::Tcp
            | Protocol::Mongo
            | Protocol::Redis
            | Protocol::Mysql => Self::Tcp,
            Protocol::Auto | Protocol::Udp => Self::Sniffed,
        }
    }
}

/// Whether redirected callers of that family (`allocated`: who know the addresses that services were given, too) reach a port of a service through listeners at its own addresses with a route
/// configuration of its own, [`crate::resource_names::service_route`], whose one virtual host takes every domain. Other ports that
/// may carry HTTP are served from [`crate::resource_names::port_route`]; so are these where nothing is redirected (interception
/// NONE), since there every listener is at the loopback address.
pub fn has_own_route(service: &ServiceShape, port: &ServicePort, family: IpFamily, allocated: bool) -> bool {
    let own_address =
        service.is_headless() || service.addresses(allocated).iter().any(|address| family.takes(*address));
    Treatment::of(port.protocol) == Treatment::Sniffed && own_address
}
