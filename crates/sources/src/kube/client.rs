//! The way to an API server: where it is, and who we are there.

use std::path::PathBuf;
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

/// How the API server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As a pod of the cluster: `KUBERNETES_SERVICE_HOST` and the service account's files.
    InCluster,
    /// By a kubeconfig; none: the files of `KUBECONFIG`, else `~/.kube/config`.
    Kubeconfig {
        /// The file.
        file: Option<PathBuf>,
        /// One of its contexts; none: its current one.
        context: Option<String>,
    },
}

/// Why there is no way to an API server. All of them are for who started the program.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig is not there, or says nothing usable.
    #[error("{}: {reason}; name another with --kubeconfig FILE, or serve a folder with --config DIR", place(file.as_ref()))]
    Kubeconfig {
        /// As it was given.
        file: Option<PathBuf>,
        /// What is wrong with it.
        reason: String,
    },
    /// This is no pod, or its service account is not mounted.
    #[error(
        "this pod cannot ask its cluster: {0}; let it have a service account (automountServiceAccountToken), or give --kubeconfig FILE"
    )]
    InCluster(String),
    /// The settings make no client: a key that is none, say.
    #[error("the API server's address, certificates or credentials cannot be used: {0}")]
    Client(String),
}

fn place(file: Option<&PathBuf>) -> String {
    file.map_or_else(
        || "no kubeconfig (KUBECONFIG, ~/.kube/config)".to_owned(),
        |file| file.display().to_string(),
    )
}

/// An API server, and who we are there.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    shown: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("at", &self.shown).finish_non_exhaustive()
    }
}

/// A connection that is not there after so long is not coming: the server is away, and another try may find another one.
const CONNECT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Finds the way; asks nothing yet.
    ///
    /// # Errors
    /// When the kubeconfig or the pod's files cannot be read or used. A server that is away is no error: it is waited for.
    pub async fn connect(access: &Access) -> Result<Self, ConnectError> {
        let (mut config, how) = match access {
            Access::InCluster => {
                let config =
                    Config::incluster().map_err(|error| ConnectError::InCluster(error.to_string()))?;
                (config, "as a pod of the cluster".to_owned())
            }
            Access::Kubeconfig { file, context } => {
                let failed = |error: KubeconfigError| ConnectError::Kubeconfig {
                    file: file.clone(),
                    reason: with_cause(&error),
                };
                let kubeconfig = match file {
                    Some(file) => Kubeconfig::read_from(file),
                    None => Kubeconfig::read(),
                }
                .map_err(failed)?;
                let name = context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?;
                let file =
                    file.as_ref().map_or_else(|| "KUBECONFIG".to_owned(), |file| file.display().to_string());
                (config, format!("by context `{name}` of {file}"))
            }
        };
        config.connect_timeout = Some(CONNECT);
        // Tries are our own, so that each failure is seen: what is asked again behind one's back looks like silence.
        config.default_retry = false;
        let shown = format!("{} {how}", config.cluster_url);
        let client =
            kube::Client::try_from(config).map_err(|error| ConnectError::Client(with_cause(&error)))?;
        Ok(Self { client, shown })
    }

    /// The client, for others who ask the same server.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Which server, and as whom, for the log.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// What went wrong and why, in one line: below the first, parsers draw the text that they were given.
fn with_cause(error: &dyn std::error::Error) -> String {
    let line = |error: &dyn std::error::Error| {
        error.to_string().lines().next().unwrap_or_default().trim_end().to_owned()
    };
    let mut text = line(error);
    let mut cause = error.source();
    while let Some(found) = cause {
        let more = line(found);
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = found.source();
    }
    text
}
