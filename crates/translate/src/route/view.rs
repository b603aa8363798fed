//! What routes are for: all that a caller sees, or, by a Sidecar, what each of its egress listeners imports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::sidecar::{Egress, EgressBind};
use meltemi_model::read::Read;
use meltemi_model::scope::{EgressOf, Imported, ImportedRules};
use meltemi_model::service::{PortTable, ServiceId, ServiceOf};
use meltemi_model::virtual_service::{MeshVirtualServices, Outline, followed};
use meltemi_names::{ObjectKey, Port, Protocol};

use super::{AllPorts, RoutesKey};

/// Services by port, oldest first within a port, with what the port speaks.
type Table = BTreeMap<Port, Vec<(ServiceId, Protocol)>>;

/// What some route configurations are for.
pub(super) struct View {
    /// Which configurations.
    pub(super) at: At,
    /// The services.
    pub(super) table: Arc<Table>,
    /// The VirtualServices, the first that wins first.
    pub(super) rules: Vec<Arc<Outline>>,
    /// What the listener speaks, whatever its services say.
    pub(super) protocol: Option<Protocol>,
    /// Ports that another listener has.
    taken: BTreeSet<Port>,
}

/// Which route configurations there are.
pub(super) enum At {
    /// One for each port, and for each service that is found out on listeners of its own.
    Ports,
    /// One for all ports.
    All(AllPorts),
}

impl View {
    /// Whether another listener answers for that port.
    pub(super) fn is_taken(&self, port: Port) -> bool {
        self.taken.contains(&port)
    }
}

/// The views of a caller; those that name a port first.
pub(super) fn views(key: &RoutesKey, read: &Read<'_>) -> Vec<View> {
    let Some(sidecar) = &key.scope else {
        let all = read.ask(MeshVirtualServices);
        let at = std::iter::once(At::Ports).chain(key.http_proxy.then_some(At::All(AllPorts::HttpProxy)));
        let view = |at| View {
            at,
            table: read.ask(PortTable(key.namespace.clone())),
            rules: followed(&all, &key.namespace).into_iter().cloned().collect(),
            protocol: None,
            taken: BTreeSet::new(),
        };
        return at.map(view).collect();
    };
    let egress = read.ask(EgressOf(sidecar.clone()));
    let named: BTreeSet<Port> =
        egress.iter().filter_map(|egress| egress.port.as_ref()).filter_map(|port| port.number).collect();
    let listeners = egress.iter().enumerate();
    let views = listeners.filter_map(|(at, egress)| of_listener(key, read, sidecar, (at, egress), &named));
    let mut views: Vec<View> = views.collect();
    if key.http_proxy {
        // Whom an HTTP proxy calls says the entry that is for no port (Istio: pilot/pkg/model/sidecar.go,
        // `GetEgressListenerForRDS`); where there is none it calls nobody.
        let all =
            egress.iter().enumerate().find(|(_, egress)| egress.port.is_none() && egress.bind.is_none());
        let all = all.and_then(|found| of_listener(key, read, sidecar, found, &named));
        let nobody = || View {
            at: At::Ports,
            table: Arc::default(),
            rules: Vec::new(),
            protocol: None,
            taken: BTreeSet::new(),
        };
        views.push(View { at: At::All(AllPorts::HttpProxy), ..all.unwrap_or_else(nobody) });
    }
    views
}

/// None for a listener of connections that are not taken apart.
fn of_listener(
    key: &RoutesKey,
    read: &Read<'_>,
    sidecar: &ObjectKey,
    (listener, egress): (usize, &Egress),
    named: &BTreeSet<Port>,
) -> Option<View> {
    let (viewer, scope) = (key.namespace.clone(), sidecar.clone());
    let services = read.ask(Imported { viewer, sidecar: scope, listener });
    let port = egress.port.as_ref();
    let protocol = port.map(|port| port.protocol());
    if protocol.is_some_and(|protocol| !protocol.is_http() && protocol != Protocol::Auto) {
        return None;
    }
    let number = port.and_then(|port| port.number);
    let at = match (&egress.bind, number) {
        (Some(EgressBind::Unix(path)), _) => At::All(AllPorts::Unix(path.as_str().into())),
        (_, Some(number)) if protocol == Some(Protocol::HttpProxy) => At::All(AllPorts::Port(number)),
        _ => At::Ports,
    };
    let mut table = Table::new();
    for service in services.iter() {
        let shape = read.ask(ServiceOf(service.clone()));
        let ports = shape.iter().flat_map(|shape| &shape.ports);
        let served = ports.filter(|port| match (&at, number) {
            (At::Ports, Some(number)) => port.port == number,
            _ => true,
        });
        for port in served {
            table.entry(port.port).or_default().push((service.clone(), port.protocol));
        }
    }
    let (viewer, scope) = (key.namespace.clone(), sidecar.clone());
    let rules = read.ask(ImportedRules { viewer, sidecar: scope, listener });
    let taken = if port.is_none() { named.clone() } else { BTreeSet::new() };
    Some(View { at, table: table.into(), rules: rules.to_vec(), protocol, taken })
}
