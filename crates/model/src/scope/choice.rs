//! Which Sidecar is in force for a workload (Istio: pilot/pkg/model/push_context.go, `initSidecarScopes`).

use meltemi_api::sidecar::{CaptureMode, DefaultEndpoint, EgressHost, EndpointHost};
use meltemi_api::{Meta, Sidecar};
use meltemi_memo::Question;
use meltemi_names::{Labels, Namespace, ObjectKey, Selector};

use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::peer::root;
use crate::read::{self, Read, filed};
use crate::service::Age;

/// A Sidecar that may be in force for workloads of a namespace, and what it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The object.
    pub key: ObjectKey,
    /// The workloads that it is for; none: all that no other one takes.
    pub selector: Option<Selector>,
    /// It says what is called: who it is for does not see all that is exported to them.
    pub outbound: bool,
    /// It says what is taken.
    pub inbound: bool,
    /// It says on which ports, in place of services.
    pub ingress: bool,
    /// It sends to the workload's own address.
    pub own_address: bool,
}

impl Chosen {
    fn of(meta: &Meta, sidecar: &Sidecar) -> Self {
        // An entry that imports all, as it is without a Sidecar, makes no difference.
        let everything = [EgressHost::everything()];
        let trivial = match sidecar.egress.as_slice() {
            [] => true,
            [only] => {
                only.port.is_none()
                    && only.bind.is_none()
                    && only.capture_mode != CaptureMode::None
                    && only.hosts == everything
            }
            _ => false,
        };
        let own_address = |endpoint: &DefaultEndpoint| {
            matches!(endpoint, DefaultEndpoint::Port { at: EndpointHost::Pod | EndpointHost::PodV6, .. })
        };
        Self {
            key: meta.key.clone(),
            selector: sidecar.workload_selector.as_ref().map(|selector| selector.labels.clone()),
            outbound: !trivial || sidecar.outbound_traffic_policy.is_some(),
            inbound: !sidecar.ingress.is_empty() || sidecar.inbound_connection_pool.is_some(),
            ingress: !sidecar.ingress.is_empty(),
            own_address: sidecar
                .ingress
                .iter()
                .any(|ingress| ingress.default_endpoint.as_ref().is_some_and(own_address)),
        }
    }
}

/// The Sidecars that may be in force for workloads of a namespace, the first that selects one is: those with a selector, the oldest
/// first, then those without, then the root namespace's without.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SidecarsOf(pub Namespace);

impl Question for SidecarsOf {
    type World = Mesh;
    type Answer = Vec<Chosen>;
    const NAME: &'static str = "sidecars of a namespace";

    fn answer(&self, read: &Read<'_>) -> Vec<Chosen> {
        let mut found = of_namespace(read, &self.0);
        let root = root(read);
        if root != self.0 {
            found.extend(of_namespace(read, &root).into_iter().filter(|sidecar| sidecar.selector.is_none()));
        }
        found
    }
}

fn of_namespace(read: &Read<'_>, namespace: &Namespace) -> Vec<Chosen> {
    let mut found: Vec<(bool, Age, Chosen)> = filed(read, IndexKey::Sidecars(namespace.clone()))
        .filter_map(|key| {
            let (meta, sidecar) = read::sidecar(read, key)?;
            Some((sidecar.workload_selector.is_none(), Age::of(meta), Chosen::of(meta, sidecar)))
        })
        .collect();
    found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    found.into_iter().map(|(_, _, chosen)| chosen).collect()
}

/// The one in force for a workload of these labels.
pub fn chosen<'a>(sidecars: &'a [Chosen], labels: &Labels) -> Option<&'a Chosen> {
    sidecars.iter().find(|sidecar| sidecar.selector.as_ref().is_none_or(|selector| selector.selects(labels)))
}
