//! One cluster: its parts started in order, stopped and started again, and gone with the value.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tempfile::TempDir;

use super::access::Access;
use super::keys::{Authority, Identity, signing_pair};
use super::process::{Process, end_of, memory};
use super::tls::Dial;
use super::wait::{Seen, until};
use super::{assets, flags, ports};
use crate::http::Request;

/// How long a part may take to be ready; the API server takes 5 s of one core.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How often a start is tried in which another process took a port.
const ATTEMPTS: u32 = 4;

/// Begins the names of folders; the process ID follows.
const PREFIX: &str = "meltemi-kube-";

/// A Kubernetes cluster of its own. Dropping it ends its parts and removes all that they wrote.
pub struct Cluster {
    etcd: Part,
    api_server: Part,
    controllers: Part,
    etcd_address: SocketAddr,
    address: SocketAddr,
    access: Access,
    authority: Authority,
    dial: Dial,
    count: AtomicU32,
    /// Last, so that it is removed when the parts have ended.
    folder: TempDir,
}

impl Cluster {
    /// Starts one and waits until it is as after an installation: its API served, and in the namespace `default` what
    /// the controllers make there.
    ///
    /// # Errors
    /// When a program is missing (says what to do), ends, or is not ready in time; with the end of its log.
    pub async fn start() -> Result<Self> {
        sweep();
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::start_once().await {
                // A port that was free is another process's by now.
                Err(error)
                    if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") => {}
                outcome => return outcome,
            }
        }
    }

    /// One that all tests of this process share: made by the first who asks, gone with the last who holds it. Each test
    /// takes a [`Cluster::namespace`] of its own.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn shared() -> Result<Arc<Self>> {
        static SHARED: tokio::sync::Mutex<Weak<Cluster>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return Ok(cluster);
        }
        let cluster = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&cluster);
        Ok(cluster)
    }

    async fn start_once() -> Result<Self> {
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let path = folder.path();
        let (etcd_port, peer_port, port) = (ports::free()?, ports::free()?, ports::free()?);
        let authority = Authority::new("meltemi-test")?;
        let token = secret();
        let access = Access::new(format!("https://127.0.0.1:{port}"), authority.certificate(), token.clone());
        let server = authority.server(flags::SERVER_NAMES)?;
        let (private, public) = signing_pair()?;
        let files = [
            ("ca.crt", authority.certificate()),
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("accounts.key", &private),
            ("accounts.pub", &public),
            ("tokens.csv", &format!("{token},admin,admin,system:masters\n")),
            ("audit-policy.yaml", flags::AUDIT_POLICY),
            ("admin.kubeconfig", &access.kubeconfig()),
        ];
        for (name, text) in files {
            tokio::fs::write(path.join(name), text).await?;
        }
        let cluster = Self {
            etcd: Part::new("etcd", path, flags::etcd(path, etcd_port, peer_port))?,
            api_server: Part::new("kube-apiserver", path, flags::api_server(path, port, etcd_port))?,
            controllers: Part::new("kube-controller-manager", path, flags::controllers(path))?,
            etcd_address: SocketAddr::from((Ipv4Addr::LOCALHOST, etcd_port)),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            dial: Dial::trusting(authority.certificate())?,
            access,
            authority,
            count: AtomicU32::new(0),
            folder,
        };
        cluster.start_etcd().await?;
        cluster.start_api_server().await?;
        cluster.start_controllers().await?;
        Ok(cluster)
    }

    /// Starts etcd again, on the same port with the same data, and waits until it answers.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start_etcd(&self) -> Result<()> {
        self.etcd.start()?;
        until("etcd", START_LIMIT, async || {
            self.etcd.check()?;
            Ok(match Request::get("/health").send(self.etcd_address).await {
                Ok(answer) if answer.status == 200 => Seen::Yes(()),
                Ok(answer) => Seen::NotYet(answer.text()),
                Err(error) => Seen::NotYet(format!("{error:#}")),
            })
        })
        .await
        .with_context(|| self.etcd.end_of_log())
    }

    /// Ends etcd by force.
    pub fn stop_etcd(&self) {
        self.etcd.stop();
    }

    /// Starts the API server again, on the same port, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start_api_server(&self) -> Result<()> {
        self.api_server.start()?;
        // Its own service comes a moment after it is ready, when addresses can be given to services.
        for path in ["/readyz", "/api/v1/namespaces/default/services/kubernetes"] {
            self.answers(path, &self.api_server).await?;
        }
        Ok(())
    }

    /// Ends the API server by force, as when its machine fails: connections break, and none is accepted.
    pub fn stop_api_server(&self) {
        self.api_server.stop();
    }

    /// Starts the controllers again, and waits until those that make a namespace's own objects work.
    ///
    /// # Errors
    /// When they end or do nothing in time.
    pub async fn start_controllers(&self) -> Result<()> {
        self.controllers.start()?;
        for path in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            self.answers(&format!("/api/v1/namespaces/default/{path}"), &self.controllers).await?;
        }
        Ok(())
    }

    /// Ends the controllers by force.
    pub fn stop_controllers(&self) {
        self.controllers.stop();
    }

    async fn answers(&self, path: &str, part: &Part) -> Result<()> {
        until(path, START_LIMIT, async || {
            part.check()?;
            Ok(match self.dial.ask(self.address, path, self.access.token()).await {
                Ok((200, _)) => Seen::Yes(()),
                Ok((status, text)) => Seen::NotYet(format!("{status}: {text}")),
                Err(error) => Seen::NotYet(format!("{error:#}")),
            })
        })
        .await
        .with_context(|| part.end_of_log())
    }

    /// The administrator's way to the API server.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("admin.kubeconfig")
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its files are: logs, certificates, kubeconfigs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for these names and addresses, of the authority that every access of this cluster trusts: for a
    /// webhook, or a proxy in front of the API server.
    ///
    /// # Errors
    /// When a name is none.
    pub fn server_identity(&self, names: &[&str]) -> Result<Identity> {
        self.authority.server(names)
    }

    /// A new namespace whose name begins with `prefix`, with the objects that Kubernetes makes in each.
    ///
    /// # Errors
    /// When the API server refuses it, or the controllers are not there.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let name = self.unique(prefix);
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let api: Api<Namespace> = Api::all(self.admin().await?);
        api.create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() }).await?;
        // Without it no pod can be created there.
        self.answers(&format!("/api/v1/namespaces/{name}/serviceaccounts/default"), &self.controllers)
            .await?;
        Ok(name)
    }

    /// The resident memory of etcd, the API server and the controllers, in bytes; 0 for one that is stopped.
    pub fn memory(&self) -> [u64; 3] {
        [&self.etcd, &self.api_server, &self.controllers].map(|part| part.pid().map_or(0, memory))
    }

    /// A name that was not given before.
    pub(super) fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn dial(&self) -> &Dial {
        &self.dial
    }
}

/// A program of the cluster: how it is started, and whether it is.
struct Part {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Part {
    fn new(name: &str, folder: &Path, arguments: Vec<String>) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        Ok(Self { program: assets::program(name)?, arguments, log, process: Mutex::new(None) })
    }

    fn start(&self) -> Result<()> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.is_some() {
            bail!("{} is running already", self.program.display());
        }
        *process = Some(Process::start(&self.program, &self.arguments, &self.log)?);
        Ok(())
    }

    fn stop(&self) {
        drop(self.process.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Process::pid)
    }

    /// # Errors
    /// When it does not run.
    fn check(&self) -> Result<()> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        match process.as_mut().map(Process::ended) {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(status))) => bail!("{} ended with {status}", self.program.display()),
            Some(Err(error)) => Err(error),
            None => bail!("{} is stopped", self.program.display()),
        }
    }

    fn end_of_log(&self) -> String {
        format!("the end of {}:\n{}\n", self.log.display(), end_of(&self.log))
    }
}

/// A token that nobody guesses.
fn secret() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

/// Removes the folders of processes that were killed before they could; their children ended with them.
fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).map(str::to_owned);
        if let Some(pid) = pid
            && cfg!(target_os = "linux")
            && !Path::new("/proc").join(pid).exists()
        {
            // Somebody else's, or being removed by another run: either way not this one's to mend.
            std::fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
}
