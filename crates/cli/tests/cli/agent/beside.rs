//! `meltemi agent` as a process, with a real Envoy beneath it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use meltemi_testkit::envoy::{Admin, binary};
use meltemi_testkit::http::{Answer, App, Connect, Request};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, watch};
use tokio::time::{interval, timeout};

use super::authority::{Authority, POLL};
use crate::program::{LIMIT, meltemi, text};

pub(crate) struct Agent {
    child: Arc<Mutex<Child>>,
    pid: u32,
    lines: watch::Receiver<Vec<String>>,
    status: SocketAddr,
    folder: TempDir,
}

/// Looks until it is so; for what tells nobody.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let mut ticks = interval(POLL);
    let mut last = None;
    let found = timeout(LIMIT, async {
        loop {
            ticks.tick().await;
            match is_so().await {
                Ok(true) => return,
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
        }
    })
    .await;
    if found.is_err() {
        bail!("no {what}: {last:?}");
    }
    Ok(())
}

pub(crate) async fn signal(pid: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().await?;
    if sent.success() { Ok(()) } else { bail!("kill: {sent}") }
}

/// A listener with the workload's certificate, in front of the app.
fn listener(app: SocketAddr) -> String {
    let sds = "sds_config: {resource_api_version: V3, initial_fetch_timeout: 0s, api_config_source: {api_type: GRPC, \
        transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}}";
    format!(
        r#"
static_resources:
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]
  listeners:
  - name: mesh
    traffic_direction: INBOUND
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs: [{{name: default, {sds}}}]
            validation_context_sds_secret_config: {{name: ROOTCA, {sds}}}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: mesh
          route_config: {{virtual_hosts: [{{name: app, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: app, timeout: 0s}}}}]}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#,
        port = app.port()
    )
}

impl Agent {
    /// As a person starts it, outside of a cluster.
    pub(crate) async fn start(
        authority: &Authority,
        app: &App,
        how: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::spawn(authority, app, |command| {
            command.args(["--id", "app-1.shop", "--service-account", "reviews", "--label", "app=reviews"]);
            command.env("ISTIO_META_CLUSTER_ID", "east");
            how(command);
        })
        .await
    }

    /// As an injected pod starts it.
    pub(crate) async fn of_pod(
        authority: &Authority,
        app: &App,
        how: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        Self::spawn(authority, app, |command| {
            command
                .env("POD_NAME", "reviews-7")
                .env("POD_NAMESPACE", "shop")
                .env("SERVICE_ACCOUNT", "reviews");
            command.env("INSTANCE_IP", "10.1.2.3").env("TRUST_DOMAIN", "cluster.local");
            command.env("PILOT_CERT_PROVIDER", "istiod").env("ISTIO_META_CLUSTER_ID", "Kubernetes");
            how(command);
        })
        .await
    }

    async fn spawn(authority: &Authority, app: &App, how: impl FnOnce(&mut Command)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-agent-").tempdir()?;
        let overlay = folder.path().join("override.yaml");
        tokio::fs::write(&overlay, listener(app.address())).await?;
        let mut command = meltemi(["agent", "--config-path", text(folder.path())?]);
        command.args(["--ca", &authority.address.to_string(), "--server-name", "control-plane.test"]);
        command.args([
            "--root-cert",
            text(&authority.root_file())?,
            "--token",
            text(&authority.token_file())?,
        ]);
        command.args([
            "--sds-socket",
            text(&folder.path().join("sds"))?,
            "--bootstrap-override",
            text(&overlay)?,
        ]);
        command.args([
            "--status-port",
            "0",
            "--health-port",
            "0",
            "--prometheus-port",
            "0",
            "--admin-port",
            "0",
        ]);
        command.args(["--concurrency", "1", "--drain", "0s", "--envoy", text(&binary()?)?]);
        command.current_dir(authority.path());
        how(&mut command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pid = child.id().context("it has ended")?;
        let mut read = BufReader::new(child.stderr.take().context("standard error")?).lines();
        let (said, lines) = watch::channel(Vec::new());
        // Ends with the pipe.
        tokio::spawn(async move {
            while let Ok(Some(line)) = read.next_line().await {
                said.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut agent = Self { child: Arc::new(Mutex::new(child)), pid, lines, status: unspecified, folder };
        let line = agent.line(|line| line.contains("the agent listens")).await?;
        let port = line.split("status=0.0.0.0:").nth(1).context("no port")?;
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        agent.status = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
        Ok(agent)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All that it, and Envoy, said so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits until it says, or has said, such a line.
    pub(crate) async fn line(&self, is_such: impl Fn(&str) -> bool) -> Result<String> {
        let mut lines = self.lines.clone();
        let find = |lines: &Vec<String>| lines.iter().find(|line| is_such(line)).cloned();
        let waited = timeout(LIMIT, lines.wait_for(|lines| find(lines).is_some())).await;
        let found = match waited {
            Ok(Ok(lines)) => find(&lines),
            Ok(Err(_)) | Err(_) => None,
        };
        found.with_context(|| format!("no such line: {:#?}", self.lines()))
    }

    pub(crate) async fn status(&self, path: &str) -> Result<Answer> {
        Request::get(path).send(self.status).await
    }

    pub(crate) async fn post(&self, path: &str) -> Result<Answer> {
        Request::new("POST", path).send(self.status).await
    }

    pub(crate) async fn ready(&self) -> Result<()> {
        let ready = eventually("readiness", async || {
            let answer = self.status("/healthz/ready").await?;
            if answer.status == 200 { Ok(true) } else { bail!("{}", answer.text()) }
        });
        ready.await.with_context(|| format!("it said {:#?}", self.lines()))
    }

    /// The PID of the Envoy that was started last.
    pub(crate) fn envoy(&self) -> Result<u32> {
        let lines = self.lines();
        let line = lines.iter().rev().find(|line| line.contains("Envoy started")).context("no Envoy")?;
        let pid = line.split("pid=").nth(1).context("no PID")?;
        Ok(pid.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?)
    }

    pub(crate) async fn admin(&self) -> Result<Admin> {
        let text = tokio::fs::read_to_string(self.folder.path().join("envoy-admin-address")).await?;
        Ok(Admin::new(text.trim().parse()?, Connect::default()))
    }

    /// Where the listener with the workload's certificate is.
    pub(crate) async fn mesh(&self) -> Result<SocketAddr> {
        self.admin().await?.listener("mesh").await
    }

    /// The serial number of the certificate that Envoy has.
    pub(crate) async fn serial(&self) -> Result<String> {
        let certs = self.admin().await?.certs().await?;
        let chains = certs["certificates"].as_array().context("no certificates")?.iter();
        let mut serials = chains.filter_map(|entry| entry["cert_chain"][0]["serial_number"].as_str());
        serials.next().map(str::to_owned).with_context(|| format!("none: {certs}"))
    }

    pub(crate) async fn bootstrap(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&tokio::fs::read(self.folder.path().join("envoy-rev.json")).await?)?)
    }

    pub(crate) async fn terminate(&self) -> Result<()> {
        signal(self.pid, "TERM").await
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn wait(&self) -> Result<Option<i32>> {
        let mut child = self.child.lock().await;
        let ended = timeout(LIMIT, child.wait()).await;
        Ok(ended.with_context(|| format!("it goes on: {:#?}", self.lines()))??.code())
    }

    /// Ends it, as Kubernetes does.
    pub(crate) async fn end(self) -> Result<()> {
        self.terminate().await?;
        let code = self.wait().await?;
        assert_eq!(code, Some(0), "{:#?}", self.lines());
        Ok(())
    }
}

impl Drop for Agent {
    /// A test that failed leaves no Envoy: the agent is killed before it could end it.
    fn drop(&mut self) {
        if let (Ok(mut child), Ok(envoy)) = (self.child.try_lock(), self.envoy())
            && matches!(child.try_wait(), Ok(None))
        {
            let killed = child.start_kill();
            let envoy = std::process::Command::new("kill").args(["-s", "KILL", &envoy.to_string()]).status();
            drop((killed, envoy));
        }
    }
}
