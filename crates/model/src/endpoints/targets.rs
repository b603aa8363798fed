//! The part of a service that its endpoints are made by, and which of them are sent as what.
//!
//! Must not know: where endpoints come from.   Invariant: a change of a service that its endpoints do not depend on ends here.

use std::sync::Arc;

use meltemi_api::service::TargetPort;
use meltemi_api::value::Session;
use meltemi_api::{Meta, ServiceEntry};
use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Port, Protocol, Selector};

use super::{Health, declared};
use crate::mesh::Mesh;
use crate::read::{self, Read};
use crate::service::ServiceId;

/// The part of a service that its endpoints are made by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TargetsOf(pub(super) ServiceId);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Targets {
    /// Empty: nobody is selected.
    pub(super) selector: Selector,
    pub(super) ports: Vec<Target>,
    /// Endpoints that are going away are sent as such: their clients stay with them.
    pub(super) drains: bool,
    /// Pods count before they are ready.
    pub(super) unready: bool,
    /// Addresses that are names are resolved, and there are no sockets.
    pub(super) resolved: bool,
    /// A pod's port of the name of the service's port counts before the target port.
    pub(super) by_name: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) port: Port,
    pub(super) name: Option<String>,
    pub(super) target: TargetPort,
}

impl Question for TargetsOf {
    type World = Mesh;
    type Answer = Option<Arc<Targets>>;
    const NAME: &'static str = "targets of a service";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        if let Some((_, entry)) = of_entry(read, &self.0) {
            return Some(Arc::new(declared::targets(entry)));
        }
        let (meta, service) = read::service(read, &self.0.object)?;
        if service.external_name.is_some() {
            return None;
        }
        let tcp = service.ports.iter().filter(|port| port.protocol() != Protocol::Udp);
        Some(Arc::new(Targets {
            selector: service.selector.clone(),
            ports: tcp
                .map(|port| Target {
                    port: port.port,
                    name: port.name.clone(),
                    target: port.target_port.clone(),
                })
                .collect(),
            drains: Session::of(&meta.labels).is_some(),
            unready: service.publish_not_ready_addresses,
            resolved: false,
            by_name: false,
        }))
    }
}

/// The entry that declares a service; none for one of Kubernetes.
fn of_entry<'a>(read: &Read<'a>, service: &ServiceId) -> Option<(&'a Meta, &'a ServiceEntry)> {
    (service.object.kind == Kind::ServiceEntry).then(|| read::service_entry(read, &service.object))?
}

/// The label of a workload that is to be left alone by new clients, whatever its state.
const DRAINING_LABEL: &str = "istio.io/draining";

impl Targets {
    /// The health with which an endpoint of these labels is sent; none if it is not (Istio: p/xds/endpoints/endpoint_builder.go).
    pub(super) fn sent(&self, health: Health, labels: &Labels) -> Option<Health> {
        let draining = labels.value(DRAINING_LABEL).is_some_and(|value| !value.is_empty());
        match health {
            Health::Draining => self.drains.then_some(Health::Draining),
            _ if draining => self.drains.then_some(Health::Draining),
            health => Some(health),
        }
    }
}
