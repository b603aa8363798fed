//! The other replicas: those that are named at start, and those that Kubernetes lists as endpoints of our own Service.
//!
//! Every endpoint counts, ready or not: one that goes away may still serve proxies. An endpoint that cannot be reached makes an answer
//! unknown until Kubernetes drops it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_api::{EndpointSlice, Spec};
use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey};

use super::Book;
use crate::config::Own;
use crate::ports::Listener;

/// The port of the Service that leads to the monitoring address.
const PORT: &str = "http-monitoring";

/// All other replicas.
#[derive(Debug)]
pub(super) struct Peers {
    fixed: Vec<String>,
    book: Arc<Book>,
}

impl Peers {
    pub(super) fn new(fixed: Vec<String>, book: Arc<Book>) -> Self {
        Self { fixed, book }
    }

    /// Their monitoring addresses, as they are known now.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = self.fixed.iter().cloned().chain(self.book.replicas()).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The replicas as Kubernetes lists them, kept up with what is read: costs the slices that change.
#[derive(Debug)]
pub(super) struct Replicas {
    own: Option<Own>,
    slices: BTreeMap<ObjectKey, Vec<SocketAddr>>,
}

impl Replicas {
    pub(super) fn new(own: Option<Own>) -> Self {
        Self { own, slices: BTreeMap::new() }
    }

    /// Takes what was read. Not what is served: the own namespace may be none of those that the mesh selects.
    pub(super) fn follow(&mut self, events: &[Event]) {
        let Some(own) = &self.own else { return };
        let ours = |key: &ObjectKey| key.kind == Kind::EndpointSlice && key.namespace == own.namespace;
        for event in events {
            match event {
                Event::Upsert(object) if ours(&object.meta.key) => {
                    let key = object.meta.key.clone();
                    match &object.spec {
                        Spec::EndpointSlice(slice) if slice.service.as_ref() == Some(&own.service) => {
                            self.slices.insert(key, others(slice, own));
                        }
                        _ => {
                            self.slices.remove(&key);
                        }
                    }
                }
                Event::Delete(key) => {
                    self.slices.remove(key);
                }
                _ => {}
            }
        }
    }

    pub(super) fn others(&self) -> Vec<String> {
        self.slices.values().flatten().map(ToString::to_string).collect()
    }
}

/// The monitoring addresses in a slice, without this replica's own.
fn others(slice: &EndpointSlice, own: &Own) -> Vec<SocketAddr> {
    let port = slice.ports.iter().find(|port| port.name.as_deref() == Some(PORT)).and_then(|port| port.port);
    let port = port.map_or(Listener::Monitoring.port(), |port| port.number());
    let is_own =
        |endpoint: &&meltemi_api::endpoint_slice::Endpoint| endpoint.pod.is_some() && endpoint.pod == own.pod;
    let others = slice.endpoints.iter().filter(|endpoint| !is_own(endpoint));
    // The addresses of one endpoint are of one pod.
    others.filter_map(|endpoint| Some(SocketAddr::new(*endpoint.addresses.first()?, port))).collect()
}

#[cfg(test)]
mod tests {
    use super::Replicas;
    use crate::config::Own;
    use meltemi_model::Event;
    use meltemi_names::{Kind, ObjectKey};
    use std::sync::Arc;

    fn upserts(yaml: &str) -> Vec<Event> {
        let objects = meltemi_api::parse_all(yaml).unwrap();
        objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect()
    }

    fn slice(name: &str, service: &str, port: &str, endpoints: &[(&str, &str)]) -> String {
        let endpoints: Vec<String> = endpoints
            .iter()
            .map(|(address, pod)| {
                format!("{{addresses: [{address}], targetRef: {{kind: Pod, name: {pod}}}}}")
            })
            .collect();
        format!(
            "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, namespace: istio-system, \
             labels: {{kubernetes.io/service-name: {service}}}}}, addressType: IPv4, ports: [{{name: {port}, port: 15014}}], \
             endpoints: [{}]}}\n",
            endpoints.join(", ")
        )
    }

    #[test]
    fn the_replicas_are_the_endpoints_of_the_own_service_without_the_own_pod() {
        let own = Own {
            namespace: "istio-system".into(),
            service: "istiod".into(),
            pod: Some("istiod-a".into()),
            revision: String::new(),
        };
        let mut replicas = Replicas::new(Some(own));
        let apply = |replicas: &mut Replicas, events: Vec<Event>| {
            replicas.follow(&events);
            replicas.others()
        };
        let all = [("10.0.0.1", "istiod-a"), ("10.0.0.2", "istiod-b"), ("10.0.0.3", "istiod-c")];
        let text =
            [slice("one", "istiod", "http-monitoring", &all), slice("other", "shop", "http", &all)].concat();
        assert_eq!(apply(&mut replicas, upserts(&text)), ["10.0.0.2:15014", "10.0.0.3:15014"]);
        let fewer = upserts(&slice("one", "istiod", "http-monitoring", &all[..2]));
        assert_eq!(apply(&mut replicas, fewer), ["10.0.0.2:15014"]);
        let gone = Event::Delete(ObjectKey::new(Kind::EndpointSlice, "istio-system", "one"));
        assert!(apply(&mut replicas, vec![gone]).is_empty());
    }
}
