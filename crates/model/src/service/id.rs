//! What names a service.
//!
//! Invariant: the host of a Kubernetes Service follows from its object; an object of another kind may declare several services, one for
//! each of its hosts.

use std::fmt;

use meltemi_names::{Host, Kind, Namespace, ObjectKey};

use super::host_of;

/// A service: the object that declares it, and its host there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// The object.
    pub object: ObjectKey,
    /// The host.
    pub host: Host,
}

impl ServiceId {
    /// Of the Kubernetes Service under that key.
    pub fn of(service: &ObjectKey) -> Self {
        Self { host: host_of(service), object: service.clone() }
    }

    /// What metrics and metadata call it: a Kubernetes Service's name, another one's host (Istio: `Service.Attributes.Name`).
    pub fn name(&self) -> &str {
        match self.object.kind {
            Kind::Service => self.object.name.as_str(),
            _ => self.host.as_str(),
        }
    }

    /// The namespace that it is of.
    pub fn namespace(&self) -> &Namespace {
        &self.object.namespace
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.kind {
            Kind::Service => self.object.fmt(f),
            _ => write!(f, "{} of {}", self.host, self.object),
        }
    }
}
