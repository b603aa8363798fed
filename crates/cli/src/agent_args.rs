//! The command line of `meltemi agent`. What is not given comes from Istio's environment variables, then from the mesh's ProxyConfig.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use meltemi_agent::{Flags, HostPort, Kind};

use crate::args::duration;
use crate::logging::LogFormat;
use crate::proxy_args::{ProxyId, label, proxy_id};

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The workload as NAME.NAMESPACE; else POD_NAME and POD_NAMESPACE.
    #[arg(long, value_name = "NAME.NS", value_parser = proxy_id)]
    id: Option<ProxyId>,
    /// The proxy is a gateway; else `proxy sidecar` or `proxy router` of Istio's arguments says what it is.
    #[arg(long)]
    gateway: bool,
    /// Its service account; else SERVICE_ACCOUNT.
    #[arg(long, value_name = "SA")]
    service_account: Option<String>,
    /// The mesh's trust domain; else TRUST_DOMAIN, else cluster.local.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,
    /// A label of the workload; repeat it for more. They are laid over those of ./etc/istio/pod/labels.
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The workload's address; repeat it for more. Else INSTANCE_IP, else 127.0.0.1.
    #[arg(long, value_name = "A")]
    ip: Vec<IpAddr>,
    /// The certificate service; else CA_ADDR, else ProxyConfig's discoveryAddress, else istiod.istio-system.svc:15012.
    #[arg(long, value_name = "ADDRESS", value_parser = HostPort::parse)]
    ca: Option<HostPort>,
    /// The control plane; else that of --ca, else ProxyConfig's discoveryAddress.
    #[arg(long, value_name = "ADDRESS", value_parser = HostPort::parse, conflicts_with = "xds_plaintext")]
    xds: Option<HostPort>,
    /// The control plane, without TLS: to try things on one machine. Whoever is on the way reads and changes all.
    #[arg(long, value_name = "ADDRESS", value_parser = HostPort::parse)]
    xds_plaintext: Option<HostPort>,
    /// The name that the control plane's certificate must have; else ISTIOD_SAN, else the host of its address.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// What the control plane's certificate must verify to, PEM; else CA_ROOT_CA and XDS_ROOT_CA, else
    /// ./var/run/secrets/istio/root-cert.pem.
    #[arg(long, value_name = "FILE")]
    root_cert: Option<PathBuf>,
    /// The token that proves who asks, read anew for each request; else ./var/run/secrets/tokens/istio-token.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Revocation lists, PEM, which may be missing; else ./var/run/secrets/istio/crl/ca-crl.pem.
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// How long certificates shall live; else SECRET_TTL, else 24h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Where the bootstrap is written; else ProxyConfig's configPath, else ./etc/istio/proxy.
    #[arg(long, value_name = "DIR")]
    config_path: Option<PathBuf>,
    /// The socket on which Envoy gets its secrets; else ./var/run/secrets/workload-spiffe-uds/socket.
    #[arg(long, value_name = "FILE")]
    sds_socket: Option<PathBuf>,
    /// Where readiness and merged metrics are asked; else ProxyConfig's statusPort, else 15020. Port 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    status_port: Option<u16>,
    /// Where Envoy answers /healthz/ready; else ENVOY_STATUS_PORT, else 15021.
    #[arg(long, value_name = "PORT")]
    health_port: Option<u16>,
    /// Where Envoy answers /stats/prometheus; else ENVOY_PROMETHEUS_PORT, else 15090.
    #[arg(long, value_name = "PORT")]
    prometheus_port: Option<u16>,
    /// Envoy's admin interface; else ProxyConfig's proxyAdminPort, else 15000. With port 0 a free one is taken, and --prometheus-port has
    /// nothing behind it.
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// Envoy; else ENVOY_BIN, else ProxyConfig's binaryPath, else /usr/local/bin/envoy.
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Envoy's log level; else --proxyLogLevel of Istio's arguments, else warning.
    #[arg(long, value_name = "LEVEL")]
    envoy_log_level: Option<String>,
    /// Envoy's worker threads, 0 for as many as the machine has; else ProxyConfig's concurrency, else ISTIO_CPU_LIMIT, else 2.
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// A file that is laid over Envoy's bootstrap; else ISTIO_BOOTSTRAP_OVERRIDE.
    #[arg(long, value_name = "FILE")]
    bootstrap_override: Option<PathBuf>,
    /// How long connections may go on after SIGTERM; else TERMINATION_DRAIN_DURATION, else ProxyConfig's terminationDrainDuration, else 5s.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    drain: Option<Duration>,
    /// How logs are written.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// The arguments of Istio's agent, as injected pods have them: `proxy sidecar --domain ...`. Flags that do nothing here are said in
    /// the log.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "proxy sidecar|router ...")]
    pub(crate) words: Vec<String>,
}

impl AgentArgs {
    pub(crate) fn flags(&self) -> Flags {
        let args = self;
        Flags {
            id: args.id.clone().map(|ProxyId { name, namespace }| (name, namespace)),
            kind: args.gateway.then_some(Kind::Router),
            service_account: args.service_account.clone(),
            trust_domain: args.trust_domain.clone(),
            labels: args.labels.clone(),
            ips: args.ip.clone(),
            ca: args.ca.clone(),
            xds: args.xds.clone(),
            xds_plaintext: args.xds_plaintext.clone(),
            server_name: args.server_name.clone(),
            root_cert: args.root_cert.clone(),
            token: args.token.clone(),
            crl: args.crl.clone(),
            ttl: args.ttl,
            config_path: args.config_path.clone(),
            sds_socket: args.sds_socket.clone(),
            status_port: args.status_port,
            health_port: args.health_port,
            prometheus_port: args.prometheus_port,
            admin_port: args.admin_port,
            envoy: args.envoy.clone(),
            envoy_log_level: args.envoy_log_level.clone(),
            concurrency: args.concurrency,
            bootstrap_override: args.bootstrap_override.clone(),
            drain: args.drain,
        }
    }
}
