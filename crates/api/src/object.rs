//! One object: what names it, and what it says.

use std::sync::Arc;

use meltemi_names::{Kind, Labels, ObjectKey};

use crate::value::Timestamp;
use crate::{
    ConfigMap, Credential, DestinationRule, EndpointSlice, EnvoyFilter, Gateway, PeerAuthentication, Pod,
    Service, ServiceEntry, VirtualService, WorkloadEntry, WorkloadGroup,
};

/// What every object has. Slim: what no reader asks for is not kept, so that a change of it is no change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Kind, namespace, name.
    pub key: ObjectKey,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations whose key ends its domain in `istio.io`; others are dropped.
    pub annotations: Labels,
    /// `creationTimestamp`; files seldom have one.
    pub created: Option<Timestamp>,
    /// The API server's count of changes of the spec.
    pub generation: Option<i64>,
}

impl Meta {
    /// Of that key, with nothing else.
    pub fn new(key: ObjectKey) -> Self {
        Self {
            key,
            labels: Labels::default(),
            annotations: Labels::default(),
            created: None,
            generation: None,
        }
    }

    /// What orders objects by age, oldest first: creation (one without counts as the oldest), then name, then namespace (Istio:
    /// pilot/pkg/model/config.go). Times of files never count.
    pub fn age(&self) -> impl Ord + '_ {
        (self.created, &self.key.name, &self.key.namespace)
    }
}

/// An object of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What names it.
    pub meta: Meta,
    /// What it says.
    pub spec: Spec,
    /// How it was written.
    pub text: Text,
}

/// An object as it was written, as JSON, so that it can be handed on: without status, `managedFields` and what else nothing follows from.
/// One text equals every other: whether an object changed is for what it says, and not for how.
#[derive(Clone, Default)]
pub struct Text(Option<Arc<str>>);

impl Text {
    /// Of that JSON.
    pub(crate) fn new(json: String) -> Self {
        Self(Some(json.into()))
    }

    /// The JSON; none for an object that was not read from a text.
    pub fn json(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl PartialEq for Text {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Text {}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.0.as_ref().map_or(0, |json| json.len()))
    }
}

/// What an object says, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each holds the kind of that name")]
pub enum Spec {
    Service(Service),
    EndpointSlice(EndpointSlice),
    Pod(Pod),
    /// All that is read of a node is its labels.
    Node,
    /// All that is read of a namespace is its labels and annotations.
    Namespace,
    ConfigMap(ConfigMap),
    /// All that is read of a Secret is whether it is a certificate, and which.
    Secret(Credential),
    VirtualService(VirtualService),
    DestinationRule(DestinationRule),
    WorkloadEntry(WorkloadEntry),
    ServiceEntry(ServiceEntry),
    Gateway(Gateway),
    EnvoyFilter(EnvoyFilter),
    WorkloadGroup(WorkloadGroup),
    PeerAuthentication(PeerAuthentication),
}

impl Spec {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Node => Kind::Node,
            Self::Namespace => Kind::Namespace,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Secret(_) => Kind::Secret,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::Gateway(_) => Kind::Gateway,
            Self::EnvoyFilter(_) => Kind::EnvoyFilter,
            Self::WorkloadGroup(_) => Kind::WorkloadGroup,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
        }
    }
}
