//! What the command line and the surroundings say, before anything is made of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Kind;
use crate::HostPort;

/// Flags; each wins over what says the same elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Name and namespace of the workload.
    pub id: Option<(String, String)>,
    /// Sidecar or router.
    pub kind: Option<Kind>,
    /// Its service account.
    pub service_account: Option<String>,
    /// The mesh's trust domain.
    pub trust_domain: Option<String>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The certificate service.
    pub ca: Option<HostPort>,
    /// The control plane, by TLS.
    pub xds: Option<HostPort>,
    /// The control plane, without TLS.
    pub xds_plaintext: Option<HostPort>,
    /// The name that their certificates must have.
    pub server_name: Option<String>,
    /// What these must verify to.
    pub root_cert: Option<PathBuf>,
    /// Who asks.
    pub token: Option<PathBuf>,
    /// Revocation lists.
    pub crl: Option<PathBuf>,
    /// How long certificates shall live.
    pub ttl: Option<Duration>,
    /// Where the bootstrap is written.
    pub config_path: Option<PathBuf>,
    /// The socket for secrets.
    pub sds_socket: Option<PathBuf>,
    /// The status server.
    pub status_port: Option<u16>,
    /// Envoy's listener for health.
    pub health_port: Option<u16>,
    /// Envoy's listener for metrics.
    pub prometheus_port: Option<u16>,
    /// Envoy's admin interface.
    pub admin_port: Option<u16>,
    /// Envoy.
    pub envoy: Option<PathBuf>,
    /// Its log level.
    pub envoy_log_level: Option<String>,
    /// Its worker threads.
    pub concurrency: Option<u32>,
    /// A file that is laid over the bootstrap.
    pub bootstrap_override: Option<PathBuf>,
    /// How long the end waits for connections.
    pub drain: Option<Duration>,
}

/// What is found around the process.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// The pod's labels, as Kubernetes' downward API writes them.
    pub labels: Option<String>,
    /// Its annotations, likewise.
    pub annotations: Option<String>,
    /// The mesh's settings, YAML.
    pub mesh: Option<String>,
}
