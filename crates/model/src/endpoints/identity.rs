//! Whose identities a service's endpoints have: what a client may find in the server's certificate.
//!
//! Must not know: trust domains, certificates.   Invariant: an endpoint of an account that another one has too changes no answer here.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_names::{Kind, Namespace, Port};

use super::{Endpoint, EndpointsOf};
use crate::mesh::Mesh;
use crate::read::{self, Read};
use crate::service::{Group, ServiceId};

/// Service accounts, and identities written in full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// By namespace and name.
    pub accounts: BTreeSet<(Namespace, Arc<str>)>,
    /// As written: `spiffe://...`.
    pub written: BTreeSet<Arc<str>>,
}

/// By which annotation a Service lists service accounts of its namespace that serve it.
const ACCOUNTS: &str = "alpha.istio.io/kubernetes-serviceaccounts";
/// By which one it lists identities in full.
const CANONICAL: &str = "alpha.istio.io/canonical-serviceaccounts";

/// The identities of those who serve a service: of its endpoints, ready or not, and those that it writes itself (Istio:
/// pilot/pkg/model/push_context.go, serviceregistry/kube/conversion.go).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdentitiesOf(pub ServiceId);

impl Question for IdentitiesOf {
    type World = Mesh;
    type Answer = Identities;
    const NAME: &'static str = "identities of a service";

    fn answer(&self, read: &Read<'_>) -> Identities {
        let endpoints = read.ask(EndpointsOf(self.0.clone()));
        let of_endpoint = |endpoint: &Arc<Endpoint>| {
            let backend = &endpoint.backend;
            Some((backend.namespace.clone()?, backend.service_account.clone()?))
        };
        let mut found = Identities {
            accounts: endpoints.values().flat_map(|all| all.iter()).filter_map(of_endpoint).collect(),
            written: BTreeSet::new(),
        };
        if let Some((meta, _)) = read::service(read, &self.0.object) {
            let listed = |annotation: &str| {
                let written = meta.annotations.value(annotation).unwrap_or_default();
                written.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Arc::from)
            };
            found.accounts.extend(listed(ACCOUNTS).map(|name| (self.0.namespace().clone(), name)));
            found.written.extend(listed(CANONICAL));
        }
        if self.0.object.kind == Kind::ServiceEntry {
            for object in read.ask(Group(self.0.clone())).iter() {
                let entry = read::service_entry(read, object);
                found
                    .written
                    .extend(entry.iter().flat_map(|(_, entry)| entry.subject_alt_names.iter().cloned()));
            }
        }
        found
    }
}

/// How many of a service's endpoints take the mesh's mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeTls {
    /// There is no endpoint.
    Nobody,
    /// None of those that there are.
    None,
    /// Some do, some do not.
    Some,
    /// Each of them.
    All,
}

/// How many endpoints of a service's port take the mesh's mutual TLS there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WhoTakesTls {
    /// The service.
    pub service: ServiceId,
    /// The service's port.
    pub port: Port,
}

impl Question for WhoTakesTls {
    type World = Mesh;
    type Answer = TakeTls;
    const NAME: &'static str = "mutual TLS at endpoints";

    fn answer(&self, read: &Read<'_>) -> TakeTls {
        let endpoints = read.ask(EndpointsOf(self.service.clone()));
        let mut found = endpoints.values().flat_map(|all| all.iter()).filter_map(|endpoint| {
            let own = endpoint.ports.get(&self.port)?;
            Some(endpoint.backend.tls.has(*own))
        });
        match found.next() {
            None => TakeTls::Nobody,
            Some(first) if found.any(|other| other != first) => TakeTls::Some,
            Some(true) => TakeTls::All,
            Some(false) => TakeTls::None,
        }
    }
}
