//! The edge of a mesh on loopback: a folder, `meltemi serve` with an authority, and gateways beside real agents.
//!
//! Knows the command lines of `meltemi serve`, `token` and `agent`. Must not know how anything is translated.   Start at [`Edge`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meltemi_testkit::envoy::{Admin, Envoy, Launch, binary, tied_command};
use meltemi_testkit::http::{Answer, Connect, Request};
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Child;

use super::server::{Addresses, program};
use super::{Server, eventually, free_port};

/// The mesh and its folder.
pub struct Edge {
    /// Dropped first: gateways end after it without a word.
    pub server: Server,
    folder: TempDir,
    state: TempDir,
}

/// A gateway: `meltemi agent` as a router, and the Envoy that it starts. Dropping it ends both.
pub struct Gateway {
    child: Child,
    log: NamedTempFile,
    admin: Admin,
    health: SocketAddr,
    _folder: TempDir,
}

impl Edge {
    /// A control plane over an empty folder.
    ///
    /// # Errors
    /// When it does not get ready; with its log.
    pub async fn start(files: &[(&str, &str)]) -> Result<Self> {
        let temporary = |prefix: &str| tempfile::Builder::new().prefix(prefix).tempdir();
        let (folder, state) = (temporary("meltemi-edge-")?, temporary("meltemi-edge-state-")?);
        for (file, yaml) in files {
            std::fs::write(folder.path().join(file), yaml)?;
        }
        let text = |folder: &TempDir| folder.path().display().to_string();
        let arguments = ["--config", &text(&folder), "--state-dir", &text(&state)];
        let addresses = Addresses::free(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let server = Server::launch(&arguments, addresses).await?.when_ready().await?;
        let edge = Self { server, folder, state };
        eventually(async || edge.roots().map(drop)).await.with_context(|| edge.server.log())?;
        Ok(edge)
    }

    /// What workloads trust (PEM).
    ///
    /// # Errors
    /// When the control plane has published nothing.
    pub fn roots(&self) -> Result<String> {
        std::fs::read_to_string(self.state.path().join("root-cert.pem")).context("the roots of the mesh")
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file as editors do, and waits until that is in force in so many proxies.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn save(&self, file: &str, yaml: &str, proxies: usize) -> Result<()> {
        let before = self.server.generation().await?;
        let draft = self.folder.path().join(format!(".{file}.draft"));
        std::fs::write(&draft, yaml)?;
        std::fs::rename(&draft, self.folder.path().join(file))?;
        self.server.in_force(before, proxies).await.with_context(|| format!("after saving {file}"))
    }

    /// A gateway `edge` in that namespace, of account `edge`, with the label `istio: edge`; ready when this returns.
    ///
    /// # Errors
    /// When it does not get ready; with its log.
    pub async fn gateway(&self, namespace: &str) -> Result<Gateway> {
        let token = self.token(&format!("{namespace}/edge")).await?;
        let secure = self.server.addresses().secure;
        let roots = self.roots()?;
        let plan =
            Plan { namespace, account: "edge", label: "istio=edge", token: &token, roots: &roots, secure };
        let gateway = Gateway::start(&plan).await?;
        gateway.ready().await.with_context(|| format!("meltemi:\n{}", self.server.log()))?;
        Ok(gateway)
    }

    /// A proxy without an agent, by `meltemi bootstrap` with these arguments; `delta` says how it asks.
    ///
    /// # Errors
    /// When it does not get ready; with the control plane's log.
    pub async fn bare(&self, proxy: &str, arguments: &[&str], delta: bool) -> Result<Envoy> {
        let bootstrap = self.server.bootstrap(proxy, arguments).await?;
        let bootstrap = if delta { bootstrap } else { bootstrap.replace("DELTA_GRPC", "GRPC") };
        let envoy = Launch::new(bootstrap).start().await;
        envoy.with_context(|| format!("meltemi's log:\n{}", self.server.log()))
    }

    async fn token(&self, account: &str) -> Result<String> {
        let state = self.state.path().display().to_string();
        let life = format!("{}s", Duration::from_secs(3600).as_secs());
        let arguments = ["token", "--for", account, "--life", &life, "--state-dir", &state];
        let (code, text) = self.server.command(&arguments).await?;
        ensure!(code == 0, "`meltemi token` ended with {code}: {text}");
        let token = text.lines().find(|line| line.matches('.').count() == 2 && !line.contains(' '));
        token.map(str::to_owned).with_context(|| format!("no token in `{text}`"))
    }

    /// The end of a test: nothing that was sent was refused.
    ///
    /// # Errors
    /// With the control plane's log.
    pub async fn end(self) -> Result<()> {
        let nacks = self.server.metric("meltemi_xds_nacks_total").await?;
        if nacks > 0 {
            bail!("Envoy refused something, {nacks} times:\n{}", self.server.log());
        }
        Ok(())
    }
}

/// Who a gateway is, and where its control plane is.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub account: &'a str,
    /// Its label, `key=value`.
    pub label: &'a str,
    /// What proves that.
    pub token: &'a str,
    /// What the control plane is known by (PEM).
    pub roots: &'a str,
    /// Where the control plane listens with TLS.
    pub secure: SocketAddr,
}

impl Gateway {
    /// Starts one called `edge`, and waits for nothing.
    ///
    /// # Errors
    /// When there is no such program.
    pub async fn start(plan: &Plan<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-gw-").tempdir()?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(file("token"), plan.token)?;
        std::fs::write(file("roots"), plan.roots)?;
        let (admin, health) = (free_port()?, free_port()?);
        let log = NamedTempFile::with_prefix("meltemi-gw-log-")?;
        let mut command = tied_command(program().await?);
        command.arg("agent");
        for (flag, value) in [
            ("--id", format!("edge.{}", plan.namespace)),
            ("--service-account", plan.account.to_owned()),
            ("--label", plan.label.to_owned()),
            ("--ca", plan.secure.to_string()),
            ("--root-cert", file("roots")),
            ("--token", file("token")),
            ("--config-path", file("proxy")),
            ("--sds-socket", file("sds")),
            ("--status-port", "0".to_owned()),
            ("--health-port", health.to_string()),
            ("--prometheus-port", free_port()?.to_string()),
            ("--admin-port", admin.to_string()),
            ("--envoy", binary()?.display().to_string()),
            ("--concurrency", "1".to_owned()),
            ("--drain", "1s".to_owned()),
        ] {
            command.args([flag, &value]);
        }
        command.args(["proxy", "router"]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).current_dir(folder.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
        let child = command.spawn().context("starting `meltemi agent`")?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let admin = Admin::new(at(admin), Connect::default());
        Ok(Self { child, log, admin, health: at(health), _folder: folder })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it does not get so; with its log.
    pub async fn ready(&self) -> Result<()> {
        let ready = async || {
            let answer = Request::get("/healthz/ready").send(self.health).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            Ok(())
        };
        eventually(ready).await.with_context(|| format!("the gateway:\n{}", self.log()))
    }

    /// What its agent and its Envoy said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Its Envoy's admin interface.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Ends it and its Envoy, as a kubelet does.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end(mut self) -> Result<()> {
        let pid = self.child.id().context("the agent has ended")?.to_string();
        let told = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await?;
        ensure!(told.success(), "`kill -TERM {pid}` ended with {told}");
        let ended = tokio::time::timeout(super::LIMIT, self.child.wait()).await;
        ended.context("the agent does not end")?.map(drop).map_err(Into::into)
    }
}

/// A GET of `/` from `host`, in the clear.
///
/// # Errors
/// When there is no answer at all.
pub async fn get(port: u16, host: &str) -> Result<Answer> {
    Request::get("/").host(host).send(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
}
