//! The process with its state folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::Request;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

use super::client::{Client, Holder};
use crate::live::{Addresses, Server, ticks};

/// After so long a test has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// Asks until it is so.
///
/// # Errors
/// When asking fails, or it is not so in time.
pub async fn until(what: &str, is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let mut ticks = ticks();
    let asking = async {
        while !is_so().await? {
            ticks.tick().await;
        }
        Ok(())
    };
    timeout(LIMIT, asking).await.with_context(|| format!("{what}: not after {LIMIT:?}"))?
}

/// `meltemi serve` with a state folder of its own.
pub struct Authority {
    folder: TempDir,
    options: Vec<String>,
    server: Option<Server>,
    secure: SocketAddr,
}

impl Authority {
    /// Starts it with these options besides; ready when it returns.
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub async fn start(options: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-identity-").tempdir()?;
        std::fs::create_dir(folder.path().join("config"))?;
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\nspec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}\n";
        std::fs::write(folder.path().join("config/reviews.yaml"), service)?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut authority =
            Self { folder, options, server: None, secure: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
        authority.restart().await?;
        Ok(authority)
    }

    /// Starts it (again).
    ///
    /// # Errors
    /// When it does not start; with its log.
    pub async fn restart(&mut self) -> Result<()> {
        let server = self.launch().await?.when_ready().await?;
        let line = server.says(&["xds over TLS listens"]).await?;
        let (_, after) = line.split_once("127.0.0.1:").with_context(|| format!("no address: {line}"))?;
        let port: String = after.chars().take_while(char::is_ascii_digit).collect();
        self.secure = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        // Signed and shown: the first handshake would wait for it.
        server.says(&["the TLS port has a new certificate"]).await?;
        self.server = Some(server);
        until("root-cert.pem is there", async || Ok(self.state().join("root-cert.pem").exists())).await
    }

    /// One more process over the same state folder; waits for nothing.
    ///
    /// # Errors
    /// When there is no program.
    pub async fn launch(&self) -> Result<Server> {
        let (config, state) = (self.folder.path().join("config"), self.state());
        let (config, state) = (config.display().to_string(), state.display().to_string());
        let mut arguments = vec!["--config", &config, "--state-dir", &state];
        arguments.extend(self.options.iter().map(String::as_str));
        Server::launch(&arguments, Addresses::free(Ipv4Addr::LOCALHOST.into())?).await
    }

    /// Kills it, as a machine that fails does.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.take().context("it does not run")?.kill().await
    }

    /// Tells it to end, and waits until it has ended well.
    ///
    /// # Errors
    /// When it does not.
    pub async fn terminate(&mut self) -> Result<()> {
        self.server.take().context("it does not run")?.terminate().await
    }

    /// The process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("it does not run")
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A folder for files of the test.
    pub fn place(&self) -> &Path {
        self.folder.path()
    }

    /// The TLS port.
    pub fn secure(&self) -> SocketAddr {
        self.secure
    }

    /// What agents on the machine are given as roots, PEM.
    ///
    /// # Errors
    /// When it is not there.
    pub fn roots(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.state().join("root-cert.pem"))?)
    }

    /// Connects to the TLS port, with a certificate if there is one; the server is verified by the name that agents use.
    ///
    /// # Errors
    /// When no handshake succeeds.
    pub async fn connect(&self, holder: Option<&Holder>) -> Result<Client> {
        Client::connect(self.secure, &self.roots()?, "istiod.istio-system.svc", holder).await
    }

    /// What `meltemi token` prints for `namespace/account`.
    ///
    /// # Errors
    /// When it fails.
    pub async fn token(&self, account: &str, life: &str) -> Result<String> {
        let (code, said) = self.command(&["token", "--for", account, "--life", life]).await?;
        ensure!(code == 0, "{said}");
        let token = said.lines().find(|line| line.matches('.').count() == 2 && !line.contains(' '));
        Ok(token.with_context(|| format!("no token: {said}"))?.to_owned())
    }

    /// Runs a command of the operator on the state folder: its exit code, and all that it said.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn command(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let state = self.state().display().to_string();
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--state-dir", &state]).collect();
        self.server()?.command(&arguments).await
    }

    /// What `meltemi ca status` shows.
    ///
    /// # Errors
    /// When it fails.
    pub async fn status(&self) -> Result<Value> {
        let (code, said) = self.command(&["ca", "status", "-o", "json"]).await?;
        ensure!(code == 0, "{said}");
        Ok(serde_json::from_str(&said)?)
    }

    /// The value of a metric with exactly these labels, as it stands on the page; 0 where there is none.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, line: &str) -> Result<u64> {
        let text = Request::get("/metrics").send(self.server()?.addresses().monitoring).await?.text();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        Ok(value.map_or(Ok(0), str::parse)?)
    }
}
