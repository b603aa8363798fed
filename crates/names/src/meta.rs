//! What names an object: kind, namespace, name.

use std::sync::Arc;

use crate::text::text;

text! {
    /// A Kubernetes namespace; empty for objects that have none (Node, Namespace).
    Namespace
}

text! {
    /// An object's own name.
    ObjectName
}

impl From<&str> for Namespace {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<&str> for ObjectName {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// The closed list of kinds that Meltemi reads. The order is the order in which lists of objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[allow(missing_docs, reason = "each is the kind of that name")]
pub enum Kind {
    Namespace,
    Node,
    ConfigMap,
    Secret,
    Service,
    EndpointSlice,
    Pod,
    VirtualService,
    DestinationRule,
    WorkloadEntry,
    ServiceEntry,
    Gateway,
    Sidecar,
    EnvoyFilter,
    WorkloadGroup,
    ProxyConfig,
    PeerAuthentication,
    RequestAuthentication,
    AuthorizationPolicy,
    Telemetry,
}

impl Kind {
    /// Whether it is one of Istio's: configuration of a mesh, which may be meant for another control plane.
    pub fn is_configuration(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::Node
                | Self::ConfigMap
                | Self::Secret
                | Self::Service
                | Self::EndpointSlice
                | Self::Pod
        )
    }

    /// As in the `kind` field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::ServiceEntry => "ServiceEntry",
            Self::Gateway => "Gateway",
            Self::Sidecar => "Sidecar",
            Self::EnvoyFilter => "EnvoyFilter",
            Self::WorkloadGroup => "WorkloadGroup",
            Self::ProxyConfig => "ProxyConfig",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::Telemetry => "Telemetry",
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Namespace,
        Self::Node,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::VirtualService,
        Self::DestinationRule,
        Self::WorkloadEntry,
        Self::ServiceEntry,
        Self::Gateway,
        Self::Sidecar,
        Self::EnvoyFilter,
        Self::WorkloadGroup,
        Self::ProxyConfig,
        Self::PeerAuthentication,
        Self::RequestAuthentication,
        Self::AuthorizationPolicy,
        Self::Telemetry,
    ];

    /// Reads a kind as people write it on a command line: in any case, singular or plural, or by the short name that its CRD (or
    /// Kubernetes) gives it. None for any other word.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| {
            let name = kind.as_str().to_ascii_lowercase();
            let plural = match name.strip_suffix('y') {
                // `gateways`, but `authorizationpolicies`.
                Some(stem) if !stem.ends_with('a') => format!("{stem}ies"),
                _ => format!("{name}s"),
            };
            text == name || text == plural || kind.short_name() == Some(&text)
        })
    }

    fn short_name(self) -> Option<&'static str> {
        match self {
            Self::Namespace => Some("ns"),
            Self::Node => Some("no"),
            Self::ConfigMap => Some("cm"),
            Self::Service => Some("svc"),
            Self::Pod => Some("po"),
            Self::VirtualService => Some("vs"),
            Self::DestinationRule => Some("dr"),
            Self::WorkloadEntry => Some("we"),
            Self::ServiceEntry => Some("se"),
            Self::Gateway => Some("gw"),
            Self::WorkloadGroup => Some("wg"),
            Self::PeerAuthentication => Some("pa"),
            Self::RequestAuthentication => Some("ra"),
            Self::AuthorizationPolicy => Some("ap"),
            Self::Telemetry => Some("telemetry"),
            Self::Secret | Self::EndpointSlice | Self::Sidecar | Self::EnvoyFilter | Self::ProxyConfig => {
                None
            }
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Names one object of the mesh.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds without one.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
}

impl ObjectKey {
    /// The key of `kind namespace/name`.
    pub fn new(kind: Kind, namespace: impl Into<Namespace>, name: impl Into<ObjectName>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.as_str().is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<Arc<str>> for Namespace {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl From<Arc<str>> for ObjectName {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn a_kind_is_read_as_people_write_it() {
        for (text, kind) in [
            ("VirtualService", Kind::VirtualService),
            ("virtualservices", Kind::VirtualService),
            ("vs", Kind::VirtualService),
            ("DR", Kind::DestinationRule),
            ("gateways", Kind::Gateway),
            ("authorizationpolicies", Kind::AuthorizationPolicy),
            ("serviceentries", Kind::ServiceEntry),
            ("svc", Kind::Service),
        ] {
            assert_eq!(Kind::parse(text), Some(kind), "{text}");
        }
        for text in ["", "s", "virtual service", "vss", "policy"] {
            assert_eq!(Kind::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_kind_is_listed_once_and_reads_as_it_is_written() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }
}
