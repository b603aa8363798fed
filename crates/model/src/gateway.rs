//! Gateways: which of them a class of proxies serves, and which VirtualServices say how.
//!
//! Knows: selectors, ports of the proxies' Services, hosts, who comes first. Must not know: Envoy's messages.   Start at
//! [`GatewaySet`] (what tells one class of proxies from another) and [`merge`] (what they listen to).
//! Invariant: only proxies of type router ask anything here, so that a mesh without them pays nothing.

pub mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_api::gateway::{Server, ServerHost};
use meltemi_api::mesh_config::{GatewayTopology, PROXY_CONFIG_ANNOTATION};
use meltemi_memo::Question;
use meltemi_names::{Host, Kind, Labels, Namespace, ObjectKey, Port, Selector};

use crate::entry::IndexKey;
use crate::index::workload_labels;
use crate::mesh::Mesh;
use crate::proxy::Proxy;
use crate::read::{self, Read, filed};
use crate::service::Age;
use crate::settings::settings;
use crate::virtual_service::{Callers, Outline, outline};
use crate::workload::led_to;

/// The Gateways that some proxies serve, and where these listen for the ports that the Gateways name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewaySet {
    /// Oldest first, as in Istio (pilot/pkg/model/push_context.go, `mergeGateways`).
    pub gateways: Arc<[ObjectKey]>,
    /// Of the ports that they name, those that clients reach through a Service at another one: that one. Sorted.
    pub ports: Arc<[(Port, Port)]>,
    /// The proxies may not listen on ports below 1024.
    pub unprivileged: bool,
}

impl GatewaySet {
    /// The Gateways of a proxy whose workload has these labels.
    pub fn of(read: &Read<'_>, proxy: &Arc<Proxy>, labels: &Labels) -> Self {
        let gateways = selecting(read, labels);
        let mut named = BTreeSet::new();
        for gateway in &*gateways {
            named.extend(read.ask(ServerPorts(gateway.clone())).iter().copied());
        }
        let mut ports = BTreeMap::new();
        if !named.is_empty() {
            for (port, target) in &*led_to(read, proxy) {
                // The first Service that has the port; there is no telling which of several is meant.
                if named.contains(port) {
                    ports.entry(*port).or_insert(*target);
                }
            }
        }
        let moved = ports.into_iter().filter(|(port, target)| port != target);
        Self { gateways, ports: moved.collect(), unprivileged: proxy.unprivileged }
    }

    /// Where a port is listened on.
    pub fn target(&self, port: Port) -> Port {
        let found = self.ports.iter().find(|(named, _)| *named == port);
        found.map_or(port, |(_, target)| *target)
    }
}

/// The Gateways whose selector selects these labels, oldest first.
pub fn selecting(read: &Read<'_>, labels: &Labels) -> Arc<[ObjectKey]> {
    let all = read.ask(Selectors);
    let found = all.iter().filter(|(_, selector)| selector.selects(labels));
    found.map(|(key, _)| key.clone()).collect()
}

/// Every Gateway with its selector, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Selectors;

impl Question for Selectors {
    type World = Mesh;
    type Answer = Vec<(ObjectKey, Selector)>;
    const NAME: &'static str = "gateway selectors";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut all: Vec<(Age, ObjectKey, Selector)> = filed(read, IndexKey::Gateways)
            .filter_map(|key| {
                let (meta, gateway) = read::gateway(read, key)?;
                Some((Age::of(meta), key.clone(), gateway.selector.clone()))
            })
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, key, selector)| (key, selector)).collect()
    }
}

/// What stands before a gateway: as its agent says, else as its pod's annotation does, else as the mesh's settings do.
pub fn topology(read: &Read<'_>, proxy: &Proxy) -> GatewayTopology {
    if let Some(said) = &proxy.topology {
        return said.clone();
    }
    let pod = ObjectKey::new(Kind::Pod, proxy.namespace.clone(), &*proxy.name);
    match &*read.ask(AnnotatedTopology(pod)) {
        Some(annotated) => annotated.clone(),
        None => (*read.ask(TopologyOfMesh)).clone(),
    }
}

/// What a pod's annotation says stands before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AnnotatedTopology(ObjectKey);

impl Question for AnnotatedTopology {
    type World = Mesh;
    type Answer = Option<GatewayTopology>;
    const NAME: &'static str = "what a pod says stands before it";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (meta, _) = read::pod(read, &self.0)?;
        GatewayTopology::annotated(meta.annotations.value(PROXY_CONFIG_ANNOTATION)?)
    }
}

/// What stands before gateways that say nothing themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TopologyOfMesh;

impl Question for TopologyOfMesh {
    type World = Mesh;
    type Answer = GatewayTopology;
    const NAME: &'static str = "what stands before gateways";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        settings(read).default_config.gateway_topology.clone()
    }
}

/// The namespaces that have workloads whose labels a Gateway's selector selects: its proxies, as far as they are known. Empty for a
/// selector that selects all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Homes {
    /// The selector.
    pub selector: Selector,
    /// A namespace that is looked at although no object declares it.
    pub own: Namespace,
}

impl Question for Homes {
    type World = Mesh;
    type Answer = BTreeSet<Namespace>;
    const NAME: &'static str = "namespaces of a gateway's proxies";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let Some((label, value)) = self.selector.labels().iter().next() else { return BTreeSet::new() };
        let (label, value): (Arc<str>, Arc<str>) = (label.into(), value.into());
        let declared = filed(read, IndexKey::Namespaces).map(|key| Namespace::from(key.name.as_str()));
        let all: BTreeSet<Namespace> = declared.chain([self.own.clone()]).collect();
        let has = |namespace: &Namespace| {
            let pods = IndexKey::PodsLabelled(namespace.clone(), Arc::clone(&label), Arc::clone(&value));
            let entries =
                IndexKey::WorkloadsLabelled(namespace.clone(), Arc::clone(&label), Arc::clone(&value));
            let mut pods = filed(read, pods).filter_map(|pod| Some(read::meta(read, pod)?.labels.clone()));
            let mut entries = filed(read, entries).filter_map(|entry| {
                let (meta, entry) = read::workload_entry(read, entry)?;
                Some(workload_labels(meta, &entry.labels))
            });
            pods.any(|labels| self.selector.selects(&labels))
                || entries.any(|labels| self.selector.selects(&labels))
        };
        let known: BTreeSet<Namespace> = all.iter().filter(|namespace| has(namespace)).cloned().collect();
        if !known.is_empty() {
            return known;
        }
        // A folder may have pods of namespaces that nobody declares.
        let others: BTreeSet<Namespace> =
            filed(read, IndexKey::Pods).map(|pod| pod.namespace.clone()).collect();
        others.difference(&all).filter(|namespace| has(namespace)).cloned().collect()
    }
}

/// The ports that a Gateway names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ServerPorts(ObjectKey);

impl Question for ServerPorts {
    type World = Mesh;
    type Answer = BTreeSet<Port>;
    const NAME: &'static str = "ports of a gateway";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let gateway = read::gateway(read, &self.0);
        gateway.iter().flat_map(|(_, gateway)| &gateway.servers).filter_map(Server::number).collect()
    }
}

/// The VirtualServices that are bound to a Gateway, oldest first, each as it is for that Gateway. Who of several namespaces follows them:
/// [`crate::virtual_service::followed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BoundTo(pub ObjectKey);

impl Question for BoundTo {
    type World = Mesh;
    type Answer = Arc<[Arc<Outline>]>;
    const NAME: &'static str = "virtual services of a gateway";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut outlines: Vec<Arc<Outline>> = filed(read, IndexKey::VirtualServicesOfGateway(self.0.clone()))
            .filter_map(|key| {
                let bound = OutlineAt { virtual_service: key.clone(), gateway: self.0.clone() };
                (*read.ask(bound)).clone()
            })
            .collect();
        outlines.sort_by(|one, other| one.age.cmp(&other.age));
        outlines.into()
    }
}

/// The selectors over a proxy's labels that VirtualServices of a Gateway ask for (`sourceLabels`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourcesAt(pub ObjectKey);

impl Question for SourcesAt {
    type World = Mesh;
    type Answer = BTreeSet<Selector>;
    const NAME: &'static str = "source labels at a gateway";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let bound = read.ask(BoundTo(self.0.clone()));
        let asked = bound.iter().flat_map(|outline| &outline.callers).map(|callers| callers.labels.clone());
        asked.filter(|labels| !labels.is_empty()).collect()
    }
}

/// A VirtualService as it is for the proxies of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OutlineAt {
    virtual_service: ObjectKey,
    gateway: ObjectKey,
}

impl Question for OutlineAt {
    type World = Mesh;
    type Answer = Option<Arc<Outline>>;
    const NAME: &'static str = "virtual service outline for a gateway";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let own = &self.virtual_service.namespace;
        outline(read, &self.virtual_service, |matching| Callers::at(matching, &self.gateway, own))
    }
}

/// Of a server's hosts and those of a VirtualService what they have in common: of each two that meet, the narrower one (Istio:
/// pkg/config/host/names.go, `Intersection`).
pub fn common(server: &[ServerHost], own: &Namespace, written: &Outline) -> BTreeSet<Host> {
    let mut common = BTreeSet::new();
    let namespace = &written.key.namespace;
    for ServerHost { host, .. } in server.iter().filter(|host| host.is_for(namespace, own)) {
        for wanted in &written.hosts {
            if host.covers(wanted) {
                common.insert(wanted.clone());
            } else if wanted.covers(host) {
                common.insert(host.clone());
            }
        }
    }
    common
}
