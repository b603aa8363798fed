//! Connections that begin with a header of the PROXY protocol, whatever they speak then (Istio: core/cluster_traffic_policy.go).

use meltemi_api::destination_rule::{ProxyProtocol, ProxyProtocolVersion};
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::core::v3::proxy_protocol_config::Version;
use meltemi_proto::envoy::config::core::v3::transport_socket::ConfigType;
use meltemi_proto::envoy::config::core::v3::{ProxyProtocolConfig, TransportSocket};
use meltemi_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;

use crate::tls::raw_buffer;

/// Puts the header before all that the cluster's connections speak.
pub(super) fn apply(cluster: &mut Cluster, written: Option<ProxyProtocol>) {
    let Some(written) = written else { return };
    for found in &mut cluster.transport_socket_matches {
        found.transport_socket = Some(wrapped(written, found.transport_socket.take()));
    }
    if cluster.transport_socket_matches.is_empty() || cluster.transport_socket.is_some() {
        cluster.transport_socket = Some(wrapped(written, cluster.transport_socket.take()));
    }
}

fn wrapped(written: ProxyProtocol, inner: Option<TransportSocket>) -> TransportSocket {
    let version = match written.version {
        ProxyProtocolVersion::V1 => Version::V1,
        ProxyProtocolVersion::V2 => Version::V2,
    };
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig { version: version.into(), ..ProxyProtocolConfig::default() }),
        transport_socket: Some(inner.unwrap_or_else(raw_buffer)),
        ..ProxyProtocolUpstreamTransport::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&transport))),
    }
}
