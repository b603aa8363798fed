//! Clusters that stand for no service.

use std::sync::Arc;

use meltemi_catalog::Resource;
use meltemi_model::proxy::IpFamily;
use meltemi_model::rule::Policy;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use meltemi_proto::envoy::config::core::v3::Metadata;

use super::{ClusterSettingsAnswer, inbound, pool, protocol, tls};
use crate::resource_names::{ANY_NAME, BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH};
use crate::tls::upstream::{self, Spoken};
use crate::wrap::duration;
use crate::{dynamic, encode, metadata};

/// Drops all: it has no endpoints.
pub(super) fn black_hole(settings: &ClusterSettingsAnswer) -> Arc<Resource> {
    resource(
        BLACK_HOLE,
        Cluster {
            alt_stat_name: stat_name(BLACK_HOLE),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
            connect_timeout: Some(duration(settings.connect_timeout)),
            metadata: named(BLACK_HOLE),
            ..Cluster::default()
        },
    )
}

/// Sends to where the client wanted to go.
pub(super) fn passthrough(settings: &ClusterSettingsAnswer) -> Arc<Resource> {
    resource(PASSTHROUGH, Cluster { metadata: named(PASSTHROUGH), ..to_original_destination(settings) })
}

/// Sends to where the request's host leads, with the limits and protocols of what passes through.
pub(super) fn any_name(settings: &ClusterSettingsAnswer, family: IpFamily) -> Arc<Resource> {
    let policy = Policy { tls: settings.outbound_tls.clone(), ..Policy::default() };
    let server_name = protocol::server_name(&policy, false, Spoken::Either, true);
    let checked = server_name.as_ref().is_some_and(|found| found.auto_sni && found.auto_san_validation);
    let limits = settings.balance.policy.connection_pool.as_ref();
    let socket = |tls| upstream::of_rule(tls, &settings.tls_defaults, Spoken::Either);
    let cluster = Cluster {
        alt_stat_name: stat_name(ANY_NAME),
        cluster_discovery_type: Some(dynamic::discovery(family, checked)),
        metadata: named(ANY_NAME),
        typed_extension_protocol_options: protocol::as_downstream_with_idle_timeout(limits, server_name),
        transport_socket: tls::of_rule(&policy, false).map(socket),
        ..to_original_destination(settings)
    };
    resource(ANY_NAME, cluster)
}

/// The same as [`passthrough`] for what comes in. Its statistics count as the other's (Istio: core/cluster_builder.go).
pub(super) fn inbound_passthrough(settings: &ClusterSettingsAnswer, family: IpFamily) -> Arc<Resource> {
    resource(
        INBOUND_PASSTHROUGH,
        Cluster { upstream_bind_config: Some(inbound::source(family)), ..to_original_destination(settings) },
    )
}

/// Metrics call such a cluster by its own name: what is behind it nobody knows.
fn named(cluster: &str) -> Option<Metadata> {
    metadata::with_service(None, meltemi_telemetry::service("", cluster, ""))
}

/// What is unknown has the mesh's default limits, if there are some (Istio: core/cluster_builder.go).
fn to_original_destination(settings: &ClusterSettingsAnswer) -> Cluster {
    let limits = settings.balance.policy.connection_pool.as_ref();
    let mut cluster = Cluster {
        alt_stat_name: stat_name(PASSTHROUGH),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into())),
        lb_policy: LbPolicy::ClusterProvided.into(),
        typed_extension_protocol_options: protocol::as_downstream_with_idle_timeout(limits, None),
        ..Cluster::default()
    };
    pool::apply(&mut cluster, limits, None, settings);
    cluster
}

/// How statistics call a cluster: the `;` ends the name for the bootstrap's tag regex (Istio: pilot/pkg/networking/telemetry).
pub(super) fn stat_name(name: &str) -> String {
    format!("{name};")
}

fn resource(name: &str, cluster: Cluster) -> Arc<Resource> {
    let cluster = Cluster { name: name.to_owned(), ..cluster };
    encode::whole(TypeUrl::Cluster, name.into(), &cluster, Vec::new(), Vec::new())
}
