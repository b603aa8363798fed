//! Clusters whose endpoints are names, which Envoy resolves (Istio: core/cluster_builder.go).
//!
//! Must not know: which endpoints there are; their assignment says that.   Invariant: such a cluster has an endpoint, or is none, unless
//! each request names its own.

use meltemi_model::read::Read;
use meltemi_model::service::Resolution;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message as _;

use super::{ClusterSettingsAnswer, Resolved};
use crate::dynamic;
use crate::endpoint::AssignmentKey;
use crate::wrap::duration;

/// By how much at most a lookup is late, so that proxies do not ask all at once, in nanoseconds (Istio: PILOT_DNS_JITTER_DURATION).
const JITTER_NANOS: i32 = 100_000_000;

/// Writes the names into the cluster; none if there is no endpoint. `checked`: as in [`dynamic::discovery`].
#[allow(deprecated, reason = "as Istio: every Envoy that is served knows these fields")]
pub(super) fn apply(
    read: &Read<'_>,
    settings: &ClusterSettingsAnswer,
    (resolution, checked): (Resolution, bool),
    resolved: &Resolved,
    cluster: &mut Cluster,
) -> Option<()> {
    let Some(key) = &resolved.assignment else {
        cluster.cluster_discovery_type = Some(dynamic::discovery(resolved.family, checked));
        cluster.lb_policy = LbPolicy::ClusterProvided.into();
        return Some(());
    };
    let mut assignment = assigned(read, key)?;
    // Shares may leave nothing to this caller: then the cluster is there, and has no endpoint.
    let unshared = if assignment.endpoints.is_empty() && key.near.is_some() {
        Some(assigned(read, &AssignmentKey { near: None, ..key.clone() })?)
    } else {
        None
    };
    unshared.as_ref().unwrap_or(&assignment).endpoints.first()?;
    let kind = if resolution == Resolution::DnsRoundRobin {
        // Envoy wants exactly one name.
        assignment = unshared.unwrap_or(assignment);
        assignment.endpoints.truncate(1);
        assignment.endpoints.first_mut()?.lb_endpoints.truncate(1);
        DiscoveryType::LogicalDns
    } else {
        DiscoveryType::StrictDns
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
    cluster.load_assignment = Some(assignment);
    cluster.dns_lookup_family = dynamic::lookup(resolved.family).into();
    cluster.respect_dns_ttl = true;
    cluster.dns_refresh_rate = Some(duration(settings.dns_refresh_rate));
    cluster.dns_jitter = Some(prost_types::Duration { seconds: 0, nanos: JITTER_NANOS });
    Some(())
}

fn assigned(read: &Read<'_>, key: &AssignmentKey) -> Option<ClusterLoadAssignment> {
    let made = (*read.ask(key.clone())).clone()?;
    ClusterLoadAssignment::decode(made.body().to_vec().as_slice()).ok()
}
