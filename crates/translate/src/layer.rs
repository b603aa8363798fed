//! Which layers a proxy is served from, and the parts of a layer. The only place that sees a proxy, and only to make keys of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::envoy_filter::Context;
use meltemi_memo::{Memo, NodeId, Question};
use meltemi_model::endpoints::{CLUSTER_ID, NETWORK, network};
use meltemi_model::gateway::{GatewaySet, SourcesAt, topology};
use meltemi_model::place::AnyCallerReads;
use meltemi_model::proxy::{Interception, Proxy, ProxyKind};
use meltemi_model::read::Read;
use meltemi_model::scope::{Chosen, ScopedServices, Seen, SidecarsOf, chosen};
use meltemi_model::service::{AnyAllocated, VisibleServices};
use meltemi_model::workload::{self, Workload, WorkloadFacts, WorkloadLocality};
use meltemi_model::{Mesh, envoy_filter, virtual_service};
use meltemi_names::{Locality, Selector};

use crate::cluster::{FixedKey, ServicePartKey};
use crate::gateway::GatewayKey;
use crate::key::{LayerKey, OutboundKey, PartKey};
use crate::listener::{AnyCollector, InboundKey, InboundPartKey, ListenersKey, NamesService, TelemetryKey};
use crate::names::NamesKey;
use crate::patch::{self, Patches};
use crate::route::RoutesKey;

/// The layers of one proxy. An equal answer for many proxies is what makes them share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LayersOf {
    /// The proxy, as it introduced itself.
    pub proxy: Arc<Proxy>,
    /// Routes go out as virtual hosts to those that take them.
    pub virtual_hosts: bool,
}

impl Question for LayersOf {
    type World = Mesh;
    type Answer = Vec<LayerKey>;
    const NAME: &'static str = "layers of a proxy";

    fn answer(&self, read: &Read<'_>) -> Vec<LayerKey> {
        let proxy = &self.proxy;
        let workload = read.ask(Workload(Arc::clone(proxy)));
        let selectors: BTreeSet<Selector> = read
            .ask(virtual_service::OutboundSelectors(proxy.namespace.clone()))
            .iter()
            .filter(|selector| selector.selects(&workload.labels))
            .cloned()
            .collect();
        // Where a proxy runs is read as far as something orders endpoints by it, and no further.
        let reads = read.ask(AnyCallerReads);
        let locality = reads.any.then(|| match reads.depth {
            0 => Locality::default(),
            _ => reads.of(&read.ask(WorkloadLocality(Arc::clone(proxy)))),
        });
        let labelled = |key: &Arc<str>| match &**key {
            NETWORK => network(read, &workload.labels),
            key => workload.labels.value(key).map(Arc::from),
        };
        let failover_labels = reads.labels.iter().filter_map(|key| Some((Arc::clone(key), labelled(key)?)));
        let reads_node = reads.node || *read.ask(workload::AnyNodeLocal);
        let place = Whereabouts {
            locality,
            failover_labels: failover_labels.collect(),
            node: workload.node.clone().filter(|_| reads_node),
        };
        let sidecar = self.sidecar(read, &workload);
        let objects = Arc::clone(&workload.telemetry);
        let is_named = *read.ask(NamesService(Arc::clone(&objects)));
        let service = if is_named { Arc::clone(&proxy.cluster) } else { Arc::default() };
        // A collector that a Sidecar leaves out is none for the proxy.
        let scope = sidecar.as_ref().filter(|sidecar| sidecar.outbound && *read.ask(AnyCollector));
        let telemetry =
            TelemetryKey { objects, service, viewer: None, scope: scope.map(|sidecar| sidecar.key.clone()) };
        let patches = |traffic: Context| {
            Patches::new(traffic, envoy_filter::matching(read, proxy, &workload.labels, traffic))
        };
        if proxy.kind == ProxyKind::Router {
            let patches = patches(Context::Gateway);
            return vec![LayerKey::Gateway(self.gateway(
                read,
                &workload,
                selectors,
                place,
                (patches, telemetry),
            ))];
        }
        let mut layers = vec![LayerKey::Outbound(OutboundKey {
            namespace: proxy.namespace.clone(),
            scope: sidecar.as_ref().filter(|sidecar| sidecar.outbound).map(|sidecar| sidecar.key.clone()),
            domain: proxy.cluster_domain().map(Arc::from),
            interception: proxy.interception,
            family: proxy.family(),
            selectors: selectors.into_iter().collect(),
            locality: place.locality,
            failover_labels: place.failover_labels,
            node: place.node,
            http10: proxy.http10,
            dns_capture: proxy.dns_capture,
            access_log: proxy.access_log,
            metrics: proxy.metrics,
            telemetry: telemetry.clone(),
            virtual_hosts: self.virtual_hosts && proxy.takes_virtual_hosts,
            has_certificates: proxy.has_certificates,
            patches: patches(Context::SidecarOutbound),
        })];
        // Without redirection nothing reaches the proxy but at ports that a Sidecar names (Istio: no inbound in mode NONE).
        let ingress = sidecar.as_ref().is_some_and(|sidecar| sidecar.ingress);
        if ingress || proxy.interception != Interception::None {
            layers.push(LayerKey::Inbound(InboundKey {
                namespace: proxy.namespace.clone(),
                ports: workload.ports.clone(),
                interception: proxy.interception,
                family: proxy.family(),
                access_log: proxy.access_log,
                metrics: proxy.metrics,
                telemetry,
                workload: if proxy.metrics { self.packed(&workload).into() } else { Arc::default() },
                policy: workload.policy.clone(),
                has_certificates: proxy.has_certificates,
                scope: sidecar.as_ref().filter(|sidecar| sidecar.inbound).map(|sidecar| sidecar.key.clone()),
                addresses: match &sidecar {
                    Some(sidecar) if sidecar.own_address => proxy.addresses.as_slice().into(),
                    _ => Arc::default(),
                },
                patches: patches(Context::SidecarInbound),
            }));
        }
        layers
    }
}

/// Where a proxy runs, as far as anything reads it; see [`OutboundKey`].
struct Whereabouts {
    locality: Option<Locality>,
    failover_labels: Arc<[(Arc<str>, Arc<str>)]>,
    node: Option<Arc<str>>,
}

impl LayersOf {
    /// A gateway is not called by other workloads' sidecars in any way of its own: its servers are all that it has.
    fn gateway(
        &self,
        read: &Read<'_>,
        workload: &WorkloadFacts,
        mut selectors: BTreeSet<Selector>,
        place: Whereabouts,
        (patches, telemetry): (Patches, TelemetryKey),
    ) -> GatewayKey {
        let proxy = &self.proxy;
        let set = GatewaySet::of(read, proxy, &workload.labels);
        for gateway in &*set.gateways {
            let asked = read.ask(SourcesAt(gateway.clone()));
            selectors.extend(asked.iter().filter(|selector| selector.selects(&workload.labels)).cloned());
        }
        GatewayKey {
            namespace: proxy.namespace.clone(),
            set,
            family: proxy.family(),
            selectors: selectors.into_iter().collect(),
            locality: place.locality,
            failover_labels: place.failover_labels,
            node: place.node,
            http10: proxy.http10,
            access_log: proxy.access_log,
            metrics: proxy.metrics,
            telemetry,
            virtual_hosts: self.virtual_hosts && proxy.takes_virtual_hosts,
            has_certificates: proxy.has_certificates,
            secrets: proxy.secrets,
            topology: topology(read, proxy),
            patches,
        }
    }

    /// The Sidecar in force; gateways have none.
    fn sidecar(&self, read: &Read<'_>, workload: &WorkloadFacts) -> Option<Chosen> {
        if self.proxy.kind != ProxyKind::Sidecar {
            return None;
        }
        let sidecars = read.ask(SidecarsOf(self.proxy.namespace.clone()));
        chosen(&sidecars, &workload.labels).cloned()
    }

    /// The workload as metrics know it.
    fn packed(&self, workload: &WorkloadFacts) -> String {
        let namespace = self.proxy.namespace.as_str();
        let label = |key: &str| workload.labels.value(key);
        meltemi_telemetry::Workload::labelled(&workload.name, namespace, CLUSTER_ID, label).packed()
    }
}

/// The parts of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartsOf(pub LayerKey);

impl Question for PartsOf {
    type World = Mesh;
    type Answer = Vec<PartKey>;
    const NAME: &'static str = "parts of a layer";

    fn answer(&self, read: &Read<'_>) -> Vec<PartKey> {
        match &self.0 {
            LayerKey::Inbound(key) => {
                // What is made knows nothing of what is done to it afterwards.
                let made = InboundKey { patches: Patches::default(), ..key.clone() };
                patch::parts(read, vec![PartKey::Inbound(InboundPartKey(made))], &key.patches)
            }
            LayerKey::Gateway(key) => patch::parts(read, crate::gateway::parts(read, key), &key.patches),
            LayerKey::Outbound(key) => {
                // Where no service was given an address it makes no difference to listeners and routes who answers DNS.
                let allocated = key.dns_capture && *read.ask(AnyAllocated);
                let names = key.dns_capture.then(|| {
                    PartKey::Names(NamesKey { namespace: key.namespace.clone(), family: key.family })
                });
                let fixed = [
                    PartKey::Fixed(FixedKey),
                    PartKey::Listeners(ListenersKey {
                        namespace: key.namespace.clone(),
                        scope: key.scope.clone(),
                        interception: key.interception,
                        family: key.family,
                        selectors: Arc::clone(&key.selectors),
                        http10: key.http10,
                        allocated,
                        access_log: key.access_log,
                        metrics: key.metrics,
                        telemetry: key.telemetry.clone(),
                        has_certificates: key.has_certificates,
                    }),
                    PartKey::Routes(RoutesKey {
                        namespace: key.namespace.clone(),
                        scope: key.scope.clone(),
                        domain: key.domain.clone(),
                        family: key.family,
                        allocated,
                        selectors: Arc::clone(&key.selectors),
                        virtual_hosts: key.virtual_hosts,
                    }),
                ];
                let services = seen(read, key).into_iter().map(|Seen { service, ports }| {
                    PartKey::Service(ServicePartKey {
                        viewer: key.namespace.clone(),
                        service,
                        ports,
                        selectors: Arc::clone(&key.selectors),
                        locality: key.locality.clone(),
                        failover_labels: Arc::clone(&key.failover_labels),
                        node: key.node.clone(),
                        family: key.family,
                        secrets: false,
                        redirected: key.interception != Interception::None,
                        has_certificates: key.has_certificates,
                    })
                });
                let parts = fixed.into_iter().chain(names).chain(services).collect();
                patch::parts(read, parts, &key.patches)
            }
        }
    }
}

/// The services that the layer's proxies call.
fn seen(read: &Read<'_>, key: &OutboundKey) -> Vec<Seen> {
    let viewer = key.namespace.clone();
    match &key.scope {
        Some(sidecar) => read.ask(ScopedServices { viewer, sidecar: sidecar.clone() }).to_vec(),
        None => {
            let visible = read.ask(VisibleServices(viewer));
            visible.iter().map(|service| Seen { service: service.clone(), ports: None }).collect()
        }
    }
}

impl LayerKey {
    /// Observes the layer's parts.
    pub fn observe(&self, memo: &Memo<Mesh>, mesh: &Mesh) -> (NodeId, Arc<Vec<PartKey>>) {
        memo.observe(PartsOf(self.clone()), mesh)
    }
}
