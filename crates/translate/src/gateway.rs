//! What a class of gateways is served from: its key, and the parts of its layer.
//!
//! Knows: which facets of a proxy of type router count. Must not know: a proxy.   Start at [`GatewayKey`].
//! Invariant: a secret is in a layer only if all who are served from that layer may have it.

pub mod secret;

use std::sync::Arc;

use meltemi_api::mesh_config::GatewayTopology;
use meltemi_model::entry::IndexKey;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::proxy::{IpFamily, SecretAccess};
use meltemi_model::read::{Read, none_filed};
use meltemi_model::service::VisibleServices;
use meltemi_names::{Locality, Namespace, Selector};

use crate::cluster::{FixedKey, ServicePartKey};
use crate::gateway::secret::SecretsKey;
use crate::key::PartKey;
use crate::listener::gateway::GatewayListenersKey;
use crate::patch::Patches;
use crate::route::gateway::GatewayRoutesKey;

/// All that the translation for gateways may know of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayKey {
    /// Whose services, rules and secrets it sees.
    pub namespace: Namespace,
    /// The Gateways that it serves, and where it listens for them.
    pub set: GatewaySet,
    /// Which addresses are of use to it.
    pub family: IpFamily,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// As in [`crate::key::OutboundKey`].
    pub locality: Option<Locality>,
    /// As in [`crate::key::OutboundKey`].
    pub failover_labels: Arc<[(Arc<str>, Arc<str>)]>,
    /// As in [`crate::key::OutboundKey`].
    pub node: Option<Arc<str>>,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// As in [`crate::key::OutboundKey`].
    pub access_log: bool,
    /// As in [`crate::key::OutboundKey`].
    pub metrics: bool,
    /// As in [`crate::key::OutboundKey`].
    pub telemetry: crate::listener::TelemetryKey,
    /// Routes go out as virtual hosts.
    pub virtual_hosts: bool,
    /// As in [`crate::key::OutboundKey`].
    pub has_certificates: bool,
    /// What it may have of its namespace's Secrets.
    pub secrets: SecretAccess,
    /// What stands before it.
    pub topology: GatewayTopology,
    /// The patches that are laid over what is made.
    pub patches: Patches,
}

/// The parts of a gateway's layer: clusters as its namespace's sidecars have them, and what its Gateways ask for.
pub(crate) fn parts(read: &Read<'_>, key: &GatewayKey) -> Vec<PartKey> {
    let listeners = GatewayListenersKey {
        set: key.set.clone(),
        namespace: key.namespace.clone(),
        selectors: Arc::clone(&key.selectors),
        family: key.family,
        http10: key.http10,
        access_log: key.access_log,
        metrics: key.metrics,
        telemetry: key.telemetry.clone(),
        has_certificates: key.has_certificates,
        asks_secrets: key.secrets != SecretAccess::None,
        topology: key.topology.clone(),
    };
    let routes = GatewayRoutesKey {
        set: key.set.clone(),
        namespace: key.namespace.clone(),
        selectors: Arc::clone(&key.selectors),
        virtual_hosts: key.virtual_hosts,
    };
    let secrets = (key.secrets != SecretAccess::None).then(|| SecretsKey {
        set: key.set.clone(),
        namespace: key.namespace.clone(),
        keys: key.secrets == SecretAccess::All,
    });
    // Where no rule names a Secret clusters are those that sidecars have.
    let by_rules = key.secrets != SecretAccess::None && !none_filed(read, IndexKey::RulesWithCredentials);
    let visible = read.ask(VisibleServices(key.namespace.clone()));
    let services = visible.iter().map(|service| {
        PartKey::Service(ServicePartKey {
            viewer: key.namespace.clone(),
            service: service.clone(),
            ports: None,
            selectors: Arc::clone(&key.selectors),
            locality: key.locality.clone(),
            failover_labels: Arc::clone(&key.failover_labels),
            node: key.node.clone(),
            family: key.family,
            // Clients do not choose endpoints themselves, also not those of headless services.
            redirected: false,
            has_certificates: key.has_certificates,
            secrets: by_rules,
        })
    });
    [PartKey::Fixed(FixedKey), PartKey::GatewayListeners(listeners), PartKey::GatewayRoutes(routes)]
        .into_iter()
        .chain(secrets.map(PartKey::Secrets))
        .chain(services)
        .collect()
}
