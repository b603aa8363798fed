//! Patches of clusters (Istio: core/envoyfilter/cluster_patch.go).

use std::sync::Arc;

use meltemi_api::envoy_filter::{ApplyTo, ClusterMatch, Operation};
use meltemi_names::Host;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::core::v3::transport_socket::ConfigType;

use super::written::Written;
use super::{Applied, edit};

/// The cluster after the patches; none if one removes it. `host`: of the service of an inbound cluster, whose name has none.
pub(super) fn patch(
    patches: &[Arc<Written>],
    mut cluster: Cluster,
    host: Option<&Host>,
    applied: &mut Applied,
) -> Option<Cluster> {
    let name = cluster.name.clone();
    for patch in patches.iter().filter(|patch| patch.apply_to == ApplyTo::Cluster) {
        if !is_meant(&name, host, patch.matching.cluster.as_ref()) {
            continue;
        }
        if patch.operation == Operation::Remove {
            applied.note(patch, true);
            return None;
        }
        if patch.merges() {
            let done = transport_socket(&mut cluster, patch);
            applied.note(patch, done.unwrap_or_else(|| edit::merge(&mut cluster, patch)));
        }
    }
    // Routes know it by its name.
    cluster.name = name;
    Some(cluster)
}

fn is_meant(name: &str, host: Option<&Host>, wanted: Option<&ClusterMatch>) -> bool {
    let Some(wanted) = wanted else { return true };
    if !wanted.name.is_empty() {
        return wanted.name == name;
    }
    let (direction, port, subset, called) = parts_of(name);
    let called = match host {
        Some(host) if direction == "inbound" => host.as_str(),
        _ => called,
    };
    (wanted.subset.is_empty() || wanted.subset == subset)
        && (wanted.service.is_empty() || wanted.service == called)
        && (wanted.port_number == 0 || port == Some(wanted.port_number))
}

/// `<direction>|<port>|<subset>|<host>`; other names have none of these.
fn parts_of(name: &str) -> (&str, Option<u32>, &str, &str) {
    let parts: Vec<&str> = name.splitn(4, '|').collect();
    match parts.as_slice() {
        [direction, port, subset, host] => (direction, port.parse().ok(), subset, host),
        _ => ("", None, "", ""),
    }
}

/// A patch with a transport socket merges that into the one of the same name, and nothing else; which is what was done, none if the
/// patch has none. Beside matches of sockets there can be no socket: it goes to the match of its name.
fn transport_socket(cluster: &mut Cluster, patch: &Written) -> Option<bool> {
    let value: Cluster = patch.message()?;
    let socket = value.transport_socket?;
    let same = if cluster.transport_socket_matches.is_empty() {
        cluster.transport_socket.as_mut().filter(|own| own.name == socket.name)
    } else {
        let sockets =
            cluster.transport_socket_matches.iter_mut().filter_map(|found| found.transport_socket.as_mut());
        let Some(own) = sockets.into_iter().find(|own| own.name == socket.name) else { return Some(false) };
        Some(own)
    };
    let Some(own) = same else {
        cluster.transport_socket = Some(socket);
        return Some(true);
    };
    let (Some(ConfigType::TypedConfig(own)), Some(ConfigType::TypedConfig(theirs))) =
        (&mut own.config_type, &socket.config_type)
    else {
        return Some(false);
    };
    Some(edit::merge_any(own, theirs))
}
