//! What happens to connections to unknown destinations: by the Sidecar in force, else by the settings of the mesh.

use std::sync::Arc;

use meltemi_api::mesh_config::OutboundMode;
use meltemi_memo::Question;
use meltemi_names::{Host, ObjectKey, Port};

use crate::index::qualified;
use crate::mesh::Mesh;
use crate::read::{self, Read};
use crate::settings::settings;

/// What happens to connections to unknown destinations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundPolicy {
    /// Whether they pass.
    pub mode: OutboundMode,
    /// Where they go, in place of where they were meant for.
    pub proxy: Option<EgressProxy>,
}

/// A part of a service at a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressProxy {
    /// Its host.
    pub host: Host,
    /// Its subset.
    pub subset: Option<Arc<str>>,
    /// Its port.
    pub port: Port,
}

/// The policy of a Sidecar; none: of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundPolicyOf(pub Option<ObjectKey>);

impl Question for OutboundPolicyOf {
    type World = Mesh;
    type Answer = OutboundPolicy;
    const NAME: &'static str = "outbound policy";

    fn answer(&self, read: &Read<'_>) -> OutboundPolicy {
        let sidecar = self.0.as_ref().and_then(|key| Some((key, read::sidecar(read, key)?.1)));
        let written =
            sidecar.and_then(|(key, sidecar)| Some((key, sidecar.outbound_traffic_policy.as_ref()?)));
        let Some((key, policy)) = written else {
            // Istio's settings of the mesh have no proxy (istio.mesh.v1alpha1).
            return OutboundPolicy { mode: settings(read).outbound_traffic_policy.mode, proxy: None };
        };
        let proxy = policy.egress_proxy.as_ref().and_then(|proxy| {
            Some(EgressProxy {
                host: qualified(&proxy.host, &key.namespace),
                subset: proxy.subset.as_deref().map(Arc::from),
                port: proxy.port?,
            })
        });
        OutboundPolicy { mode: policy.mode, proxy }
    }
}
