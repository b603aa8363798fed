//! What may be set, and where it comes from: flags, then Istio's environment variables, then the mesh's ProxyConfig, then Istio's defaults.
//!
//! Knows: Istio's names for all of it. Must not know: how any of it is used; the environment itself, which [`Surroundings`] holds.
//! Start at [`Options::read`].
//! Invariant: what is set and not supported is a [`Note`], never silence.

mod downward;
mod env;
mod file;
mod flags;
mod note;
mod pilot;
mod proxy_config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use meltemi_names::SpiffeId;
use serde_json::{Map, Value};

use self::env::Env;
use self::proxy_config::ProxyConfig;
use crate::HostPort;
use crate::envoy::bootstrap::{Inclusion, Upstream};
use crate::envoy::node::Node;
use crate::health::probe::{self, Probe};
use crate::health::scrape::{self, Target};
use crate::identity::client::Settings;
use crate::identity::renew::Grace;

pub use self::flags::{Flags, Surroundings};
pub use self::note::Note;

/// What the proxy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Beside a workload.
    #[default]
    Sidecar,
    /// A gateway.
    Router,
}

impl Kind {
    /// As node ids say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// All that is set.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the proxy is for.
    pub kind: Kind,
    /// Who the workload is.
    pub id: SpiffeId,
    /// How Envoy introduces itself.
    pub node: Node,
    /// How a certificate is asked for.
    pub ca: Settings,
    /// When it is renewed.
    pub grace: Grace,
    /// The control plane.
    pub xds: HostPort,
    /// How it is known; none for a connection without TLS.
    pub xds_tls: Option<Upstream>,
    /// Headers of the stream to it.
    pub xds_headers: Vec<(String, String)>,
    /// Whether Envoy asks by the delta protocol.
    pub delta: bool,
    /// Where the bootstrap is written.
    pub config_path: PathBuf,
    /// The socket for secrets.
    pub sds_socket: PathBuf,
    /// The revocation lists, which may be missing.
    pub crl: PathBuf,
    /// The status server; 0 takes a free port.
    pub status_port: u16,
    /// Envoy's listener for health.
    pub health_port: u16,
    /// Envoy's listener for its metrics.
    pub prometheus_port: u16,
    /// Whether that is open to this machine only.
    pub metrics_localhost_only: bool,
    /// Envoy's admin interface.
    pub admin_port: u16,
    /// Envoy.
    pub envoy: PathBuf,
    /// Its log level.
    pub envoy_log_level: String,
    /// Its log levels by component.
    pub envoy_component_log_level: String,
    /// Its worker threads; 0: as many as the machine has.
    pub concurrency: u32,
    /// A file that is laid over the bootstrap.
    pub bootstrap_override: Option<PathBuf>,
    /// Statistics that are kept besides.
    pub stats: Inclusion,
    /// How long Envoy drains a listener that a new one replaces.
    pub drain: Duration,
    /// How long the agent's end waits for connections.
    pub termination_drain: Duration,
    /// Wait until there are none instead, and for this long at least.
    pub until_no_connections: Option<Duration>,
    /// The workload's own metrics.
    pub(crate) app_metrics: Vec<Target>,
    /// The workload's probes and hooks, by the path at which they are asked for.
    pub(crate) probes: BTreeMap<String, Probe>,
    /// Where the workload is.
    pub(crate) app: IpAddr,
}

/// Why there are no options: a person must mend something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It is set to what it cannot be.
    #[error("{place} is `{value}`: {reason}")]
    Value {
        /// Which setting.
        place: String,
        /// What it is.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is set nowhere.
    #[error("it is not known {what}: set {how}")]
    Missing {
        /// What.
        what: &'static str,
        /// Where.
        how: &'static str,
    },
    /// An argument of Istio's agent that means something else.
    #[error("{0}")]
    Words(String),
}

impl Options {
    /// Joins all of it. `words` are the arguments of Istio's agent, such as `proxy sidecar --domain ...`; none are fine, too.
    ///
    /// # Errors
    /// Names what a person must mend.
    pub fn read(
        flags: Flags,
        words: &[String],
        around: &Surroundings,
    ) -> Result<(Self, Vec<Note>), OptionsError> {
        let mut notes = Vec::new();
        let words = pilot::read(words, &mut notes)?;
        let env = Env(&around.env);
        let labels = {
            let mut labels = env.static_labels(&mut notes);
            labels.extend(around.labels.as_deref().map(downward::read).unwrap_or_default());
            labels.remove("pod-template-hash");
            labels.extend(flags.labels.iter().cloned());
            labels
        };
        let annotations = around.annotations.as_deref().map(downward::read).unwrap_or_default();
        let mesh = around.mesh.as_deref();
        let config = ProxyConfig::read(mesh, env.text("PROXY_CONFIG"), &annotations, &mut notes)?;
        env::unsupported(&env, &mut notes);

        let (name, namespace) = identity_of(&flags, &env)?;
        let missing = |what, how| OptionsError::Missing { what, how };
        let account = flags.service_account.clone().or_else(|| env.owned("SERVICE_ACCOUNT"));
        let account = account.ok_or_else(|| {
            missing("which service account the workload has", "--service-account or SERVICE_ACCOUNT")
        })?;
        let trust_domain = flags
            .trust_domain
            .clone()
            .or_else(|| env.owned("TRUST_DOMAIN"))
            .unwrap_or_else(|| "cluster.local".to_owned());
        let id = format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}");
        let id = SpiffeId::parse(&id).map_err(|error| value("the workload's identity", &id, &error))?;

        let addresses = addresses(&flags, &env)?;
        let discovery = host_port("discoveryAddress", &config.discovery_address)?;
        let ca = match (&flags.ca, env.text("CA_ADDR")) {
            (Some(address), _) => address.clone(),
            (None, Some(text)) => host_port("CA_ADDR", text)?,
            (None, None) => discovery.clone(),
        };
        let root = flags.root_cert.clone();
        let root = |names: &[&str]| {
            let of_env = names.iter().find_map(|name| env.text(name)).map(PathBuf::from);
            root.clone().or(of_env).unwrap_or_else(|| "./var/run/secrets/istio/root-cert.pem".into())
        };
        let cluster_id = env.owned("ISTIO_META_CLUSTER_ID").unwrap_or_default();
        let server_name = |host: &str| {
            let set = flags.server_name.clone().or_else(|| env.owned("ISTIOD_SAN"));
            // As Istio: who goes through a tunnel on this machine still talks to the control plane.
            let usual = || {
                if host.contains("localhost") {
                    "istiod.istio-system.svc".to_owned()
                } else {
                    host.to_owned()
                }
            };
            set.unwrap_or_else(usual)
        };
        let settings = Settings {
            server_name: server_name(&ca.host),
            server: ca,
            roots: root(&["CA_ROOT_CA"]),
            token: flags.token.clone().unwrap_or_else(|| "./var/run/secrets/tokens/istio-token".into()),
            cluster_id: cluster_id.clone(),
            headers: env.headers("CA_HEADER_"),
            ttl: env.duration("SECRET_TTL", flags.ttl, Duration::from_secs(24 * 3600))?,
            cert_signer: env.owned("ISTIO_META_CERT_SIGNER").unwrap_or_default(),
        };
        let plaintext = flags.xds_plaintext.clone();
        let plaintext =
            plaintext.or_else(|| (config.control_plane_auth_policy == "NONE").then(|| discovery.clone()));
        let (xds, xds_tls) = match plaintext {
            Some(address) => (address, None),
            None => {
                // Who names one control plane means it for both.
                let address = flags.xds.clone().or_else(|| flags.ca.clone()).unwrap_or(discovery);
                let name = server_name(&address.host);
                (address, Some(Upstream { name, roots: root(&["XDS_ROOT_CA"]) }))
            }
        };
        let mut xds_headers = env.headers("XDS_HEADER_");
        if !cluster_id.is_empty() {
            xds_headers.push(("clusterid".to_owned(), cluster_id));
        }
        let health_port = env.number("ENVOY_STATUS_PORT", flags.health_port, 15021)?;
        let prometheus_port = env.number("ENVOY_PROMETHEUS_PORT", flags.prometheus_port, 15090)?;
        let scrape_targets = annotations.get("prometheus.istio.io/scrape-targets").map(String::as_str);
        let app_metrics = scrape::targets(env.text("ISTIO_PROMETHEUS_ANNOTATIONS"), scrape_targets);
        let app_metrics = app_metrics.unwrap_or_else(|reason| {
            notes.push(Note::Ignored { place: "ISTIO_PROMETHEUS_ANNOTATIONS".to_owned(), reason });
            Vec::new()
        });
        let probes =
            probe::read(env.text("ISTIO_KUBE_APP_PROBERS").unwrap_or("{}")).unwrap_or_else(|reason| {
                notes.push(Note::Ignored { place: "ISTIO_KUBE_APP_PROBERS".to_owned(), reason });
                BTreeMap::new()
            });
        let app = addresses
            .first()
            .filter(|_| env.flag("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION") != Some(true));
        let app = app.copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
        let kind = flags.kind.or(words.kind).unwrap_or_default();
        let mut metadata = env.metadata(&mut notes);
        metadata.insert("SERVICE_ACCOUNT".to_owned(), account.into());
        metadata.insert("ENVOY_STATUS_PORT".to_owned(), health_port.into());
        metadata.insert("ENVOY_PROMETHEUS_PORT".to_owned(), prometheus_port.into());
        // By this the control plane knows that `default` and `ROOTCA` are served here.
        metadata.insert("MELTEMI_CERTIFICATES".to_owned(), "true".into());
        if let Some(topology) = &config.gateway_topology {
            metadata.insert("PROXY_CONFIG".to_owned(), serde_json::json!({"gatewayTopology": topology}));
        }
        if !annotations.is_empty() {
            metadata.insert("ANNOTATIONS".to_owned(), object(&annotations));
        }
        let minimum_drain = env.duration("MINIMUM_DRAIN_DURATION", None, Duration::from_secs(5))?;
        let concurrency = flags.concurrency.or(words.concurrency).or(config.concurrency);
        let options = Self {
            kind,
            node: Node {
                kind: kind.name(),
                addresses,
                dns_domain: words.domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local")),
                locality: locality(&labels),
                workload: workload(&config, &env),
                name,
                namespace,
                labels,
                metadata,
            },
            id,
            ca: settings,
            grace: Grace {
                ratio: env.ratio("SECRET_GRACE_PERIOD_RATIO", 0.5)?,
                jitter: env.ratio("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01)?,
            },
            xds,
            xds_tls,
            xds_headers,
            delta: env.flag("ISTIO_DELTA_XDS").unwrap_or(true),
            config_path: flags.config_path.unwrap_or_else(|| config.config_path.clone()),
            sds_socket: flags.sds_socket.unwrap_or_else(|| {
                let file = env.text("WORKLOAD_IDENTITY_SOCKET_FILE").unwrap_or("socket");
                PathBuf::from("./var/run/secrets/workload-spiffe-uds").join(file)
            }),
            crl: flags.crl.unwrap_or_else(|| "./var/run/secrets/istio/crl/ca-crl.pem".into()),
            status_port: flags.status_port.unwrap_or(config.status_port),
            health_port,
            prometheus_port,
            metrics_localhost_only: env.flag("METRICS_LOCALHOST_ACCESS_ONLY").unwrap_or(false),
            admin_port: flags.admin_port.unwrap_or(config.proxy_admin_port),
            envoy: flags
                .envoy
                .or_else(|| env.text("ENVOY_BIN").map(PathBuf::from))
                .unwrap_or(config.binary_path),
            envoy_log_level: flags
                .envoy_log_level
                .or(words.log_level)
                .unwrap_or_else(|| "warning".to_owned()),
            envoy_component_log_level: words.component_log_level.unwrap_or_default(),
            concurrency: match concurrency {
                Some(count) => count,
                // The kubelet says a limit in whole processors, rounded up.
                None => env.number("ISTIO_CPU_LIMIT", None, 2)?,
            },
            bootstrap_override: flags
                .bootstrap_override
                .or_else(|| env.text("ISTIO_BOOTSTRAP_OVERRIDE").map(PathBuf::from)),
            stats: inclusion(&annotations),
            drain: config.drain_duration,
            termination_drain: env.duration(
                "TERMINATION_DRAIN_DURATION",
                flags.drain,
                config.termination_drain_duration,
            )?,
            until_no_connections: env
                .flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS")
                .unwrap_or(false)
                .then_some(minimum_drain),
            app_metrics,
            probes,
            app,
        };
        Ok((options, notes))
    }

    /// Whether the workload has IPv6 addresses only.
    pub(crate) fn is_v6(&self) -> bool {
        !self.node.addresses.is_empty() && self.node.addresses.iter().all(IpAddr::is_ipv6)
    }
}

fn value(place: &str, value: &str, reason: &dyn std::fmt::Display) -> OptionsError {
    OptionsError::Value { place: place.to_owned(), value: value.to_owned(), reason: reason.to_string() }
}

fn host_port(place: &str, text: &str) -> Result<HostPort, OptionsError> {
    HostPort::parse(text).map_err(|error| value(place, text, &error))
}

fn identity_of(flags: &Flags, env: &Env<'_>) -> Result<(String, String), OptionsError> {
    if let Some(id) = &flags.id {
        return Ok(id.clone());
    }
    match (env.owned("POD_NAME"), env.owned("POD_NAMESPACE")) {
        (Some(name), Some(namespace)) => Ok((name, namespace)),
        _ => Err(OptionsError::Missing {
            what: "who the workload is",
            how: "--id NAME.NAMESPACE, or POD_NAME and POD_NAMESPACE",
        }),
    }
}

fn addresses(flags: &Flags, env: &Env<'_>) -> Result<Vec<IpAddr>, OptionsError> {
    if !flags.ips.is_empty() {
        return Ok(flags.ips.clone());
    }
    match env.text("INSTANCE_IP") {
        Some(text) => {
            let ips = text.split(',').map(|ip| ip.trim().parse());
            ips.collect::<Result<_, _>>().map_err(|error| value("INSTANCE_IP", text, &error))
        }
        None => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
    }
}

/// Istio: pkg/model, labels before anything else; `.` stands for `/`, which a label cannot hold.
fn locality(labels: &BTreeMap<String, String>) -> Vec<String> {
    let text = labels.get("topology.istio.io/locality").or_else(|| labels.get("istio-locality"));
    let text = text.map(|text| if text.contains('/') { text.clone() } else { text.replace('.', "/") });
    text.map(|text| text.split('/').take(3).map(str::to_owned).collect()).unwrap_or_default()
}

fn workload(config: &ProxyConfig, env: &Env<'_>) -> String {
    let set = Some(config.service_cluster.clone()).filter(|name| name != "istio-proxy" && !name.is_empty());
    set.or_else(|| env.owned("ISTIO_META_WORKLOAD_NAME")).unwrap_or_else(|| "istio-proxy".to_owned())
}

fn object(texts: &BTreeMap<String, String>) -> Value {
    Value::Object(
        texts.iter().map(|(key, text)| (key.clone(), Value::String(text.clone()))).collect::<Map<_, _>>(),
    )
}

fn inclusion(annotations: &BTreeMap<String, String>) -> Inclusion {
    let list = |what: &str| {
        let text = annotations.get(&format!("sidecar.istio.io/statsInclusion{what}"));
        let items = text.map(|text| text.split(',').map(|item| item.trim().to_owned()));
        items.map(|items| items.filter(|item| !item.is_empty()).collect()).unwrap_or_default()
    };
    Inclusion { prefixes: list("Prefixes"), suffixes: list("Suffixes"), regexes: list("Regexps") }
}
