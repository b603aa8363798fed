//! Services and who serves them, as Istiod shows its registries: `registryz`, `endpointz`, and what each proxy is an instance of or calls.
//!
//! Knows: the mesh, asked by a memo that lives as long as the page. Must not know who asks.

use std::sync::Arc;

use meltemi_api::{Object, Spec};
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::endpoints::{CLUSTER_ID, Endpoint, EndpointAddress, EndpointsOf, Health};
use meltemi_model::scope::{OutboundPolicyOf, ScopedServices, SidecarsOf, chosen};
use meltemi_model::service::{ServiceId, ServiceOf, ServicePort, ServiceShape, VisibleServices, host_of};
use meltemi_model::workload::Workload;
use meltemi_names::{Kind, Locality, ObjectKey, Port, Protocol};
use serde_json::{Map, Value, json};

use super::lists::{outbound_mode, spec_of};
use crate::streams::Stream;

/// All services: Kubernetes', those of another name among them, and the ones that ServiceEntries declare.
pub(super) fn registryz(mesh: &Mesh) -> Value {
    let memo = Memo::new();
    let shown = mesh.objects().flat_map(|object| match &object.spec {
        Spec::Service(service) => {
            let ports = service.ports.iter();
            let ports = ports
                .map(|port| port_of(port.name.as_deref().unwrap_or_default(), port.port, port.protocol()));
            let addresses = service.cluster_ips.iter().map(ToString::to_string).collect();
            let host = host_of(&object.meta.key).to_string();
            vec![service_of(&object.meta.key, host, addresses, ports.collect())]
        }
        _ => shapes(&memo, mesh, object).iter().map(|shape| service(shape)).collect(),
    });
    shown.collect()
}

/// Who serves each service, by host, namespace and registry (Istio: pilot/pkg/model/endpointshards.go).
pub(super) fn endpointz(mesh: &Mesh) -> Value {
    let memo = Memo::new();
    let trust_domain = Arc::clone(&mesh.settings().trust_domain);
    let mut all: Map<String, Value> = Map::new();
    for shape in mesh.objects().flat_map(|object| shapes(&memo, mesh, object)) {
        let (_, localities) = memo.observe(EndpointsOf(shape.id.clone()), mesh);
        let mut accounts = Map::new();
        let mut shown = Vec::new();
        for (locality, endpoint) in
            localities.iter().flat_map(|(locality, all)| all.iter().map(move |one| (locality, one)))
        {
            let account = account(endpoint, &trust_domain);
            if !account.is_empty() {
                accounts.insert(account.clone(), json!({}));
            }
            for (port, target) in &*endpoint.ports {
                let Some(port) = shape.port(*port) else { continue };
                shown.push(self::endpoint(endpoint, locality, (port, *target), &account));
            }
        }
        // A service that nobody serves is not in Istio's page either.
        if shown.is_empty() {
            continue;
        }
        let shard = format!("{}/{CLUSTER_ID}", registry(&shape.id.object));
        let of_host = all.entry(shape.id.host.to_string()).or_insert_with(|| json!({}));
        of_host[shape.id.object.namespace.as_str()] =
            json!({"Shards": {shard: shown}, "ServiceAccounts": accounts});
    }
    all.into()
}

fn endpoint(
    endpoint: &Endpoint,
    locality: &Locality,
    (port, target): (&ServicePort, Port),
    account: &str,
) -> Value {
    let backend = &endpoint.backend;
    let labels: Map<String, Value> =
        backend.labels.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let address = match &endpoint.address {
        EndpointAddress::Ip(address) => address.to_string(),
        EndpointAddress::Name(name) => name.to_string(),
        EndpointAddress::Unix(path) => path.to_string(),
    };
    let health = match endpoint.health {
        Health::Healthy => 1,
        Health::Unhealthy => 2,
        Health::Draining => 3,
    };
    let parts = [&*locality.region, &*locality.zone, &*locality.sub_zone];
    let place = parts.into_iter().take_while(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    json!({
        "Labels": labels,
        "Addresses": [address],
        "ServicePortName": &*port.name,
        "LegacyClusterPortKey": port.port.number(),
        "ServiceAccount": account,
        "Network": backend.network.as_deref().unwrap_or_default(),
        "Locality": {"Label": place, "ClusterID": CLUSTER_ID},
        "EndpointPort": target.number(),
        "LbWeight": endpoint.weight,
        "TLSMode": if backend.tls.has(target) { "istio" } else { "disabled" },
        "Namespace": backend.namespace.as_ref().map(|namespace| namespace.as_str()).unwrap_or_default(),
        "WorkloadName": &*backend.workload,
        "HostName": endpoint.hostname.as_deref().unwrap_or_default(),
        "HealthStatus": health,
        "NodeName": endpoint.node.as_deref().unwrap_or_default(),
    })
}

fn account(endpoint: &Endpoint, trust_domain: &str) -> String {
    match (&endpoint.backend.namespace, &endpoint.backend.service_account) {
        (Some(namespace), Some(account)) => format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}"),
        _ => String::new(),
    }
}

/// Which ports of services each proxy's workload serves.
pub(super) fn instancesz(mesh: &Mesh, streams: &[Stream]) -> Value {
    let memo = Memo::new();
    let mut all = Map::new();
    for stream in streams {
        let (_, workload) = memo.observe(Workload(Arc::clone(&stream.proxy)), mesh);
        let targets = workload.ports.iter().filter_map(|port| {
            let (_, shape) = memo.observe(ServiceOf(port.service.clone()), mesh);
            let shape = (*shape).clone()?;
            let of = shape.port(port.port)?;
            let mut shown = port_of(&of.name, of.port, of.protocol);
            shown["TargetPort"] = port.target.number().into();
            Some(json!({"Service": service(&shape), "Port": shown}))
        });
        all.insert(stream.proxy.id.to_string(), targets.collect());
    }
    all.into()
}

/// The Sidecar in force for a proxy, and the services that it calls.
pub(super) fn sidecarz(mesh: &Mesh, stream: &Stream) -> Value {
    let (memo, viewer) = (Memo::new(), stream.proxy.namespace.clone());
    let (_, workload) = memo.observe(Workload(Arc::clone(&stream.proxy)), mesh);
    let (_, sidecars) = memo.observe(SidecarsOf(viewer.clone()), mesh);
    let sidecar = chosen(&sidecars, &workload.labels).map(|sidecar| sidecar.key.clone());
    let services: Vec<ServiceId> = match sidecar.clone() {
        Some(sidecar) => {
            let (_, seen) = memo.observe(ScopedServices { viewer: viewer.clone(), sidecar }, mesh);
            seen.iter().map(|seen| seen.service.clone()).collect()
        }
        None => memo.observe(VisibleServices(viewer.clone()), mesh).1.to_vec(),
    };
    let shapes = services.into_iter().filter_map(|id| (*memo.observe(ServiceOf(id), mesh).1).clone());
    let services: Vec<Value> = shapes.map(|shape| service(&shape)).collect();
    let (_, policy) = memo.observe(OutboundPolicyOf(sidecar.clone()), mesh);
    let mode = outbound_mode(policy.mode);
    let object = sidecar.as_ref().and_then(|key| mesh.object(key));
    json!({
        // Istio's name for what counts where there is none.
        "name": sidecar.as_ref().map_or("default-sidecar", |key| key.name.as_str()),
        "namespace": sidecar.as_ref().map_or(viewer.as_str(), |key| key.namespace.as_str()),
        "outboundTrafficPolicy": {"mode": mode},
        "services": services,
        "sidecar": object.map(|object| spec_of(object)),
    })
}

/// The services that an object declares, as callers see them; none for an object that is no service.
fn shapes(memo: &Memo<Mesh>, mesh: &Mesh, object: &Object) -> Vec<Arc<ServiceShape>> {
    let key = &object.meta.key;
    let ids: Vec<ServiceId> = match &object.spec {
        Spec::Service(_) => vec![ServiceId::of(key)],
        Spec::ServiceEntry(entry) => {
            let hosts: std::collections::BTreeSet<_> = entry.hosts.iter().collect();
            hosts.into_iter().map(|host| ServiceId { object: key.clone(), host: host.clone() }).collect()
        }
        _ => Vec::new(),
    };
    ids.into_iter().filter_map(|id| (*memo.observe(ServiceOf(id), mesh).1).clone()).collect()
}

fn service(shape: &ServiceShape) -> Value {
    let ports = shape.ports.iter().map(|port| port_of(&port.name, port.port, port.protocol)).collect();
    let addresses = shape.addresses.iter().map(ToString::to_string);
    let addresses = addresses.chain(shape.blocks.iter().map(ToString::to_string)).collect();
    service_of(&shape.id.object, shape.id.host.to_string(), addresses, ports)
}

/// Which of Istio's registries a service is of.
fn registry(object: &ObjectKey) -> &'static str {
    if object.kind == Kind::ServiceEntry { "External" } else { "Kubernetes" }
}

fn service_of(object: &ObjectKey, host: String, addresses: Vec<String>, ports: Vec<Value>) -> Value {
    json!({
        "Attributes": {
            "ServiceRegistry": registry(object),
            "Name": object.name.as_str(),
            "Namespace": object.namespace.as_str(),
        },
        "hostname": host,
        "addresses": addresses,
        "ports": ports,
    })
}

fn port_of(name: &str, port: Port, protocol: Protocol) -> Value {
    json!({"name": name, "port": port.number(), "protocol": spelled(protocol)})
}

/// As Istio writes protocols (Istio: pkg/config/protocol/instance.go).
fn spelled(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP2",
        Protocol::HttpProxy => "HTTP_PROXY",
        Protocol::Grpc => "GRPC",
        Protocol::GrpcWeb => "GRPC-Web",
        Protocol::Https => "HTTPS",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "TCP",
        Protocol::Mongo => "Mongo",
        Protocol::Redis => "Redis",
        Protocol::Mysql => "MySQL",
        Protocol::Udp => "UDP",
        Protocol::Auto => "UnsupportedProtocol",
    }
}
