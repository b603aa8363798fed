//! Rules for connections, `tcp` and `tls`: which there are, for whom and where to, without weights.

use std::sync::Arc;

use meltemi_api::VirtualService;
use meltemi_api::value::{GatewayName, Subnet};
use meltemi_api::virtual_service::{ConnectionDestination, ConnectionMatch, Destination, TcpRoute, TlsRoute};
use meltemi_memo::Question;
use meltemi_names::{Host, Namespace, ObjectKey};

use super::{Callers, Outline, OutlineOf};
use crate::entry::IndexKey;
use crate::index::qualified;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};

/// The rules for connections of a VirtualService, as far as they are for sidecars. A change of weights leaves it equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionRules {
    /// For connections to ports that carry anything.
    pub tcp: Vec<ConnectionRule>,
    /// For connections to ports that carry TLS.
    pub tls: Vec<ConnectionRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRule {
    /// Its place in the list that it stands in.
    pub place: usize,
    /// Any of them; never empty.
    pub conditions: Vec<ConnectionCondition>,
    /// Where to, as written but for short names, which are resolved.
    pub destinations: Vec<Destination>,
}

/// Conditions on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCondition {
    /// Whose connections, to which port.
    pub callers: Callers,
    /// Names that clients ask for in TLS; empty: any.
    pub names: Vec<Host>,
    /// Blocks that hold the called address; empty: any.
    pub subnets: Vec<Subnet>,
}

impl ConnectionRules {
    /// No rule is for sidecars.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.tls.is_empty()
    }

    /// Whom its rules let in.
    pub fn callers(&self) -> impl Iterator<Item = &Callers> {
        let rules = self.tcp.iter().chain(&self.tls);
        rules.flat_map(|rule| &rule.conditions).map(|condition| &condition.callers)
    }

    pub(super) fn of(service: &VirtualService, namespace: &Namespace) -> Self {
        let tcp = service.tcp.iter().enumerate().map(|(place, rule)| of_tcp(place, rule, namespace));
        let tls = service.tls.iter().enumerate().map(|(place, rule)| of_tls(place, rule, namespace));
        let is_used = |rule: &ConnectionRule| !rule.conditions.is_empty() && !rule.destinations.is_empty();
        Self { tcp: tcp.filter(is_used).collect(), tls: tls.filter(is_used).collect() }
    }
}

fn of_tcp(place: usize, rule: &TcpRoute, namespace: &Namespace) -> ConnectionRule {
    let conditions = if rule.matches.is_empty() {
        vec![ConnectionCondition::default()]
    } else {
        rule.matches.iter().filter_map(|found| condition(found, &[])).collect()
    };
    ConnectionRule { place, conditions, destinations: destinations(&rule.route, namespace) }
}

fn of_tls(place: usize, rule: &TlsRoute, namespace: &Namespace) -> ConnectionRule {
    let conditions =
        rule.matches.iter().filter_map(|found| condition(&found.connection, &found.sni_hosts)).collect();
    ConnectionRule { place, conditions, destinations: destinations(&rule.route, namespace) }
}

/// None if it is for gateways alone (Istio: networking/core/tls.go, `matchTCP`).
fn condition(found: &ConnectionMatch, names: &[Host]) -> Option<ConnectionCondition> {
    let sidecars = found.gateways.is_empty() || found.gateways.contains(&GatewayName::Mesh);
    sidecars.then(|| ConnectionCondition {
        callers: Callers {
            port: found.port,
            labels: found.source_labels.clone(),
            namespace: found.source_namespace.clone(),
        },
        names: names.to_vec(),
        subnets: found.destination_subnets.clone(),
    })
}

fn destinations(route: &[ConnectionDestination], namespace: &Namespace) -> Vec<Destination> {
    let resolved =
        |written: &Destination| Destination { host: qualified(&written.host, namespace), ..written.clone() };
    route.iter().map(|weighted| resolved(&weighted.destination)).collect()
}

/// Every VirtualService with rules for connections that apply to sidecars, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionVirtualServices;

impl Question for ConnectionVirtualServices {
    type World = Mesh;
    type Answer = Arc<[Arc<Outline>]>;
    const NAME: &'static str = "virtual services for connections";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut outlines: Vec<Arc<Outline>> = filed(read, IndexKey::ConnectionVirtualServices)
            .filter_map(|key| (*read.ask(OutlineOf(key.clone()))).clone())
            .filter(|outline| !outline.connections.is_empty())
            .collect();
        outlines.sort_by(|one, other| one.age.cmp(&other.age));
        outlines.into()
    }
}

/// A rule for connections by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionPlace {
    /// In `spec.tcp`.
    Tcp(usize),
    /// In `spec.tls`.
    Tls(usize),
}

/// The weights of a rule's destinations, in their order; empty if there is no such rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WeightsOf {
    /// The VirtualService.
    pub virtual_service: ObjectKey,
    /// The rule.
    pub place: ConnectionPlace,
}

impl Question for WeightsOf {
    type World = Mesh;
    type Answer = Vec<u32>;
    const NAME: &'static str = "weights of connections";

    fn answer(&self, read: &Read<'_>) -> Vec<u32> {
        let Some((_, service)) = read::virtual_service(read, &self.virtual_service) else {
            return Vec::new();
        };
        let route = match self.place {
            ConnectionPlace::Tcp(place) => service.tcp.get(place).map(|rule| &rule.route),
            ConnectionPlace::Tls(place) => service.tls.get(place).map(|rule| &rule.route),
        };
        route.into_iter().flatten().map(|weighted| weighted.weight).collect()
    }
}
