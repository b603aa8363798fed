//! The command line. Its names are promised: scripts and charts are written against them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::agent_args::AgentArgs;
use crate::ca_args::{CaCommand, CertificateArgs, TokenArgs};
use crate::cmd::KindName;
use crate::cmd::{AnalyzeArgs, DiffArgs, crds, explain};
use crate::logging::LogFormat;
use crate::proxy_args::{InterceptionArg, ProxyArgs, ProxyId, label, proxy_id};
use crate::state::SourceArgs;
use meltemi_agent::HostPort;
use meltemi_serve::Secrets;

/// A control plane for Envoy service meshes that speaks Istio.
#[derive(Debug, Parser)]
#[command(name = "meltemi", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve proxies from a Kubernetes cluster, a folder of YAML, or both.
    Serve(Box<ServeArgs>),
    /// Check a folder of YAML: errors, warnings, hints, each with its place.
    Validate(ValidateArgs),
    /// Print the Envoy configuration that a proxy would get.
    Translate(TranslateArgs),
    /// Say what becomes of a request, rule by rule: who takes it, why, by whose identity, and what the client sees.
    Explain(Box<ExplainArgs>),
    /// Say what a change would do before it is made: which proxies, hosts, rules and endpoints change, with plain warnings.
    ///
    /// For a pull request: check its base out beside it (`git worktree add ../base main`) and run
    /// `meltemi diff --config ../base/mesh --with mesh --replace --strict`.
    Diff(Box<DiffArgs>),
    /// Say what is wrong with a mesh, or worth a look, by the codes of `istioctl analyze` where Istio has one.
    Analyze(Box<AnalyzeArgs>),
    /// Print a bootstrap with which Envoy connects as that proxy.
    Bootstrap(BootstrapArgs),
    /// Run beside Envoy: its certificate, its configuration, its life.
    Agent(Box<AgentArgs>),
    /// Show every connected proxy: in sync, sent or rejected, and why.
    ProxyStatus(ProxyStatusArgs),
    /// Print the CustomResourceDefinitions of the Istio kinds, for `kubectl apply --server-side -f -`.
    Crds(CrdsArgs),
    /// Print a token by which a workload proves to the control plane that uses a state folder that it is that service account.
    Token(TokenArgs),
    /// Show or change what signs the workloads' certificates.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Wait until every proxy that needs an object has it, on all replicas.
    ///
    /// Exits with 0 when it is so, and with 1 when the time is up: then it names the proxies that do not have it, and why.
    Wait(WaitArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A folder of Istio and Kubernetes YAML; repeat it for more. Alone it is all that is served.
    #[arg(long, value_name = "DIR", env = "MELTEMI_CONFIG", value_delimiter = ',')]
    pub(crate) config: Vec<PathBuf>,
    /// Serve the cluster of this kubeconfig. Without it and without --config: in a pod the pod's own cluster, else that of KUBECONFIG or
    /// ~/.kube/config.
    #[arg(long, value_name = "FILE", env = "MELTEMI_KUBECONFIG", conflicts_with = "in_cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one.
    #[arg(long, value_name = "NAME", env = "MELTEMI_KUBE_CONTEXT", conflicts_with = "in_cluster")]
    pub(crate) context: Option<String>,
    /// Serve the pod's own cluster, also beside --config.
    #[arg(long, env = "MELTEMI_IN_CLUSTER")]
    pub(crate) in_cluster: bool,
    /// The namespace that this replica runs in: where its Lease and the ConfigMap `istio` are.
    #[arg(long, value_name = "NS", env = "POD_NAMESPACE", default_value = "istio-system")]
    pub(crate) pod_namespace: String,
    /// This replica's pod, its name among the replicas.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(crate) pod_name: Option<String>,
    /// The Service in front of the replicas, by which they find each other.
    #[arg(long, value_name = "NAME", env = "MELTEMI_SERVICE_NAME", default_value = "meltemi")]
    pub(crate) service_name: String,
    /// Which revision's objects are read, by their label `istio.io/rev`; empty: all.
    #[arg(long, value_name = "NAME", env = "MELTEMI_REVISION", default_value = "")]
    pub(crate) revision: String,
    /// Write into the cluster's objects what became of them: accepted, references found, in force. One replica writes, elected by the Lease
    /// `meltemi-leader`.
    #[arg(long, value_enum, env = "MELTEMI_STATUS", default_value = "on")]
    pub(crate) status: Switch,
    /// In which namespaces of the cluster the Secrets of gateways' certificates (`credentialName`) are read: all, off, or their names.
    #[arg(long, value_name = "all|off|NS,...", env = "MELTEMI_GATEWAY_SECRETS", default_value = "all", value_parser = secrets)]
    pub(crate) gateway_secrets: Secrets,
    /// After so long, less up to half of it, a proxy is asked to connect anew, so that new replicas get their share; 0s: never. Only with a
    /// cluster.
    #[arg(long, value_name = "DURATION", env = "MELTEMI_MAX_CONNECTION_AGE", default_value = "30m", value_parser = duration)]
    pub(crate) max_connection_age: Duration,
    /// A file with mesh settings (Istio's MeshConfig), beneath a ConfigMap `istio`.
    #[arg(long, value_name = "FILE", env = "MELTEMI_MESH_CONFIG")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, value_name = "NS", env = "MELTEMI_NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,
    /// Where the certificate authority keeps its keys and its state, without a cluster. Only its owner may read them; the bundle of roots
    /// for agents is its root-cert.pem.
    #[arg(long, value_name = "DIR", env = "MELTEMI_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where proxies connect, without TLS. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", env = "MELTEMI_XDS_ADDRESS", value_parser = meltemi_serve::parse_address)]
    pub(crate) xds_address: Option<SocketAddr>,
    /// Where proxies connect with TLS, and workloads ask for certificates; with --state-dir. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", env = "MELTEMI_SECURE_XDS_ADDRESS", value_parser = meltemi_serve::parse_address)]
    pub(crate) secure_xds_address: Option<SocketAddr>,
    /// Where readiness is asked.
    #[arg(long, value_name = "ADDRESS", env = "MELTEMI_HTTP_ADDRESS", value_parser = meltemi_serve::parse_address)]
    pub(crate) http_address: Option<SocketAddr>,
    /// Where metrics, version and debug pages are.
    #[arg(long, value_name = "ADDRESS", env = "MELTEMI_MONITORING_ADDRESS", value_parser = meltemi_serve::parse_address)]
    pub(crate) monitoring_address: Option<SocketAddr>,
    /// Where Kubernetes calls the webhooks.
    #[arg(long, value_name = "ADDRESS", env = "MELTEMI_WEBHOOK_ADDRESS", value_parser = meltemi_serve::parse_address)]
    pub(crate) webhook_address: Option<SocketAddr>,
    /// Keep what works: a route to what does not exist keeps its last good state until it does.
    #[arg(long, value_enum, env = "MELTEMI_HOLDS", default_value = "on")]
    pub(crate) holds: Switch,
    /// Send routes as virtual hosts to proxies that take them.
    #[arg(long, value_enum, env = "MELTEMI_VIRTUAL_HOSTS", default_value = "on")]
    pub(crate) virtual_hosts: Switch,
    /// Monitoring address of another replica that is to be asked, too, whether an object is in force; repeat it for more. In Kubernetes
    /// the replicas find each other.
    #[arg(long, value_name = "ADDRESS", env = "MELTEMI_PEER", value_delimiter = ',', value_parser = HostPort::parse)]
    pub(crate) peer: Vec<HostPort>,
    #[command(flatten)]
    pub(crate) certificates: CertificateArgs,
    /// How logs are written.
    #[arg(long, value_enum, env = "MELTEMI_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// A duration as Go and Kubernetes write it: `90s`, `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    meltemi_api::value::Duration::parse(text).map(|duration| duration.0).map_err(|error| error.to_string())
}

/// `all`, `off`, or namespaces.
fn secrets(text: &str) -> Result<Secrets, String> {
    match text {
        "all" => Ok(Secrets::Everywhere),
        "off" => Ok(Secrets::Nowhere),
        names => {
            let names = names.split(',').map(str::trim).map(|name| {
                let is_name = !name.is_empty()
                    && name.len() <= 63
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
                if is_name {
                    Ok(name.into())
                } else {
                    Err(format!("`{name}` is no namespace; say all, off, or their names"))
                }
            });
            Ok(Secrets::In(names.collect::<Result<_, String>>()?))
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Folders of YAML.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// How findings are printed.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextOrJson {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum YamlOrJson {
    Yaml,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct TranslateArgs {
    /// A folder of YAML; repeat it for more.
    #[arg(long, required = true, value_name = "DIR")]
    pub(crate) config: Vec<PathBuf>,
    /// A file with mesh settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) mesh_config: Option<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    /// The proxy has the mesh's certificates, as beside an agent: it speaks mutual TLS.
    #[arg(long)]
    pub(crate) certificates: bool,
    /// How the configuration is printed.
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub(crate) output: YamlOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Who sends the request, as NAME.NAMESPACE: a Pod or a WorkloadEntry, or any other name for a plain sidecar in that namespace.
    #[arg(long, value_name = "NAME.NS", value_parser = proxy_id)]
    pub(crate) from: ProxyId,
    /// A label of the sender's workload, over those that it is known to have; repeat it for more.
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// `--from` is a gateway, and the request comes to it from outside of the mesh, at a port as clients know it.
    #[arg(long, conflicts_with = "interception")]
    pub(crate) gateway: bool,
    /// The sender's sidecar has no certificate: it stands beside no agent.
    #[arg(long)]
    pub(crate) without_certificate: bool,
    /// How traffic reaches the sender's proxy.
    #[arg(long, value_enum, default_value = "redirect", ignore_case = true)]
    pub(crate) interception: InterceptionArg,
    /// The request's method: GET.
    #[arg(value_name = "METHOD", value_parser = explain::method)]
    pub(crate) method: String,
    /// What is asked for, as the sender writes it: http://reviews:9080/reviews. With https:// or tcp:// only the connection is followed.
    #[arg(value_name = "URL", value_parser = explain::Url::parse)]
    pub(crate) url: explain::Url,
    /// A header of the request, as curl takes it; repeat it for more.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = explain::header)]
    pub(crate) headers: Vec<(String, String)>,
    /// A page to read, or the same as JSON.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
    /// Whether the page has colours.
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

/// When a page has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    #[command(flatten)]
    pub(crate) proxy: ProxyArgs,
    /// The control plane's xDS address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15010", value_parser = HostPort::parse)]
    pub(crate) xds_address: HostPort,
    /// Envoy's own admin address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = HostPort::parse)]
    pub(crate) admin_address: HostPort,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyStatusArgs {
    /// The control plane's monitoring address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15014", value_parser = HostPort::parse)]
    pub(crate) server: HostPort,
    /// How the status is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct CrdsArgs {
    /// Leave this one out, by its full name (such as gateways.networking.istio.io); repeat it for more.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = crds::known_name)]
    pub(crate) exclude: Vec<String>,
    /// How they are printed: a stream of YAML documents, or a list in JSON.
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub(crate) output: YamlOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// What to wait for, as KIND/NAME: `virtualservice/reviews`, short `vs/reviews`.
    #[arg(required_unless_present = "file", value_name = "KIND/NAME", value_parser = KindName::parse)]
    pub(crate) objects: Vec<KindName>,
    /// Every object in that file (or folder), as it is written there; for a control plane that reads files.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// The namespace of the objects, and of those in files that name none.
    #[arg(short, long, value_name = "NS", default_value = "default")]
    pub(crate) namespace: String,
    /// What is to be so.
    #[arg(long, value_enum, default_value = "in-force")]
    pub(crate) r#for: WaitFor,
    /// That metadata.generation, or a later one; without it the latest that the control plane has read.
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub(crate) generation: Option<i64>,
    /// For how long at most: 30s, 500ms, 2m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = meltemi_serve::propagation::parse_duration)]
    pub(crate) timeout: Duration,
    /// The control plane's monitoring address.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15014", value_parser = HostPort::parse)]
    pub(crate) server: HostPort,
    /// Whose proxies: those of all replicas, or of the one that is asked.
    #[arg(long, value_enum, default_value = "mesh")]
    pub(crate) scope: WaitScope,
    /// How the end is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// Every proxy that needs it has it.
    InForce,
    /// No proxy has it any more.
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitScope {
    Mesh,
    Replica,
}
