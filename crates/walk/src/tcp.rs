//! A connection that is sent on as it is.

use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use serde::Serialize;

use crate::cluster::{self, ClusterWay};
use crate::configuration::{Broken, Sent};
use crate::seen::{Seen, SeenShare};
use crate::share::Share;
use crate::time::limit;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TcpWay {
    /// To one of these.
    pub destinations: Vec<TcpDestination>,
    /// How long it may be silent; none: without end.
    pub idle_timeout_ms: Option<u64>,
    /// How long it may live; none: without end.
    pub max_duration_ms: Option<u64>,
}

/// One of the clusters that a connection may go to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TcpDestination {
    /// How many connections.
    pub share: Share,
    /// Where to.
    pub cluster: ClusterWay,
}

/// Envoy's.
const IDLE_TIMEOUT_MS: u64 = 3_600_000;

pub(crate) fn way(sent: Sent<'_>, proxy: &TcpProxy) -> Result<(TcpWay, Vec<SeenShare>), Broken> {
    let clusters: Vec<(&str, u64)> = match &proxy.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![(name, 1)],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted.clusters.iter().map(|one| (one.name.as_str(), u64::from(one.weight))).collect()
        }
        None => Vec::new(),
    };
    let whole = clusters.iter().map(|(_, weight)| weight).sum();
    let (mut destinations, mut seen) = (Vec::new(), Vec::new());
    for (name, weight) in clusters {
        let share = Share::of(weight, whole);
        let (cluster, cause) = cluster::of(sent, name)?;
        seen.push(SeenShare { share, seen: cluster::seen_by_connection(name, cause) });
        destinations.push(TcpDestination { share, cluster });
    }
    if seen.is_empty() {
        seen = Seen::Unknown.always();
    }
    let way = TcpWay {
        destinations,
        idle_timeout_ms: match &proxy.idle_timeout {
            Some(span) => limit(Some(span)),
            None => Some(IDLE_TIMEOUT_MS),
        },
        max_duration_ms: limit(proxy.max_downstream_connection_duration.as_ref()),
    };
    Ok((way, seen))
}
