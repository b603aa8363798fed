//! A connection that is sent on as it is.

use meltemi_proto::envoy::config::core::v3::data_source::Specifier;
use meltemi_proto::envoy::config::core::v3::substitution_format_string::Format;
use meltemi_proto::envoy::extensions::filters::common::set_filter_state::v3::filter_state_value::{
    Key, Value,
};
use meltemi_proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
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
    /// What is offered to the endpoint in the handshake, instead of the cluster's own ALPN; none: that.
    pub application_protocols: Option<Vec<String>>,
    /// The destination opens a tunnel, and the connection goes on in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelWay>,
    /// How long it may be silent; none: without end.
    pub idle_timeout_ms: Option<u64>,
    /// How long it may live; none: without end.
    pub max_duration_ms: Option<u64>,
}

/// A tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelWay {
    /// `CONNECT` or `POST`.
    pub method: &'static str,
    /// `host:port`.
    pub target: String,
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
        application_protocols: None,
        tunnel: proxy.tunneling_config.as_ref().map(|tunnel| TunnelWay {
            method: if tunnel.use_post { "POST" } else { "CONNECT" },
            target: tunnel.hostname.clone(),
        }),
        idle_timeout_ms: match &proxy.idle_timeout {
            Some(span) => limit(Some(span)),
            None => Some(IDLE_TIMEOUT_MS),
        },
        max_duration_ms: limit(proxy.max_downstream_connection_duration.as_ref()),
    };
    Ok((way, seen))
}

/// The ALPN that a filter asks for on the way to the endpoint; none if it asks for something else, too, or in another way.
pub(crate) fn offered(filter: &SetFilterState) -> Option<Vec<String>> {
    let [only] = filter.on_new_connection.as_slice() else { return None };
    let (Some(Key::ObjectKey(key)), Some(Value::FormatString(format))) = (&only.key, &only.value) else {
        return None;
    };
    let text = match format.format.as_ref()? {
        Format::TextFormatSource(source) => match source.specifier.as_ref()? {
            Specifier::InlineString(text) => text,
            _ => return None,
        },
        _ => return None,
    };
    let is_plain = key == "envoy.network.application_protocols" && !text.contains('%');
    is_plain.then(|| text.split(',').map(str::to_owned).collect())
}
