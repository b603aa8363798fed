//! Endpoints of one EndpointSlice, joined with the pods that it names.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_api::Pod;
use meltemi_api::endpoint_slice;
use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Locality, Namespace, ObjectKey, Port};

use super::{Backend, Endpoint, EndpointAddress, Health, Located, TargetsOf, locality};
use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::read::{self, Read, none_filed};

/// The endpoints of a service that one of its slices says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SliceEndpoints {
    pub(super) service: ObjectKey,
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
        let mut found = Vec::new();
        for endpoint in slice.endpoints.iter().filter(|endpoint| !endpoint.health.is_terminating()) {
            let Some((locality, node, backend)) = behind(read, endpoint, &self.slice.namespace) else {
                continue;
            };
            for address in &endpoint.addresses {
                let health = if endpoint.health.is_ready() { Health::Healthy } else { Health::Unhealthy };
                let endpoint = Endpoint {
                    address: EndpointAddress::Ip(*address),
                    health,
                    ports: Arc::clone(&ports),
                    node: node.clone(),
                    weight: 1,
                    backend: Arc::clone(&backend),
                };
                found.push((locality.clone(), Arc::new(endpoint)));
            }
        }
        found
    }
}

/// What is behind an endpoint of a slice; none while its pod is waited for.
fn behind(
    read: &Read<'_>,
    endpoint: &endpoint_slice::Endpoint,
    namespace: &Namespace,
) -> Option<(Locality, Option<Arc<str>>, Arc<Backend>)> {
    if let Some(name) = &endpoint.pod {
        let key = ObjectKey::new(Kind::Pod, namespace.clone(), name.clone());
        let pod = read.ask(PodBackend(key));
        match &*pod {
            Some(pod) => {
                let node = pod.node.clone().or_else(|| endpoint.node_name.clone());
                return Some((
                    locality(read, &pod.backend.labels, node.as_ref()),
                    node,
                    Arc::clone(&pod.backend),
                ));
            }
            // Without its pod an endpoint has neither labels nor identity, so it waits for it (Istio:
            // serviceregistry/kube/controller/endpointslice.go); in a folder without any pod it would wait for ever.
            None if *read.ask(AnyPod) => return None,
            None => {}
        }
    }
    let node = endpoint.node_name.clone();
    let mut place = locality(read, &Labels::default(), node.as_ref());
    if place.zone.is_empty() {
        place.zone = endpoint.zone.clone().unwrap_or_default();
    }
    let backend = Backend { namespace: Some(namespace.clone()), ..Backend::default() };
    Some((place, node, Arc::new(backend)))
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
        Some(PodFacts {
            node: pod.node_name.clone(),
            backend: Arc::new(backend_of(&meta.labels, pod, &self.0)),
        })
    }
}

fn backend_of(labels: &Labels, pod: &Pod, key: &ObjectKey) -> Backend {
    Backend {
        labels: labels.clone(),
        workload: Arc::clone(&pod.workload),
        namespace: Some(key.namespace.clone()),
        service_account: Some(Arc::clone(&pod.service_account)),
    }
}
