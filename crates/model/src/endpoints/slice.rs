//! Endpoints of one EndpointSlice, joined with the pods that it names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::endpoint_slice::{self, EndpointHealth};
use meltemi_api::pod::Phase;
use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Locality, Namespace, ObjectKey, ObjectName, Port};

use super::{Backend, Endpoint, EndpointAddress, Health, Located, TargetsOf, locality, topology};
use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::peer;
use crate::read::{self, Read, filed, none_filed};
use crate::service::ServiceId;

/// The endpoints of a service that one of its slices says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SliceEndpoints {
    pub(super) service: ServiceId,
    pub(super) slice: ObjectKey,
}

impl Question for SliceEndpoints {
    type World = Mesh;
    type Answer = Vec<Located>;
    const NAME: &'static str = "endpoints of a slice";

    fn answer(&self, read: &Read<'_>) -> Vec<Located> {
        let shape = read.ask(TargetsOf(self.service.clone()));
        let (Some(targets), Some((_, slice))) = (&*shape, read::endpoint_slice(read, &self.slice)) else {
            return Vec::new();
        };
        // A slice says its ports by the names of the service's ports (Istio: p/xds/endpoints/endpoint_builder.go).
        let ports: BTreeMap<Port, Port> = targets
            .ports
            .iter()
            .filter_map(|target| {
                let port = slice.ports.iter().find(|port| port.name == target.name)?;
                Some((target.port, port.port?))
            })
            .collect();
        let ports = Arc::new(ports);
        let pods = *read.ask(AnyPod);
        let mut found = Vec::new();
        for endpoint in &slice.endpoints {
            let Some(health) = health(endpoint.health) else { continue };
            for address in &endpoint.addresses {
                let Some(behind) = behind(read, endpoint, (*address, pods), &self.slice.namespace) else {
                    continue;
                };
                let Some(health) = targets.sent(health, &behind.backend.labels) else { continue };
                let endpoint = Endpoint {
                    address: EndpointAddress::Ip(*address),
                    health,
                    ports: Arc::clone(&ports),
                    node: behind.node,
                    weight: 1,
                    backend: behind.backend,
                    pod: behind.pod,
                    hostname: endpoint.hostname.clone(),
                    twin: false,
                };
                found.push((behind.locality, Arc::new(endpoint)));
            }
        }
        found
    }
}

/// What the three conditions say; none of one that is going away and answers nobody.
fn health(conditions: EndpointHealth) -> Option<Health> {
    if conditions.is_ready() {
        Some(Health::Healthy)
    } else if conditions.is_draining() {
        Some(Health::Draining)
    } else if conditions.is_terminating() {
        None
    } else {
        Some(Health::Unhealthy)
    }
}

/// What is known of an endpoint of a slice.
struct Behind {
    locality: Locality,
    node: Option<Arc<str>>,
    backend: Arc<Backend>,
    pod: Option<ObjectName>,
}

/// What is behind an endpoint of a slice; none while its pod is waited for. Only the pod says where it runs: zone and node of a slice
/// are not read (Istio: serviceregistry/kube/controller/endpointslice.go), except where there are no pods at all.
fn behind(
    read: &Read<'_>,
    endpoint: &endpoint_slice::Endpoint,
    (address, pods): (IpAddr, bool),
    namespace: &Namespace,
) -> Option<Behind> {
    let of_pod = |key: &ObjectKey| {
        let pod = read.ask(PodBackend(key.clone()));
        let PodFacts { node, backend } = (*pod).clone()?;
        let locality = locality(read, &backend.labels, node.as_ref());
        Some(Behind { locality, node, backend, pod: Some(key.name.clone()) })
    };
    let nowhere = |place: Locality, node: Option<Arc<str>>| {
        let network = topology::network(read, &Labels::default());
        let backend = Backend { namespace: Some(namespace.clone()), network, ..Backend::default() };
        Some(Behind { locality: place, node, backend: Arc::new(backend), pod: endpoint.pod.clone() })
    };
    // Without its pod an endpoint has neither labels nor identity, so it waits for it; in a folder without any pod it would wait for
    // ever.
    if !pods {
        let mut place = locality(read, &Labels::default(), endpoint.node_name.as_ref());
        if place.zone.is_empty() {
            place.zone = endpoint.zone.clone().unwrap_or_default();
        }
        return nowhere(place, endpoint.node_name.clone());
    }
    if let Some(name) = &endpoint.pod {
        return of_pod(&ObjectKey::new(Kind::Pod, namespace.clone(), name.clone()));
    }
    // A slice written by hand may name the address of a pod.
    let at = filed(read, IndexKey::WorkloadsAt(address));
    at.filter(|key| key.kind == Kind::Pod && key.namespace == *namespace)
        .find_map(of_pod)
        .or_else(|| nowhere(Locality::default(), None))
}

/// Whether there is any Pod at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AnyPod;

impl Question for AnyPod {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any pod";

    fn answer(&self, read: &Read<'_>) -> bool {
        !none_filed(read, IndexKey::Pods)
    }
}

/// What endpoints take from a pod: its state, which changes more often, ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodBackend(pub(super) ObjectKey);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub(super) node: Option<Arc<str>>,
    pub(super) backend: Arc<Backend>,
}

impl Question for PodBackend {
    type World = Mesh;
    type Answer = Option<PodFacts>;
    const NAME: &'static str = "backend of a pod";

    fn answer(&self, read: &Read<'_>) -> Option<PodFacts> {
        let (meta, pod) = read::pod(read, &self.0)?;
        // A pod that has failed is as good as gone, though a slice may still name it.
        let backend = (pod.phase != Phase::Failed).then(|| Backend {
            labels: meta.labels.clone(),
            workload: Arc::clone(&pod.workload),
            namespace: Some(self.0.namespace.clone()),
            service_account: Some(Arc::clone(&pod.service_account)),
            network: topology::network(read, &meta.labels),
            tls: peer::tls_ports(
                read,
                &self.0.namespace,
                &meta.labels,
                meta.labels.value(peer::TLS_MODE_LABEL) == Some(peer::TLS_MODE_ISTIO),
            ),
        })?;
        Some(PodFacts { node: pod.node_name.clone(), backend: Arc::new(backend) })
    }
}
