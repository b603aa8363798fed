//! MeshConfig: the settings of the whole mesh, in ConfigMap `istio` (Istio's reference: istio.mesh.v1alpha1).

mod defaults;
mod provider;
mod proxy;

use std::sync::Arc;

use meltemi_names::Port;

pub(crate) use self::provider::fault_of;
pub use self::provider::{
    Collector, DynatraceSampler, ExtensionProvider, FileLog, GrpcLog, GrpcReport, HttpHeader, HttpReport,
    Labels, LogFormat, Opentelemetry, OtelLog, Prometheus, ResourceDetectors, ServiceAttributes, ServiceRef,
    Skywalking, TraceContext, Zipkin,
};
pub use self::proxy::{
    DefaultConfig, ForwardClientCert, GatewayTopology, PROXY_CONFIG_ANNOTATION, ProxyProtocolSettings,
    ProxyTracing,
};

use crate::decode::{finding_of, reader};
use crate::destination_rule::{H2UpgradePolicy, LocalityLbSetting, TcpKeepalive, ZoneAwareLbSetting};
use crate::document::yaml;
use crate::field::FieldPath;
use crate::finding::{Finding, Severity};
use crate::markers::{Unread, not_yet};
use crate::validate;
use crate::value::{Duration, ExportTo, LabelSelector, check_log_format};
use crate::virtual_service::Retries;
pub use defaults::{DefaultTrafficPolicy, Normalization, PathNormalization, TlsDefaults};

/// The ConfigMap `istio` (or `istio-<revision>`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its key `mesh`; the defaults when it has none.
    pub mesh: Arc<MeshConfig>,
}

/// The settings of the whole mesh; defaults as Istio's (pkg/config/mesh/mesh.go).
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// Where proxies write their access log; empty: nowhere.
    pub access_log_file: String,
    /// Empty: Istio's format.
    pub access_log_format: String,
    /// Text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// The virtual listeners do not log what reaches no route.
    pub disable_envoy_listener_log: bool,
    /// What happens to connections to unknown destinations.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// What happens to connections to ports that no service declares.
    pub inbound_traffic_policy: InboundTrafficPolicy,
    /// How long a proxy waits for a connection.
    pub connect_timeout: Duration,
    /// How long a proxy waits for bytes that tell the protocol; zero: for ever.
    pub protocol_detection_timeout: Duration,
    /// Of routes that do not say; none: the built-in one.
    pub default_http_retry_policy: Option<Retries>,
    /// Where the resources for the whole mesh are.
    pub root_namespace: String,
    /// Whose identities the mesh's workloads have: the first part of each, after `spiffe://`.
    #[serde(deserialize_with = "trust_domain")]
    pub trust_domain: Arc<str>,
    /// Of services without `exportTo`.
    pub default_service_export_to: Vec<ExportTo>,
    /// Of VirtualServices without `exportTo`.
    pub default_virtual_service_export_to: Vec<ExportTo>,
    /// Of DestinationRules without `exportTo`.
    pub default_destination_rule_export_to: Vec<ExportTo>,
    /// Where outbound connections are redirected to.
    pub proxy_listen_port: Port,
    /// Where inbound connections are redirected to.
    pub proxy_inbound_listen_port: Port,
    /// Not supported yet.
    pub proxy_http_port: not_yet::MeshSetting,
    /// Clients speak mutual TLS to workloads that can, unless a DestinationRule says how they speak.
    pub enable_auto_mtls: bool,
    /// Whether HTTP/1.1 is sent on as HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// How often a proxy asks DNS again for a name that an answer gives no lifetime for.
    pub dns_refresh_rate: Duration,
    /// Settings of every proxy: the agent's but for tracing.
    pub default_config: DefaultConfig,
    /// Not read: belongs to injection.
    pub enable_prometheus_merge: Unread,
    /// Requests are traced, where something says who takes the spans.
    pub enable_tracing: bool,
    /// Who takes what no resource sends elsewhere.
    pub default_providers: DefaultProviders,
    /// Who takes logs, spans and metrics, by name.
    pub extension_providers: Vec<ExtensionProvider>,
    /// Not supported yet.
    pub ingress_class: not_yet::MeshSetting,
    /// Not supported yet.
    pub ingress_controller_mode: not_yet::MeshSetting,
    /// Not supported yet.
    pub ingress_service: not_yet::MeshSetting,
    /// Not supported yet.
    pub ingress_selector: not_yet::MeshSetting,
    /// Which endpoints come first by where they run, where neither a rule nor the service says so.
    pub locality_lb_setting: Arc<LocalityLbSetting>,
    /// The same, by Envoy's zone-aware routing; it counts before the other.
    pub zone_aware_lb_setting: Option<Arc<ZoneAwareLbSetting>>,
    /// What of a request's path is made regular before it is looked at.
    pub path_normalization: PathNormalization,
    /// Probes of silent connections, where a rule writes none of its own.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Trust domains whose identities count as the mesh's own: such as the one it had before.
    pub trust_domain_aliases: Vec<Arc<str>>,
    /// Not supported yet.
    pub ca_certificates: not_yet::MeshSetting,
    /// Not supported yet.
    pub certificates: not_yet::MeshSetting,
    /// Which namespaces count, by their labels: those that any of these selects; empty: all.
    pub discovery_selectors: Vec<LabelSelector>,
    /// Not read: says which services are for one cluster, and there is one.
    pub service_settings: Unread,
    /// The TLS that the mesh's workloads speak to each other.
    #[serde(rename = "meshMTLS")]
    pub mesh_mtls: MeshTls,
    /// The TLS that is not between the mesh's own workloads.
    pub tls_defaults: TlsDefaults,
    /// How the proxy tries again at its own application; none: the built-in way.
    pub default_inbound_http_retry_policy: Option<Retries>,
    /// What counts where a rule does not say.
    pub default_traffic_policy: DefaultTrafficPolicy,
    /// Requests and connections are told to the bootstrap's cluster `envoy_accesslog_service`, where no Telemetry says otherwise.
    pub enable_envoy_access_log_service: bool,
    /// Not supported yet.
    pub config_sources: not_yet::MeshSetting,
    /// Not read, as in Istio, which verifies a server's certificate whatever it says.
    pub verify_certificate_at_client: Unread,
    /// How statistics call inbound clusters; empty: by their own names.
    pub inbound_cluster_stat_name: Arc<str>,
    /// How statistics call the clusters of services; empty: by their own names.
    pub outbound_cluster_stat_name: Arc<str>,
    /// Not supported yet.
    pub ca: not_yet::MeshSetting,
}

impl Default for MeshConfig {
    fn default() -> Self {
        let seconds = |seconds| Duration(std::time::Duration::from_secs(seconds));
        #[allow(clippy::expect_used, reason = "the two constants are in range")]
        let port = |number| Port::new(number).expect("1 to 65535");
        Self {
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: AccessLogEncoding::Text,
            disable_envoy_listener_log: false,
            outbound_traffic_policy: OutboundTrafficPolicy {
                mode: OutboundMode::AllowAny,
                ..OutboundTrafficPolicy::default()
            },
            inbound_traffic_policy: InboundTrafficPolicy::default(),
            connect_timeout: seconds(10),
            protocol_detection_timeout: seconds(0),
            default_http_retry_policy: None,
            root_namespace: "istio-system".to_owned(),
            trust_domain: DEFAULT_TRUST_DOMAIN.into(),
            default_service_export_to: vec![ExportTo::All],
            default_virtual_service_export_to: vec![ExportTo::All],
            default_destination_rule_export_to: vec![ExportTo::All],
            proxy_listen_port: port(15001),
            proxy_inbound_listen_port: port(15006),
            proxy_http_port: not_yet::MeshSetting::default(),
            enable_auto_mtls: true,
            h2_upgrade_policy: H2UpgradePolicy::DoNotUpgrade,
            dns_refresh_rate: seconds(60),
            default_config: DefaultConfig::default(),
            enable_prometheus_merge: Unread,
            enable_tracing: true,
            default_providers: DefaultProviders::default(),
            extension_providers: Vec::new(),
            ingress_class: not_yet::MeshSetting::default(),
            ingress_controller_mode: not_yet::MeshSetting::default(),
            ingress_service: not_yet::MeshSetting::default(),
            ingress_selector: not_yet::MeshSetting::default(),
            locality_lb_setting: Arc::default(),
            zone_aware_lb_setting: None,
            path_normalization: PathNormalization::default(),
            tcp_keepalive: None,
            trust_domain_aliases: Vec::new(),
            ca_certificates: not_yet::MeshSetting::default(),
            certificates: not_yet::MeshSetting::default(),
            discovery_selectors: Vec::new(),
            service_settings: Unread,
            mesh_mtls: MeshTls::default(),
            tls_defaults: TlsDefaults::default(),
            default_inbound_http_retry_policy: None,
            default_traffic_policy: DefaultTrafficPolicy::default(),
            enable_envoy_access_log_service: false,
            config_sources: not_yet::MeshSetting::default(),
            verify_certificate_at_client: Unread,
            inbound_cluster_stat_name: Arc::default(),
            outbound_cluster_stat_name: Arc::default(),
            ca: not_yet::MeshSetting::default(),
        }
    }
}

impl MeshConfig {
    /// Whether proxies count traffic: yes, unless `defaultProviders.metrics` is there and does not list [`PROMETHEUS`]. (Istio's code
    /// counts nothing without that list, but Istio's chart writes it.)
    pub fn counts_traffic(&self) -> bool {
        let providers = self.default_providers.metrics.as_ref();
        let counts =
            |name: &String| self.provider(name).is_some_and(|provider| provider.prometheus.is_some());
        providers.is_none_or(|providers| providers.iter().any(counts))
    }
}

impl MeshConfig {
    /// The provider of that name, in upper or lower case, of those that the settings define, then of Istio's own (Istio:
    /// pkg/config/mesh/mesh.go).
    pub fn provider(&self, name: &str) -> Option<ExtensionProvider> {
        let named = |provider: &&ExtensionProvider| provider.name.eq_ignore_ascii_case(name);
        if let Some(provider) = self.extension_providers.iter().find(named) {
            return Some(provider.clone());
        }
        let own = ExtensionProvider { name: name.to_owned(), ..ExtensionProvider::default() };
        if name.eq_ignore_ascii_case(PROMETHEUS) {
            return Some(ExtensionProvider { prometheus: Some(Prometheus {}), ..own });
        }
        let log = FileLog { path: "/dev/stdout".to_owned(), ..FileLog::default() };
        name.eq_ignore_ascii_case(ENVOY)
            .then(|| ExtensionProvider { envoy_file_access_log: Some(log), ..own })
    }

    /// The format of `accessLogFile` that Envoy takes; empty: Istio's.
    pub fn access_log_format(&self) -> &str {
        if self.access_log_fault().is_some() { "" } else { &self.access_log_format }
    }

    /// Why Envoy would not take `accessLogFormat`, if so.
    pub(crate) fn access_log_fault(&self) -> Option<String> {
        match self.access_log_encoding {
            AccessLogEncoding::Text => {
                check_log_format(&self.access_log_format).err().map(|error| error.to_string())
            }
            AccessLogEncoding::Json => fault_of(&serde_json::from_str(&self.access_log_format).ok()?),
        }
    }
}

/// The provider of access logs that is there without being defined: standard output.
pub const ENVOY: &str = "envoy";

/// The provider of metrics that is there without being defined: proxies count, and whoever wants to scrapes them.
pub const PROMETHEUS: &str = "prometheus";

/// Who takes what no resource sends elsewhere (Istio's reference: MeshConfig.DefaultProviders).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultProviders {
    /// Of metrics; empty: nothing is counted. None: as if it said [`PROMETHEUS`].
    pub metrics: Option<Vec<String>>,
    /// Of spans; only the first counts, as in Istio.
    pub tracing: Vec<String>,
    /// Of access logs.
    pub access_logging: Vec<String>,
}

/// Reads the text of a mesh configuration that stands at `path` of its object. No configuration when a finding is an error.
pub(crate) fn read_mesh_config(text: &str, path: &FieldPath) -> (Option<MeshConfig>, Vec<Finding>) {
    let origin = yaml::Origin { line: 1, indent: 0 };
    let loaded = yaml::load(text, origin, &"".into());
    let Some(loaded) = loaded.into_iter().next() else {
        return (Some(MeshConfig::default()), Vec::new());
    };
    if !loaded.faults.is_empty() {
        let findings = loaded.faults.into_iter().map(|fault| {
            let message = format!("{} (line {} of the text)", fault.message, fault.line);
            Finding { hint: fault.hint.map(str::to_owned), ..Finding::error(fault.code, message).at(path) }
        });
        return (None, findings.collect());
    }
    let mut notices = Vec::new();
    let read = reader::read(&loaded.value, path, &mut notices);
    let mut findings: Vec<Finding> = notices.into_iter().map(finding_of).collect();
    match read {
        Ok(mesh) => {
            findings.extend(validate::mesh_config(&mesh, path));
            let sound = findings.iter().all(|finding| finding.severity != Severity::Error);
            (Some(mesh).filter(|_| sound), findings)
        }
        Err(fault) => {
            let path = fault.path.as_ref().unwrap_or(path);
            findings
                .push(Finding { hint: fault.hint, ..Finding::error("bad-value", fault.message).at(path) });
            (None, findings)
        }
    }
}

/// The trust domain of a mesh that writes none (Istio: pkg/config/constants).
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// An empty text is the default, as in Istio.
fn trust_domain<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let written = crate::value::non_empty(deserializer)?;
    Ok(written.map_or_else(|| DEFAULT_TRUST_DOMAIN.into(), Arc::from))
}

/// The TLS that the mesh's workloads speak to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshTls {
    /// The oldest version that is taken.
    pub min_protocol_version: TlsVersion,
    /// The cipher suites of TLS 1.2, by the names of OpenSSL; empty: Istio's six. TLS 1.3 has its own, which nobody chooses.
    pub cipher_suites: Vec<String>,
    /// Not read, as in Istio: "mesh mTLS does not respect ECDH curves" (istio.mesh.v1alpha1).
    pub ecdh_curves: not_yet::MeshSetting,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
pub enum TlsVersion {
    /// The oldest that is safe: 1.2.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}

/// How an access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessLogEncoding {
    /// Lines.
    #[default]
    Text,
    /// Objects.
    Json,
}

/// What happens to connections to unknown destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// An empty `outboundTrafficPolicy: {}` means [`OutboundMode::RegistryOnly`], an absent one [`OutboundMode::AllowAny`].
    pub mode: OutboundMode,
    /// Not supported yet.
    pub tls: not_yet::MeshSetting,
}

/// What happens to connections to unknown destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// They fail.
    #[default]
    RegistryOnly,
    /// They pass.
    AllowAny,
    /// They pass, HTTP by a name that the proxy looks up: not supported yet, as [`OutboundMode::AllowAny`].
    #[serde(rename = "ALLOW_ANY_DYNAMIC_DNS")]
    AllowAnyDynamicDns,
}

/// What happens to connections to ports that no service declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct InboundTrafficPolicy {
    /// What happens.
    pub mode: InboundMode,
}

/// What happens to connections to ports that no service declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundMode {
    /// They reach the application.
    #[default]
    Passthrough,
    /// They reach the application from its own address.
    Localhost,
}
