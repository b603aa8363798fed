//! What is told about certificates on the command line: to `serve`, to `token` and to `ca`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use meltemi_serve::identity::{Lifetimes, Settings};

use crate::args::{Switch, TextOrJson, duration};

/// Options of `serve`; the variables are those of Istio.
#[derive(Debug, Args)]
pub(crate) struct CertificateArgs {
    /// Sign workloads' certificates for the cluster, by what its Secrets istio-ca-secret or cacerts hold, and tell each namespace the roots.
    /// Without a cluster --state-dir decides.
    #[arg(long, value_enum, env = "MELTEMI_CA", default_value = "on")]
    ca: Switch,
    /// How long a workload's certificate lives where its request says nothing.
    #[arg(long, value_name = "DURATION", env = "DEFAULT_WORKLOAD_CERT_TTL", default_value = "24h", value_parser = duration)]
    workload_cert_ttl: Duration,
    /// The longest life that a request may ask for.
    #[arg(long, value_name = "DURATION", env = "MAX_WORKLOAD_CERT_TTL", default_value = "2160h", value_parser = duration)]
    max_workload_cert_ttl: Duration,
    /// A service account, as NAMESPACE/NAME, that may ask for the identities of the pods on its node (a node's proxy, such as ztunnel);
    /// repeat it for more.
    #[arg(long, value_name = "NS/NAME", env = "CA_TRUSTED_NODE_ACCOUNTS", value_delimiter = ',', value_parser = Account::parse)]
    trusted_node_accounts: Vec<Account>,
    /// A name or an address that clients call this control plane by, besides those of its Services; repeat it for more.
    #[arg(long, value_name = "HOST", env = "ISTIOD_CUSTOM_HOST", value_delimiter = ',')]
    custom_host: Vec<String>,
}

impl CertificateArgs {
    pub(crate) fn settings(&self, state_dir: Option<PathBuf>) -> anyhow::Result<Settings> {
        let lifetimes = Lifetimes { usual: self.workload_cert_ttl, longest: self.max_workload_cert_ttl };
        if lifetimes.usual < Duration::from_secs(1) || lifetimes.longest < lifetimes.usual {
            anyhow::bail!(
                "--workload-cert-ttl must be a second at least, and no more than --max-workload-cert-ttl"
            );
        }
        let accounts = self.trusted_node_accounts.iter();
        Ok(Settings {
            state_dir,
            in_cluster: self.ca == Switch::On,
            lifetimes,
            node_accounts: accounts
                .map(|account| (account.namespace.clone(), account.name.clone()))
                .collect(),
            custom_hosts: self.custom_host.clone(),
            ..Settings::default()
        })
    }
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Account {
    /// Reads `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// With what to write instead.
    fn parse(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            (1..=253).contains(&name.len())
                && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
        };
        match text.trim().split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => {
                Err(format!("`{text}` is no service account; write it as NAMESPACE/NAME, as in shop/reviews"))
            }
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The state folder of the control plane.
    #[arg(long, value_name = "DIR", env = "MELTEMI_STATE_DIR")]
    pub(crate) state_dir: PathBuf,
    /// For which service account.
    #[arg(long, value_name = "NS/NAME", value_parser = Account::parse)]
    pub(crate) r#for: Account,
    /// For how long, a day at most. Whoever holds the token is that account meanwhile.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) life: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Show what signs, what is trusted, and where a change of it stands.
    Status(CaStatusArgs),
    /// Change the root: trust both, until every workload does; sign with the new one; trust the old one until all that it signed has
    /// expired. It takes the longest life of a certificate, twice; this command may be left and called again.
    Rotate(CaRotateArgs),
}

/// Whose authority is meant: that of a state folder, else that of a cluster.
#[derive(Debug, Args)]
pub(crate) struct CaPlace {
    /// The state folder of the control plane; without it, that of a cluster is asked.
    #[arg(long, value_name = "DIR", env = "MELTEMI_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The cluster of this kubeconfig; without it that of KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE", env = "MELTEMI_KUBECONFIG", conflicts_with = "state_dir")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig, instead of its current one.
    #[arg(long, value_name = "NAME", env = "MELTEMI_KUBE_CONTEXT", conflicts_with = "state_dir")]
    pub(crate) context: Option<String>,
    /// The namespace that the control plane runs in.
    #[arg(short, long, value_name = "NS", env = "POD_NAMESPACE", default_value = "istio-system")]
    pub(crate) namespace: String,
    /// The Service of the control plane, which is asked which replicas are behind.
    #[arg(long, value_name = "NAME", env = "MELTEMI_SERVICE_NAME", default_value = "meltemi")]
    pub(crate) service_name: String,
}

#[derive(Debug, Args)]
pub(crate) struct CaStatusArgs {
    #[command(flatten)]
    pub(crate) at: CaPlace,
    /// How the status is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: TextOrJson,
}

#[derive(Debug, Args)]
pub(crate) struct CaRotateArgs {
    #[command(flatten)]
    pub(crate) at: CaPlace,
    /// Do the next step now, whatever it waits for. It says first who loses connections by that, and does one step each time.
    #[arg(long)]
    pub(crate) force: bool,
    /// For how long the change is watched at most; it goes on by itself.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}
