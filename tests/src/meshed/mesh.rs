//! A mesh without Kubernetes: a folder of YAML, a state folder, `meltemi serve`, and pods.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::netns::{Network, Pod};
use tempfile::TempDir;

use super::pod::{MeshedPod, Plan};
use super::until;
use crate::identity::{Client, Holder, Peer, forge};
use crate::live::{Addresses, Server};
use rcgen::{Issuer, KeyPair};

/// The address of a service, which no machine has: only a sidecar can take the connection.
pub const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);

/// Where apps listen.
pub const TARGET: u16 = 9080;

/// In the state folder: what workloads trust.
const ROOTS: &str = "root-cert.pem";

/// The mesh. Pods end before it does: a network is only removed when nothing runs in it.
pub struct Mesh {
    server: Option<Server>,
    addresses: Addresses,
    settings: Settings,
    folder: TempDir,
    state: TempDir,
    network: Network,
}

/// What differs between meshes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// How long certificates live, the control plane's own among them; a day where nothing is said.
    pub life: Option<Duration>,
}

impl Mesh {
    /// One without files, and with nothing running yet.
    ///
    /// # Errors
    /// When the machine refuses it.
    pub fn new(settings: Settings) -> Result<Self> {
        let network = Network::new()?;
        let address = network.address().into();
        let mut addresses = Addresses::free(address)?;
        addresses.secure.set_ip(address);
        Ok(Self {
            server: None,
            addresses,
            settings,
            folder: tempfile::Builder::new().prefix("meltemi-mesh-").tempdir()?,
            state: tempfile::Builder::new().prefix("meltemi-state-").tempdir()?,
            network,
        })
    }

    /// The control plane.
    ///
    /// # Errors
    /// When it does not run.
    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the control plane does not run")
    }

    /// Kills the control plane, as a machine that fails does.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.take().context("the control plane does not run")?.kill().await
    }

    /// Starts the control plane (again), at the same addresses and on the same state.
    ///
    /// # Errors
    /// When it does not get ready; with its log.
    pub async fn restart(&mut self) -> Result<()> {
        let path = |folder: &TempDir| folder.path().display().to_string();
        let (folder, state) = (path(&self.folder), path(&self.state));
        let mut arguments = vec!["--config", &folder, "--state-dir", &state];
        let life = self.settings.life.map(|life| format!("{}s", life.as_secs()));
        if let Some(life) = &life {
            arguments.extend(["--workload-cert-ttl", life, "--max-workload-cert-ttl", life]);
        }
        let server =
            self.server.insert(Server::launch(&arguments, self.addresses).await?.when_ready().await?);
        // What signs is there a moment after the mesh is, and what is trusted is published with it.
        let roots = self.state.path().join(ROOTS);
        until("the roots are published", async || Ok(std::fs::read(&roots)?))
            .await
            .with_context(|| server.log())?;
        Ok(())
    }

    /// Runs `meltemi` with these arguments and the state folder to its end; what it printed.
    ///
    /// # Errors
    /// When it does not end well; with what it said.
    pub async fn command(&self, arguments: &[&str]) -> Result<String> {
        let state = self.state.path().display().to_string();
        let arguments = [arguments, &["--state-dir", &state]].concat();
        let (code, text) = self.server()?.command(&arguments).await?;
        ensure!(code == 0, "`meltemi {}` ended with {code}: {text}", arguments.join(" "));
        Ok(text)
    }

    /// A token of `meltemi token` for that account (`namespace/name`), for so long.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn token(&self, account: &str, life: Duration) -> Result<String> {
        let life = format!("{}s", life.as_secs());
        let text = self.command(&["token", "--for", account, "--life", &life]).await?;
        // Standard error says which token it is; the token has two dots and no space.
        let token = text.lines().find(|line| line.matches('.').count() == 2 && !line.contains(' '));
        token.map(str::to_owned).with_context(|| format!("no token in `{text}`"))
    }

    /// What workloads trust (PEM).
    ///
    /// # Errors
    /// When the control plane has published nothing.
    pub fn roots(&self) -> Result<String> {
        std::fs::read_to_string(self.state.path().join(ROOTS)).context("the roots of the mesh")
    }

    /// What signs now, taken from the state folder: for certificates that the authority itself would never make.
    ///
    /// # Errors
    /// While what signs is being changed.
    pub fn stolen(&self) -> Result<Issuer<'static, KeyPair>> {
        forge::stolen(self.state.path())
    }

    /// The signer of that name, from the state folder, and its certificate (PEM).
    ///
    /// # Errors
    /// When it is not there.
    pub fn signer(&self, id: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
        let read = |kind: &str| std::fs::read_to_string(self.state.path().join(format!("{id}-{kind}.pem")));
        let certificate = read("cert").with_context(|| format!("the signer {id}"))?;
        Ok((Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&read("key")?)?)?, certificate))
    }

    /// Where pods find the control plane.
    pub fn secure(&self) -> SocketAddr {
        self.addresses.secure
    }

    /// A certificate of the control plane for that account (`namespace/name`), by a token of it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn certificate(&self, account: &str) -> Result<Holder> {
        let token = format!("Bearer {}", self.token(account, Duration::from_secs(3600)).await?);
        let name = self.secure().ip().to_string();
        let client = Client::connect(self.secure(), &self.roots()?, &name, None).await?;
        client.hold(Peer { authorization: Some(&token) }, 0).await
    }

    /// A pod that no mesh knows.
    ///
    /// # Errors
    /// When the machine refuses it.
    pub fn plain(&self, name: &str) -> Result<Pod> {
        self.network.pod(name)
    }

    /// Starts the agent and the Envoy of a pod in namespace `default`, as that account; waits for nothing.
    ///
    /// # Errors
    /// When the machine refuses it.
    pub async fn join(
        &self,
        pod: Pod,
        name: &str,
        account: &str,
        labels: &[(&str, &str)],
    ) -> Result<MeshedPod> {
        // Long enough for a first certificate; after it, the certificate is what the agent shows.
        let token = self.token(&format!("default/{account}"), Duration::from_secs(3600)).await?;
        let (control_plane, roots) = (self.secure().to_string(), self.roots()?);
        let plan = Plan {
            name,
            namespace: "default",
            account,
            labels,
            token: &token,
            roots: &roots,
            control_plane: &control_plane,
            life: self.settings.life,
        };
        MeshedPod::start(pod, &plan).await
    }

    /// Saves a file, and waits until it is in force in so many sidecars.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn save(&self, file: &str, yaml: &str, proxies: usize) -> Result<()> {
        let server = self.server()?;
        let before = server.generation().await?;
        self.write(file, yaml)?;
        server.in_force(before, proxies).await.with_context(|| format!("after saving {file}"))
    }

    /// Writes a file as editors do: a new file takes the place of the old one. Waits for nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, yaml: &str) -> Result<()> {
        let draft = self.folder.path().join(".draft");
        std::fs::write(&draft, yaml)?;
        std::fs::rename(&draft, self.folder.path().join(file)).with_context(|| format!("saving {file}"))
    }
}
