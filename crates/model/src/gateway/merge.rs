//! What the proxies of some Gateways listen to: the Gateways' servers, joined by port.
//!
//! Knows: which servers can share a port, and which comes first. Must not know: what they do with a connection.   Start at [`Merged`].
//! Invariant: no two servers of one listener are for the same name in the handshake: Envoy refuses such a listener as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::gateway::{Server, ServerBind};
use meltemi_memo::Question;
use meltemi_names::{Host, ObjectKey, Port, Protocol};

use super::GatewaySet;
use crate::mesh::Mesh;
use crate::read::{self, Read};

/// Where some servers listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The port; none for a Unix socket.
    pub port: Option<Port>,
    /// The address, or socket; none: all addresses.
    pub bind: Option<ServerBind>,
}

/// A server that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInForce {
    /// The Gateway.
    pub gateway: ObjectKey,
    /// Its place in `spec.servers`.
    pub index: usize,
    /// What it says.
    pub server: Server,
    /// The name of the route configuration that it is served from, where requests are routed.
    pub route: Option<Arc<str>>,
}

impl ServerInForce {
    /// The names in the handshake that it is for; none: every name, also none at all. Sorted.
    pub fn server_names(&self) -> Vec<Host> {
        let names: BTreeSet<Host> = self.server.hosts.iter().map(|host| host.host.clone()).collect();
        if names.iter().any(|name| name.as_str() == "*") { Vec::new() } else { names.into_iter().collect() }
    }
}

/// Why a server is not in force for some proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// An older server of the port speaks another protocol.
    Protocol {
        /// The Gateway of the older one.
        other: ObjectKey,
        /// What that one speaks.
        speaks: Protocol,
    },
    /// An older server of the port is for the same name in the handshake.
    Host {
        /// The Gateway of the older one.
        other: ObjectKey,
        /// The name.
        host: Host,
    },
}

/// A server that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The Gateway.
    pub gateway: ObjectKey,
    /// Its place in `spec.servers`.
    pub index: usize,
    /// Why.
    pub why: Conflict,
}

/// What the servers of some Gateways come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// By where they listen: the servers in force, first come first. In the clear they share one chain, encrypted each has its own.
    pub listeners: BTreeMap<Address, Vec<ServerInForce>>,
    /// The others.
    pub rejected: Vec<Rejected>,
}

/// Joins the servers of some Gateways (Istio: pilot/pkg/model/gateway.go, `mergeGateways`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Merged(pub GatewaySet);

impl Question for Merged {
    type World = Mesh;
    type Answer = Merge;
    const NAME: &'static str = "merged gateways";

    fn answer(&self, read: &Read<'_>) -> Merge {
        let mut merge = Merge::default();
        for key in &*self.0.gateways {
            let Some((_, gateway)) = read::gateway(read, key) else { continue };
            for (index, server) in gateway.servers.iter().enumerate() {
                let port = server.number().map(|port| self.0.target(port));
                // A proxy that may not listen there would refuse the listener.
                if self.0.unprivileged && port.is_some_and(|port| port.number() < 1024) {
                    continue;
                }
                let address = Address { port, bind: server.bind.clone() };
                merge.take(address, key, index, server);
            }
        }
        merge
    }
}

impl Merge {
    fn take(&mut self, address: Address, gateway: &ObjectKey, index: usize, server: &Server) {
        let before = self.listeners.get(&address).map(Vec::as_slice).unwrap_or_default();
        if let Some(why) = conflict(before, server) {
            self.rejected.push(Rejected { gateway: gateway.clone(), index, why });
            return;
        }
        let route = route_name(&address, gateway, server);
        let taken = ServerInForce { gateway: gateway.clone(), index, server: server.clone(), route };
        self.listeners.entry(address).or_default().push(taken);
    }

    /// The servers of each route configuration, by its name.
    pub fn routes(&self) -> BTreeMap<Arc<str>, Vec<&ServerInForce>> {
        let mut routes: BTreeMap<Arc<str>, Vec<&ServerInForce>> = BTreeMap::new();
        for server in self.listeners.values().flatten() {
            if let Some(name) = &server.route {
                routes.entry(Arc::clone(name)).or_default().push(server);
            }
        }
        routes
    }
}

/// Requests in the clear share a port; encrypted connections do, while they are for different names; nothing else does.
fn conflict(before: &[ServerInForce], server: &Server) -> Option<Conflict> {
    let first = before.first()?;
    let protocol = || {
        let (other, speaks) = (first.gateway.clone(), first.server.protocol());
        Some(Conflict::Protocol { other, speaks })
    };
    match (first.server.encrypted().is_some(), server.encrypted().is_some()) {
        (false, false) if first.server.protocol().is_http() && server.protocol().is_http() => None,
        (true, true) => {
            let names: BTreeSet<&Host> = server.hosts.iter().map(|host| &host.host).collect();
            before.iter().find_map(|other| {
                let host = other.server.hosts.iter().find(|host| names.contains(&host.host))?;
                Some(Conflict::Host { other: other.gateway.clone(), host: host.host.clone() })
            })
        }
        _ => protocol(),
    }
}

/// `http.<port listened on>`, `https.<number>.<name of the port>.<gateway>.<namespace>`, and `.<bind>` where one is written (Istio:
/// pilot/pkg/model/gateway.go, `gatewayRDSRouteName`).
fn route_name(address: &Address, gateway: &ObjectKey, server: &Server) -> Option<Arc<str>> {
    let number = |port: Option<Port>| port.map_or(0, Port::number);
    let bind = server.bind.as_ref().map(|bind| format!(".{bind}")).unwrap_or_default();
    if server.protocol().is_http() {
        return Some(format!("http.{}{bind}", number(address.port)).into());
    }
    if !server.is_http() {
        return None;
    }
    let name = server.port.as_ref().map(|port| port.name.as_str()).unwrap_or_default();
    let number = number(server.number());
    Some(format!("https.{number}.{name}.{}.{}{bind}", gateway.name, gateway.namespace).into())
}
