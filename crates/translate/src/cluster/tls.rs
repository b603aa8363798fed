//! Which TLS a cluster's connections speak: what a rule says, else mutual TLS to those endpoints that take it (Istio: core/cluster_tls.go,
//! pilot/pkg/xds/endpoints/mtls_checker.go).

use std::sync::Arc;

use meltemi_api::destination_rule::{ClientTls, TlsMode};
use meltemi_model::endpoints::{IdentitiesOf, TakeTls, WhoTakesTls};
use meltemi_model::peer::{Mode, NamespaceMode};
use meltemi_model::read::Read;
use meltemi_model::rule::Policy;
use meltemi_model::service::ServiceShape;
use meltemi_names::Port;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use meltemi_proto::envoy::config::core::v3::TransportSocket;
use meltemi_proto::google::protobuf::Struct;

use super::ClusterSettingsAnswer;
use crate::metadata::text;
use crate::tls::upstream::{self, Spoken};
use crate::tls::{MeshTls, raw_buffer};

/// Whether a policy leaves it to the mesh's own certificates how connections are encrypted. Where it does not, it makes no difference
/// whether the caller has some.
pub(crate) fn is_of_mesh(policy: &Policy) -> bool {
    policy.tls.as_ref().is_none_or(|tls| tls.mode == TlsMode::IstioMutual)
}

/// What a policy says of TLS that is not the mesh's own: by files, or, for callers that may ask for Secrets, by a Secret. For others a rule
/// with a Secret speaks plain text, as in Istio.
pub(super) fn of_rule(policy: &Policy, secrets: bool) -> Option<&ClientTls> {
    let tls = policy.tls.as_ref()?;
    let is_own = matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual);
    (is_own && (secrets || tls.credential().is_none())).then_some(tls)
}

/// Whether a policy's TLS is by a Secret. Where it is not it makes no difference whether the caller may ask for some.
pub(super) fn is_of_secret(policy: &Policy) -> bool {
    policy.tls.as_ref().is_some_and(|tls| tls.credential().is_some())
}

/// A cluster's connections.
pub(super) struct Connections<'a> {
    pub(super) shape: &'a ServiceShape,
    pub(super) port: Port,
    pub(super) subset: Option<&'a Arc<str>>,
    pub(super) policy: &'a Policy,
    /// The caller has the mesh's certificates.
    pub(super) certificates: bool,
    /// The caller may ask for the Secret that the rule names.
    pub(super) secrets: bool,
    pub(super) spoken: Spoken,
}

/// Writes into a cluster what its connections speak.
pub(super) fn apply(
    read: &Read<'_>,
    settings: &ClusterSettingsAnswer,
    connections: &Connections<'_>,
    cluster: &mut Cluster,
) {
    let Connections { shape, port, policy, spoken, .. } = *connections;
    if let Some(tls) = of_rule(policy, connections.secrets) {
        cluster.transport_socket = Some(upstream::of_rule(tls, &settings.tls_defaults, spoken));
        return;
    }
    if !connections.certificates || !is_of_mesh(policy) {
        return;
    }
    if let Some(tls) = &policy.tls {
        cluster.transport_socket = Some(mutual(read, connections, Some(tls)));
        return;
    }
    let refused = || read.ask(NamespaceMode(shape.id.namespace().clone())).mode == Mode::Disable;
    if shape.external || !settings.auto_mtls || refused() {
        return;
    }
    if cluster.eds_cluster_config.is_some() || cluster.load_assignment.is_some() {
        cluster.transport_socket_matches = vec![
            matching("tlsMode-istio", &[("tlsMode", "istio")], mutual(read, connections, None)),
            matching("tlsMode-disabled", &[], raw_buffer()),
        ];
    } else if *read.ask(WhoTakesTls { service: shape.id.clone(), port }) == TakeTls::All {
        // Envoy knows nothing of the address that is called but the address: all take it, or none is asked.
        cluster.transport_socket = Some(mutual(read, connections, None));
    }
}

fn mutual(read: &Read<'_>, connections: &Connections<'_>, written: Option<&ClientTls>) -> TransportSocket {
    let Connections { shape, port, subset, spoken, .. } = *connections;
    let identities = read.ask(IdentitiesOf(shape.id.clone()));
    let sni = upstream::sni(port, subset.map(|subset| &**subset), &shape.id.host);
    upstream::mutual(&read.ask(MeshTls), written, &identities, sni, spoken)
}

fn matching(name: &str, labels: &[(&str, &str)], socket: TransportSocket) -> TransportSocketMatch {
    let fields = labels.iter().map(|(key, value)| ((*key).to_owned(), text(*value))).collect();
    TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(Struct { fields }),
        transport_socket: Some(socket),
    }
}
