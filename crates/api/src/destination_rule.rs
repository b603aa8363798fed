//! DestinationRule: the parts of a service, and how connections to it behave (Istio's reference: networking/destination-rule).

mod connection;
mod load_balancer;
mod locality;
mod pool;

use std::sync::Arc;

use meltemi_names::{Host, Port, Selector};

pub use connection::{ProxyProtocol, ProxyProtocolVersion, RetryBudget, Tunnel};
pub use load_balancer::{ConsistentHash, HashAlgorithm, HashCookie, HashKey, LoadBalancer, SimpleLb, Warmup};
pub use locality::{
    Distribute, Failover, FailoverLabel, LocalityLbSetting, LocalityPattern, ZoneAwareLbSetting,
};
pub use pool::{
    ConnectionKeepalive, ConnectionPool, H2UpgradePolicy, HttpPool, OutlierDetection, TcpKeepalive, TcpPool,
};

use crate::value::{ExportTo, non_empty};

/// Policies for the traffic to a host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRule {
    /// As written; a short name stands for the service beside the resource.
    pub host: Host,
    /// For all traffic to the host.
    #[serde(default)]
    pub traffic_policy: Option<Arc<TrafficPolicy>>,
    /// Named parts of the host.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// Empty: the mesh's default.
    #[serde(default)]
    pub export_to: Vec<ExportTo>,
    /// Only for clients with these labels in the rule's namespace.
    #[serde(default)]
    pub workload_selector: Option<WorkloadSelector>,
}

impl DestinationRule {
    /// All policies: that of the host, and those of its subsets.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<TrafficPolicy>> {
        policies(self.traffic_policy.as_ref(), &self.subsets)
    }
}

/// The policy of a host, and those of its subsets.
pub fn policies<'a>(
    whole: Option<&'a Arc<TrafficPolicy>>,
    subsets: &'a [Subset],
) -> impl Iterator<Item = &'a Arc<TrafficPolicy>> {
    whole.into_iter().chain(subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref()))
}

/// Which client workloads a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// All of these labels.
    pub match_labels: Selector,
}

/// A named part of a service: the endpoints that carry its labels.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// What routes call it.
    pub name: String,
    /// What its endpoints carry; empty: all of them.
    #[serde(default)]
    pub labels: Selector,
    /// Overrides the rule's policy field by field.
    #[serde(default)]
    pub traffic_policy: Option<Arc<TrafficPolicy>>,
}

/// How connections and requests behave.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// Which endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
    /// Which endpoints are set aside.
    pub outlier_detection: Option<OutlierDetection>,
    /// How the client speaks TLS.
    pub tls: Option<ClientTls>,
    /// Replaces the four above as a whole for a port, and none of the three below.
    pub port_level_settings: Vec<PortPolicy>,
    /// Connections go through a tunnel.
    pub tunnel: Option<Tunnel>,
    /// Connections begin with a header that says who calls.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Retries in proportion to requests.
    pub retry_budget: Option<RetryBudget>,
}

impl TrafficPolicy {
    /// The load balancers in it, at the top and for a port.
    pub fn balancers(&self) -> impl Iterator<Item = &LoadBalancer> {
        let ports = self.port_level_settings.iter().filter_map(|level| level.load_balancer.as_ref());
        self.load_balancer.iter().chain(ports)
    }

    /// Whether outliers are set aside anywhere in it, at the top or for a port.
    pub fn detects_outliers(&self) -> bool {
        let ports = self.port_level_settings.iter().filter_map(|level| level.outlier_detection.as_ref());
        self.outlier_detection.iter().chain(ports).next().is_some()
    }

    /// How TLS is spoken, on any port.
    pub fn each_tls(&self) -> impl Iterator<Item = &ClientTls> {
        let ports = self.port_level_settings.iter().filter_map(|port| port.tls.as_ref());
        self.tls.iter().chain(ports)
    }

    /// Whether requests are hashed anywhere in it, at the top or for a port.
    pub fn hashes(&self) -> bool {
        self.balancers().any(|balancer| balancer.consistent_hash.is_some())
    }
}

impl ClientTls {
    /// The Secret that holds what is shown, and what is verified by; in modes of which that is not the mesh's own.
    pub fn credential(&self) -> Option<&str> {
        let own = matches!(self.mode, TlsMode::Simple | TlsMode::Mutual);
        self.credential_name.as_deref().filter(|_| own)
    }
}

/// The policy of one port.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortPolicy {
    /// Which; the service's port, not the pod's. None is a mistake that validation reports.
    #[serde(default, deserialize_with = "crate::value::optional_port")]
    pub port: Option<Port>,
    /// Which endpoint is chosen.
    #[serde(default)]
    pub load_balancer: Option<LoadBalancer>,
    /// Limits.
    #[serde(default)]
    pub connection_pool: Option<ConnectionPool>,
    /// Which endpoints are set aside.
    #[serde(default)]
    pub outlier_detection: Option<OutlierDetection>,
    /// How the client speaks TLS.
    #[serde(default)]
    pub tls: Option<ClientTls>,
}

/// How the client speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTls {
    /// Whether, and with which certificates.
    pub mode: TlsMode,
    /// The file of the client's certificate chain, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub client_certificate: Option<String>,
    /// The file of its key, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// The file of the certificates that the server's is verified by, at the proxy; none: those of the system.
    #[serde(deserialize_with = "non_empty")]
    pub ca_certificates: Option<String>,
    /// A Secret with all of these, in the namespace of the gateway that calls.
    #[serde(deserialize_with = "non_empty")]
    pub credential_name: Option<String>,
    /// The names of which the server's certificate must have one; empty: by mode.
    pub subject_alt_names: Vec<String>,
    /// The server's name in the handshake; none: by mode.
    #[serde(deserialize_with = "non_empty")]
    pub sni: Option<String>,
    /// The server's certificate is not verified.
    pub insecure_skip_verify: bool,
    /// The file of the certificates that count no more, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub ca_crl: Option<String>,
}

/// Whether the client speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    /// Plain text.
    #[default]
    Disable,
    /// TLS without a client certificate.
    Simple,
    /// TLS with the client certificate given.
    Mutual,
    /// TLS with the mesh's own certificates.
    IstioMutual,
}
