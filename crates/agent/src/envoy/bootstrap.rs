//! The bootstrap with which Envoy starts.
//!
//! Start at [`Bootstrap`]. Beside an agent Envoy has more than alone: its certificate by SDS, TLS to the control plane, and listeners for
//! health and metrics.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::stats;
pub use super::stats::Inclusion;
use crate::HostPort;

/// A bootstrap, to be written.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Who Envoy is ([`super::node::Node::to_json`]).
    pub node: Value,
    /// The control plane.
    pub xds: HostPort,
    /// Envoy's own admin interface.
    pub admin: HostPort,
    /// What is there with an agent beside it.
    pub companion: Option<Companion>,
}

/// What an agent adds.
#[derive(Clone, Debug)]
pub struct Companion {
    /// The agent's socket for secrets.
    pub socket: PathBuf,
    /// How the control plane is known; none for a connection without TLS.
    pub tls: Option<Upstream>,
    /// Headers of the stream to the control plane.
    pub headers: Vec<(String, String)>,
    /// The agent's status server.
    pub status_port: u16,
    /// Where `/healthz/ready` is asked (Istio: 15021).
    pub health_port: u16,
    /// Where `/stats/prometheus` is asked (Istio: 15090).
    pub prometheus_port: u16,
    /// Whether `prometheus_port` is open to this machine only (proxyMetadata `METRICS_LOCALHOST_ACCESS_ONLY`).
    pub metrics_localhost_only: bool,
    /// Whether the workload has IPv6 addresses only.
    pub is_v6: bool,
    /// Statistics that the pod wants besides.
    pub stats: Inclusion,
    /// Whether Envoy asks by the delta protocol.
    pub delta: bool,
}

/// How the control plane is known.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The name that its certificate must have: a DNS name or an IP address.
    pub name: String,
    /// The file with what its certificate must verify to; the agent serves it, and follows its changes.
    pub roots: PathBuf,
}

/// Where Envoy gets secrets, and how.
fn sds(name: &str) -> Value {
    json!({
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    })
}

fn socket(HostPort { host, port }: &HostPort) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn http2(more: Value) -> Value {
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": more},
        },
    })
}

fn endpoints(cluster: &str, address: &Value) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    })
}

impl Bootstrap {
    /// The whole bootstrap. Delta ADS, since Envoy then takes single virtual hosts; no fetch has a time limit, since the control plane
    /// always answers, and Envoy waits for it (Istio's bootstrap does the same).
    pub fn to_json(&self) -> Value {
        let over_ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
        let mut grpc = json!({"envoy_grpc": {"cluster_name": "xds-grpc"}});
        let mut is_delta = true;
        let mut clusters = vec![self.control_plane()];
        let mut listeners = Vec::new();
        if let Some(companion) = &self.companion {
            let headers = companion.headers.iter();
            let headers: Vec<Value> =
                headers.map(|(key, value)| json!({"key": key, "value": value})).collect();
            if !headers.is_empty() {
                grpc["initial_metadata"] = json!(headers);
            }
            is_delta = companion.delta;
            clusters.extend(companion.clusters(&self.admin));
            listeners.extend(companion.listeners());
        }
        let mut bootstrap = json!({
            "node": self.node,
            "admin": {"address": socket(&self.admin)},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": if is_delta { "DELTA_GRPC" } else { "GRPC" },
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [grpc],
                },
                "cds_config": over_ads,
                "lds_config": over_ads,
            },
            "static_resources": {"clusters": clusters},
        });
        if let Some(companion) = &self.companion {
            bootstrap["static_resources"]["listeners"] = json!(listeners);
            bootstrap["stats_config"] = stats::config(&companion.stats);
            // Regular expressions of users may be longer than Envoy's own bound; as in Istio.
            bootstrap["layered_runtime"] = json!({"layers": [{
                "name": "agent",
                "static_layer": {"re2.max_program_size.error_level": 32768},
            }]});
        }
        bootstrap
    }

    fn control_plane(&self) -> Value {
        let mut cluster = json!({
            "name": "xds-grpc",
            "alt_stat_name": "xds-grpc;",
            "type": "STRICT_DNS",
            "respect_dns_ttl": true,
            "dns_lookup_family": "V4_PREFERRED",
            "connect_timeout": "1s",
            "typed_extension_protocol_options":
                http2(json!({"connection_keepalive": {"interval": "30s", "timeout": "10s"}})),
            "load_assignment": endpoints("xds-grpc", &socket(&self.xds)),
        });
        let tls = self.companion.as_ref().and_then(|companion| companion.tls.as_ref());
        if let Some(Upstream { name, roots }) = tls {
            let ip = name.parse::<IpAddr>().ok();
            let san = if ip.is_some() { "IP_ADDRESS" } else { "DNS" };
            let mut context = json!({
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificate_sds_secret_configs": [sds("default")],
                    "combined_validation_context": {
                        "default_validation_context": {
                            "match_typed_subject_alt_names": [{"san_type": san, "matcher": {"exact": name}}],
                        },
                        // The file and not `ROOTCA`: it follows the mesh's roots at once, and `ROOTCA` when the certificate is renewed.
                        "validation_context_sds_secret_config": sds(&format!("file-root:{}", roots.display())),
                    },
                },
            });
            if ip.is_none() {
                context["sni"] = json!(name);
            }
            cluster["connect_timeout"] = json!("5s");
            cluster["transport_socket"] =
                json!({"name": "envoy.transport_sockets.tls", "typed_config": context});
        }
        cluster
    }
}

impl Companion {
    fn clusters(&self, admin: &HostPort) -> Vec<Value> {
        let local = |name: &str, port: u16| {
            json!({
                "name": name,
                "alt_stat_name": format!("{name};"),
                "type": "STATIC",
                "connect_timeout": "0.25s",
                "lb_policy": "ROUND_ROBIN",
                "load_assignment": endpoints(name, &socket(&HostPort { host: "127.0.0.1".to_owned(), port })),
            })
        };
        vec![
            json!({
                "name": "sds-grpc",
                "alt_stat_name": "sds-grpc;",
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": http2(json!({})),
                "load_assignment": endpoints("sds-grpc", &json!({"pipe": {"path": self.socket}})),
            }),
            local("prometheus_stats", admin.port),
            local("agent", self.status_port),
        ]
    }

    /// As Istio's: what Kubernetes asks for health, and what scrapers ask for Envoy's own metrics.
    fn listeners(&self) -> Vec<Value> {
        let any = if self.is_v6 { "::" } else { "0.0.0.0" };
        let local = if self.is_v6 { "::1" } else { "127.0.0.1" };
        let metrics = if self.metrics_localhost_only { local } else { any };
        vec![
            listener(metrics, self.prometheus_port, "stats", "/stats/prometheus", "prometheus_stats"),
            listener(any, self.health_port, "agent", "/healthz/ready", "agent"),
        ]
    }
}

fn listener(host: &str, port: u16, stat: &str, prefix: &str, cluster: &str) -> Value {
    // Envoy tells listeners apart by name, and those that take any free port have the same one.
    let name = if port == 0 { stat.to_owned() } else { format!("{host}_{port}") };
    json!({
        "name": name,
        // By this the agent tells them from listeners of the mesh, when it waits for connections to end.
        "stat_prefix": stat,
        "address": socket(&HostPort { host: host.to_owned(), port }),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "codec_type": "AUTO",
                "stat_prefix": format!("{stat};"),
                "route_config": {"virtual_hosts": [{
                    "name": "backend",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": prefix}, "route": {"cluster": cluster}}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }],
            },
        }]}],
    })
}
