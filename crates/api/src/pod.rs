//! Pod: a workload and its addresses (Kubernetes core/v1).

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_names::Port;

/// What the mesh reads of a Pod beside its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Which of those that had its name it is (`metadata.uid`); none in a folder.
    pub uid: Option<Arc<str>>,
    /// Its addresses; empty until it has one.
    pub ips: Vec<IpAddr>,
    /// The node that it runs on.
    pub node_name: Option<Arc<str>>,
    /// Whose identity it has; `default` when not written.
    pub service_account: Arc<str>,
    /// The named and unnamed ports of its containers.
    pub ports: Vec<ContainerPort>,
    /// How far its life has gone.
    pub phase: Phase,
    /// Condition `Ready`.
    pub ready: bool,
    /// Is being deleted.
    pub terminating: bool,
    /// The name of the workload that made it: of the Deployment rather than the ReplicaSet (Istio: pkg/kube/util.go).
    pub workload: Arc<str>,
    /// The kind of that workload; `Pod` for one made by hand.
    pub workload_kind: Arc<str>,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// What a Service's `targetPort` may call it.
    pub name: Option<String>,
    /// Its number.
    pub port: Port,
    /// TCP, UDP or SCTP.
    pub transport: crate::service::Transport,
}

/// How far a pod's life has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[allow(missing_docs, reason = "each is the phase of that name")]
pub enum Phase {
    #[default]
    Unknown,
    Pending,
    Running,
    Succeeded,
    Failed,
}
