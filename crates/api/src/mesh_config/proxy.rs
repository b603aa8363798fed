//! `defaultConfig`: what the mesh's settings say to every proxy. Most of it is the agent's; tracing, and what stands before gateways, is the
//! control plane's.

use std::collections::BTreeMap;

use crate::document::yaml;
use crate::markers::Unread;
use crate::telemetry::CustomTag;
use crate::value::Decimal;

/// What of `defaultConfig` is read; all of it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultConfig {
    /// How requests are traced where no Telemetry says.
    pub tracing: ProxyTracing,
    /// Not read: the agent's, as all that follows.
    pub config_path: Unread,
    /// Not read.
    pub binary_path: Unread,
    /// Not read.
    pub service_cluster: Unread,
    /// Not read.
    pub tracing_service_name: Unread,
    /// Not read.
    pub drain_duration: Unread,
    /// Not read.
    pub discovery_address: Unread,
    /// Not read.
    pub discovery_refresh_delay: Unread,
    /// Not read.
    pub zipkin_address: Unread,
    /// Not read.
    pub statsd_udp_address: Unread,
    /// Not read.
    pub envoy_metrics_service_address: Unread,
    /// Not read.
    pub proxy_admin_port: Unread,
    /// Not read.
    pub availability_zone: Unread,
    /// Not read.
    pub control_plane_auth_policy: Unread,
    /// Not read.
    pub custom_config_file: Unread,
    /// Not read.
    pub stat_name_length: Unread,
    /// Not read.
    pub concurrency: Unread,
    /// Not read.
    pub proxy_bootstrap_template_path: Unread,
    /// Not read.
    pub interception_mode: Unread,
    /// Not read.
    pub sds: Unread,
    /// Not read.
    pub envoy_access_log_service: Unread,
    /// Not read.
    pub envoy_metrics_service: Unread,
    /// Not read.
    pub proxy_metadata: Unread,
    /// Not read.
    pub runtime_values: Unread,
    /// Not read.
    pub status_port: Unread,
    /// Not read.
    pub extra_stat_tags: Unread,
    /// What stands before gateways.
    pub gateway_topology: GatewayTopology,
    /// Not read.
    pub termination_drain_duration: Unread,
    /// Not read.
    pub mesh_id: Unread,
    /// Not read.
    pub readiness_probe: Unread,
    /// Not read.
    pub proxy_stats_matcher: Unread,
    /// Not read.
    pub hold_application_until_proxy_starts: Unread,
    /// Not read.
    pub ca_certificates_pem: Unread,
    /// Not read.
    pub image: Unread,
    /// Not read.
    pub private_key_provider: Unread,
    /// Not read.
    pub proxy_headers: Unread,
    /// Not read.
    pub file_flush_interval: Unread,
    /// Not read.
    pub file_flush_min_size_kb: Unread,
    /// Not read.
    pub stats_compression: Unread,
    /// Not read.
    pub connection_settings: Unread,
}

/// What stands before a gateway (Istio's reference: Topology of ProxyConfig).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTopology {
    /// So many of the last addresses of `x-forwarded-for` were written by proxies that are believed.
    pub num_trusted_proxies: u32,
    /// What becomes of `x-forwarded-client-cert`.
    pub forward_client_cert_details: ForwardClientCert,
    /// Connections begin with a header of the PROXY protocol, which says who calls.
    pub proxy_protocol: Option<ProxyProtocolSettings>,
}

/// There is nothing to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(default)]
pub struct ProxyProtocolSettings {}

/// What becomes of the header by which a proxy tells of its client's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ForwardClientCert {
    /// As `SANITIZE_SET`.
    #[default]
    Undefined,
    /// It is taken away.
    Sanitize,
    /// It is handed on from a client with a certificate.
    ForwardOnly,
    /// The client's own is added to it.
    AppendForward,
    /// The client's own takes its place.
    SanitizeSet,
    /// It is handed on from everybody.
    AlwaysForwardOnly,
}

/// The annotation of a pod with a ProxyConfig of its own (Istio: pkg/config/mesh/mesh.go).
pub const PROXY_CONFIG_ANNOTATION: &str = "proxy.istio.io/config";

impl GatewayTopology {
    /// As a pod's annotation says; none where it says nothing of it, or nothing that can be read: its agent says so.
    pub fn annotated(text: &str) -> Option<Self> {
        let loaded = yaml::load(text, yaml::Origin { line: 1, indent: 0 }, &"".into()).into_iter().next()?;
        Self::within(&loaded.value)
    }

    /// As a ProxyConfig says.
    pub fn within(config: &serde_json::Value) -> Option<Self> {
        serde_json::from_value(config.get("gatewayTopology")?.clone()).ok()
    }
}

/// Tracing where no Telemetry and no `defaultProviders` say (Istio's reference: Tracing of ProxyConfig).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyTracing {
    /// Who takes the spans: a tracer of the proxy's bootstrap.
    pub zipkin: Option<Unread>,
    /// As before.
    pub lightstep: Option<Unread>,
    /// As before.
    pub datadog: Option<Unread>,
    /// As before.
    pub stackdriver: Option<Unread>,
    /// As before.
    pub open_census_agent: Option<Unread>,
    /// Tags of each span, by name.
    pub custom_tags: BTreeMap<String, CustomTag>,
    /// How long the tag of a path may be; 0: Envoy's own limit.
    pub max_path_tag_length: u32,
    /// How many requests are traced, 0 to 100; 0 or none: 1.
    pub sampling: Decimal,
    /// Not read: the bootstrap's.
    pub tls_settings: Unread,
    /// Whether spans have Istio's own tags; yes where nobody says.
    pub enable_istio_tags: Option<bool>,
}

impl ProxyTracing {
    /// How many of 100 requests are traced where nobody says otherwise (Istio: pilot/pkg/networking/core/tracing.go).
    pub fn sampling(&self) -> f64 {
        match self.sampling.as_f64() {
            share if share > 0.0 && share <= 100.0 => share,
            _ => 1.0,
        }
    }

    /// Whether the bootstrap has a tracer.
    pub fn has_tracer(&self) -> bool {
        self.zipkin.is_some()
            || self.lightstep.is_some()
            || self.datadog.is_some()
            || self.stackdriver.is_some()
            || self.open_census_agent.is_some()
    }
}
