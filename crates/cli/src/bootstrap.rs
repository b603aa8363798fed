//! The bootstrap with which Envoy connects: node, admin, and one cluster for the control plane.

use serde_json::{Value, json};

use crate::host_port::HostPort;

/// Where things listen.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// The control plane.
    pub(crate) xds: HostPort,
    /// Envoy's own admin page.
    pub(crate) admin: HostPort,
}

/// The whole bootstrap. Delta ADS, since Envoy then takes single virtual hosts; no fetch has a time limit, since the control plane
/// always answers, and Envoy waits for it (Istio's bootstrap does the same).
pub(crate) fn bootstrap(node: &Value, addresses: &Addresses) -> Value {
    let socket =
        |HostPort { host, port }: &HostPort| json!({"socket_address": {"address": host, "port_value": port}});
    let over_ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "node": node,
        "admin": {"address": socket(&addresses.admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": over_ads,
            "lds_config": over_ads,
        },
        "static_resources": {
            "clusters": [{
                "name": "xds-grpc",
                "alt_stat_name": "xds-grpc;",
                "type": "STRICT_DNS",
                "respect_dns_ttl": true,
                "dns_lookup_family": "V4_PREFERRED",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {
                            "http2_protocol_options": {
                                "connection_keepalive": {"interval": "30s", "timeout": "10s"},
                            },
                        },
                    },
                },
                "load_assignment": {
                    "cluster_name": "xds-grpc",
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(&addresses.xds)}}]}],
                },
            }],
        },
    })
}
