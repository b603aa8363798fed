//! What a host is in the mesh: how names resolve for a workload of a Kubernetes namespace, and which address the sender connects to.

use std::net::IpAddr;

use meltemi_api::Spec;
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::scope::{EgressOf, Imported, SidecarsOf, chosen};
use meltemi_model::service::{CLUSTER_DOMAIN, ServiceByHost, ServiceShape};
use meltemi_names::{Host, Kind, Labels, Namespace, ObjectKey, Port};
use serde::Serialize;

use super::workload;

/// What the host of a request is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    /// The service; none: none that the sender sees has that name or address.
    pub(crate) service: Option<Service>,
    /// What the sender connects to, as far as the mesh knows.
    pub(crate) address: Option<IpAddr>,
    /// The Sidecar in whose scope the service is not; none where it is in it, or where no Sidecar is in force.
    pub(crate) out_of_scope_of: Option<String>,
}

/// A service, as the page and scripts speak of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) host: String,
    /// Clients connect to its endpoints themselves.
    pub(crate) headless: bool,
    /// What its port speaks; none: it has no such port.
    pub(crate) protocol: Option<String>,
    /// The ports that it has.
    pub(crate) ports: Vec<u16>,
    #[serde(skip)]
    pub(crate) key: ObjectKey,
}

impl Target {
    pub(crate) fn of(memo: &Memo<Mesh>, mesh: &Mesh, namespace: &str, host: &str, port: u16) -> Self {
        let seen = |host: Host| {
            let question = ServiceByHost { viewer: Namespace::from(namespace), host };
            let (_, answer) = memo.observe(question, mesh);
            (*answer).clone()
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            let has = |object: &meltemi_api::Object| match &object.spec {
                Spec::Service(service) => service.cluster_ips.contains(&address),
                Spec::ServiceEntry(entry) => entry.addresses.iter().any(|block| block.contains(address)),
                _ => false,
            };
            let owner = mesh.objects().find(|object| has(object));
            let service = owner.and_then(|object| match &object.spec {
                Spec::ServiceEntry(entry) => entry.hosts.iter().cloned().find_map(seen),
                _ => {
                    let key = &object.meta.key;
                    seen(Host::of_service(key.name.as_str(), key.namespace.as_str(), CLUSTER_DOMAIN))
                }
            });
            return Self {
                service: service.map(|shape| described(&shape, port)),
                address: Some(address),
                out_of_scope_of: None,
            };
        }
        let found = candidates(mesh, namespace, host).into_iter().find_map(seen);
        let address = found.as_ref().and_then(|shape| address(mesh, shape));
        Self { service: found.map(|shape| described(&shape, port)), address, out_of_scope_of: None }
    }
}

impl Target {
    /// The same as the workload of these labels has it: its Sidecar may leave the service out.
    pub(crate) fn in_scope(
        mut self,
        memo: &Memo<Mesh>,
        mesh: &Mesh,
        namespace: &str,
        labels: &Labels,
    ) -> Self {
        let Some(service) = &self.service else { return self };
        let viewer = Namespace::from(namespace);
        let (_, sidecars) = memo.observe(SidecarsOf(viewer.clone()), mesh);
        let Some(sidecar) = chosen(&sidecars, labels).filter(|sidecar| sidecar.outbound) else { return self };
        let sidecar = &sidecar.key;
        let (_, listeners) = memo.observe(EgressOf(sidecar.clone()), mesh);
        let imported = (0..listeners.len()).any(|listener| {
            let question = Imported { viewer: viewer.clone(), sidecar: sidecar.clone(), listener };
            memo.observe(question, mesh).1.iter().any(|id| id.object == service.key)
        });
        self.out_of_scope_of = (!imported).then(|| format!("{}/{}", sidecar.namespace, sidecar.name));
        self
    }
}

/// The hosts that a name may stand for, in the order in which a pod's resolver tries them.
fn candidates(mesh: &Mesh, namespace: &str, host: &str) -> Vec<Host> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let bare = host.strip_suffix(&format!(".svc.{CLUSTER_DOMAIN}")).or_else(|| host.strip_suffix(".svc"));
    let short = bare.unwrap_or(&host);
    let labels: Vec<&str> = short.split('.').collect();
    let names = match labels[..] {
        [name] if bare.is_none() => vec![(name, namespace)],
        [name, of] => vec![(name, of)],
        // A pod's own name below its headless service.
        [_, name, of] => vec![(name, of)],
        _ => Vec::new(),
    };
    let kubernetes = names.into_iter().map(|(name, namespace)| real(mesh, name, namespace));
    // What Kubernetes does not know may be a host of a ServiceEntry, or covered by one's wildcard.
    let literal = Host::parse(&host).ok();
    let wider: Vec<Host> =
        literal.iter().flat_map(Host::covering).filter(|host| host.as_str() != "*").collect();
    kubernetes.chain(literal).chain(wider).collect()
}

/// The host of a service, or what an ExternalName stands for.
fn real(mesh: &Mesh, name: &str, namespace: &str) -> Host {
    let mut host = Host::of_service(name, namespace, CLUSTER_DOMAIN);
    let mut key = ObjectKey::new(Kind::Service, namespace, name);
    // Names that stand for each other end somewhere: DNS gives up, too.
    for _ in 0..8 {
        let Some(Spec::Service(service)) = mesh.object(&key).map(|object| &object.spec) else { break };
        let Some(target) = &service.external_name else { break };
        host = target.clone();
        let short = host.as_str().strip_suffix(CLUSTER_DOMAIN).and_then(|rest| rest.strip_suffix(".svc."));
        let Some((name, namespace)) = short.and_then(|short| short.split_once('.')) else { break };
        key = ObjectKey::new(Kind::Service, namespace, name);
    }
    host
}

fn described(shape: &ServiceShape, port: u16) -> Service {
    let protocol = Port::new(port.into())
        .and_then(|port| shape.port(port))
        .map(|port| format!("{:?}", port.protocol).to_ascii_lowercase());
    Service {
        name: shape.id.name().to_owned(),
        namespace: shape.id.namespace().to_string(),
        host: shape.id.host.to_string(),
        headless: shape.is_headless(),
        protocol,
        ports: shape.ports.iter().map(|port| port.port.number()).collect(),
        key: shape.id.object.clone(),
    }
}

/// A service's own address; for a headless one that of the first workload behind it.
fn address(mesh: &Mesh, shape: &ServiceShape) -> Option<IpAddr> {
    if !shape.is_headless() {
        return shape.addresses.first().copied();
    }
    let of_slices = || {
        mesh.objects().find_map(|object| match &object.spec {
            Spec::EndpointSlice(slice)
                if object.meta.key.namespace == *shape.id.namespace()
                    && slice.service.as_ref() == Some(&shape.id.object.name) =>
            {
                slice.endpoints.iter().find_map(|endpoint| endpoint.addresses.first().copied())
            }
            _ => None,
        })
    };
    let selector = shape.selector.as_ref();
    let of_workloads = || {
        mesh.objects().filter(|object| object.meta.key.namespace == *shape.id.namespace()).find_map(
            |object| match &object.spec {
                Spec::Pod(pod) if selector?.selects(&object.meta.labels) => pod.ips.first().copied(),
                Spec::WorkloadEntry(entry) if selector?.selects(&entry.labels) => workload::ip(entry),
                _ => None,
            },
        )
    };
    of_slices().or_else(of_workloads)
}
