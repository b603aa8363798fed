//! Listeners.

use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
use meltemi_model::workload::InboundPort;
use meltemi_names::{Namespace, Selector};

use crate::key::{Made, Members};

/// The outbound listeners of one kind of caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenersKey {
    /// Whose services are listened for.
    pub namespace: Namespace,
    /// How traffic reaches the proxy.
    pub interception: Interception,
    /// Which addresses are of use.
    pub family: IpFamily,
    /// As in [`crate::key::OutboundKey`]; for TCP routes.
    pub selectors: Arc<[Selector]>,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
}

impl Question for ListenersKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: listeners";

    fn answer(&self, _read: &Read<'_>) -> Members {
        Members::new()
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerKey {
    /// Takes what iptables redirects, `virtualOutbound`.
    VirtualOutbound,
    /// Takes what iptables redirects to the workload, `virtualInbound`.
    VirtualInbound(InboundKey),
}

impl Question for ListenerKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "listener";

    fn answer(&self, _read: &Read<'_>) -> Made {
        None
    }
}

/// All that inbound translation may know of a proxy: a class of workloads, not a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundKey {
    /// The workload's namespace.
    pub namespace: Namespace,
    /// The ports that services lead to, with the service that owns each; by target port.
    pub ports: Arc<[InboundPort]>,
    /// How traffic reaches the proxy.
    pub interception: Interception,
    /// Which addresses the workload has.
    pub family: IpFamily,
}

/// The inbound listener and clusters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundPartKey(pub InboundKey);

impl Question for InboundPartKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: inbound";

    fn answer(&self, _read: &Read<'_>) -> Members {
        Members::new()
    }
}
