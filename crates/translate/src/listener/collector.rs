//! Where the service of a provider is: a cluster of the proxy.
//!
//! Knows: how Istio's settings name services (Istio: pilot/pkg/model/telemetry_logging.go, `LookupCluster`). Must not know what is sent.
//! Invariant: a cluster that is answered is one that every proxy of the viewer has: a tracer whose cluster is missing costs the listener.

use meltemi_api::mesh_config::ServiceRef;
use meltemi_catalog::ResourceName;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::entry::IndexKey;
use meltemi_model::exposure::Exposure;
use meltemi_model::read::{Read, filed};
use meltemi_model::scope::{ScopedServices, Seen};
use meltemi_model::service::{ServiceId, ServiceOf};
use meltemi_model::settings::settings;
use meltemi_names::{Host, Namespace, ObjectKey, Port};

use crate::resource_names::outbound_cluster;

/// A service that takes logs or spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Collector {
    /// Its host.
    pub(crate) host: Host,
    /// The cluster that leads to it.
    pub(crate) cluster: ResourceName,
}

/// Why there is no such cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Missing {
    #[error("no service has the host `{0}`")]
    Service(String),
    #[error("several namespaces have a service of the host `{0}`: write namespace/host")]
    Several(String),
    #[error("{0} has no port {1}")]
    Port(Host, Port),
    #[error("{0} is not exported to everyone")]
    Hidden(Host),
    #[error("no egress listener of the Sidecar has {0}")]
    Unlisted(Host),
}

/// The collector that a provider names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CollectorOf {
    /// `host` or `namespace/host`.
    pub(crate) service: String,
    /// Its port.
    pub(crate) port: Port,
    /// Whose proxies have the cluster; none: everyone's.
    pub(crate) viewer: Option<Namespace>,
    /// The Sidecar that says which services they call, if one does.
    pub(crate) scope: Option<ObjectKey>,
}

impl Question for CollectorOf {
    type World = Mesh;
    type Answer = Result<Collector, Missing>;
    const NAME: &'static str = "collector";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (namespace, host) = match self.service.split_once('/') {
            Some((namespace, host)) => (Some(namespace), host),
            None => (None, self.service.as_str()),
        };
        let missing = || Missing::Service(host.to_owned());
        let parsed = Host::parse(host).map_err(|_| missing())?;
        let keys = filed(read, IndexKey::ServicesByHost(parsed.clone()));
        let keys = keys.filter(|key| namespace.is_none_or(|namespace| key.namespace.as_str() == namespace));
        let id = |object: &ObjectKey| ServiceId { object: object.clone(), host: parsed.clone() };
        let mut found = keys.filter_map(|key| (*read.ask(ServiceOf(id(key)))).clone());
        let service = found.next().ok_or_else(missing)?;
        if found.any(|other| other.id.namespace() != service.id.namespace()) {
            return Err(Missing::Several(host.to_owned()));
        }
        if service.port(self.port).is_none() {
            return Err(Missing::Port(service.id.host.clone(), self.port));
        }
        let is_seen = service.exposure == Exposure::Public
            || self.viewer.as_ref().is_some_and(|viewer| service.exposure.reaches(viewer));
        if !is_seen {
            return Err(Missing::Hidden(service.id.host.clone()));
        }
        if let (Some(sidecar), Some(viewer)) = (&self.scope, &self.viewer) {
            let scoped = read.ask(ScopedServices { viewer: viewer.clone(), sidecar: sidecar.clone() });
            let calls = |seen: &Seen| {
                seen.service == service.id
                    && seen.ports.as_ref().is_none_or(|ports| ports.contains(&self.port))
            };
            if !scoped.iter().any(calls) {
                return Err(Missing::Unlisted(service.id.host.clone()));
            }
        }
        let cluster = outbound_cluster(self.port, None, &service.id.host);
        Ok(Collector { host: service.id.host.clone(), cluster })
    }
}

/// Whether anything may be told to a service at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AnyCollector;

impl Question for AnyCollector {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any collector";

    fn answer(&self, read: &Read<'_>) -> bool {
        settings(read).extension_providers.iter().any(|provider| provider.service().is_some())
    }
}

/// As [`CollectorOf::viewer`], for a namespace: none where it makes no difference, so that namespaces share their listeners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CollectorsSeenBy(pub(crate) Namespace);

impl Question for CollectorsSeenBy {
    type World = Mesh;
    type Answer = Option<Namespace>;
    const NAME: &'static str = "collectors seen by a namespace";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mesh = settings(read);
        let named = mesh.extension_providers.iter().flat_map(|provider| provider.services());
        let hidden = named.filter_map(|ServiceRef { service, port }| Some((service.to_owned(), port?))).any(
            |(service, port)| {
                let everyone =
                    read.ask(CollectorOf { service: service.clone(), port, viewer: None, scope: None });
                matches!(*everyone, Err(Missing::Hidden(_)))
                    && read
                        .ask(CollectorOf { service, port, viewer: Some(self.0.clone()), scope: None })
                        .is_ok()
            },
        );
        hidden.then(|| self.0.clone())
    }
}
