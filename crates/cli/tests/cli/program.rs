//! The binary as a process: run to its end, or serving.
//!
//! Waits for lines, answers and the end of processes, never for time: [`LIMIT`] only ends a test that has failed.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_testkit::http::{Answer, Request};
use meltemi_testkit::xds::{Form, Held, Node, Sidecar};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// After so long a test has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The binary with these arguments; nothing of the test's own environment decides what it does.
pub(crate) fn meltemi<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MELTEMI_") || text == "RUST_LOG" || text == "KUBERNETES_SERVICE_HOST" {
            command.env_remove(&name);
        }
    }
    command
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// Runs it to its end.
pub(crate) async fn run(mut command: Command) -> Result<Ended> {
    let output = timeout(LIMIT, command.output()).await.with_context(|| format!("{command:?} goes on"))??;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// Runs the binary with these arguments to its end.
pub(crate) async fn ended(arguments: &[&str]) -> Result<Ended> {
    run(meltemi(arguments)).await
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// `meltemi serve`, on free ports.
pub(crate) struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    pub(crate) xds: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) monitoring: SocketAddr,
    /// The lines that it wrote on standard error until it listened.
    pub(crate) first_lines: Vec<String>,
}

/// The options by which all listeners take free ports.
pub(crate) const FREE_PORTS: [&str; 6] =
    ["--xds-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--monitoring-address", "127.0.0.1:0"];

impl Serving {
    /// Serves a folder; returns when all listeners are there.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        Self::spawn(meltemi(["serve", "--config", text(folder)?].into_iter().chain(FREE_PORTS))).await
    }

    /// Serves as the command says; returns when all listeners are there.
    pub(crate) async fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("standard error")?).lines();
        let mut first_lines = Vec::new();
        let mut address = async |listener: &str| -> Result<SocketAddr> {
            let found = until(&mut lines, |line| line.contains(&format!("{listener} listens"))).await?;
            let line = found.last().context("a line")?;
            let (_, after) = line.split_once("127.0.0.1:").with_context(|| format!("no address: {line}"))?;
            let port: String = after.chars().take_while(char::is_ascii_digit).collect();
            first_lines.extend(found);
            Ok(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))
        };
        let (xds, http) = (address("xds").await?, address("http").await?);
        let monitoring = address("monitoring").await?;
        Ok(Self { child, lines, xds, http, monitoring, first_lines })
    }

    /// Waits for a line on standard error that is such; the lines until then, it the last.
    pub(crate) async fn lines_until(&mut self, is_such: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        until(&mut self.lines, is_such).await
    }

    /// Waits for a line on standard error that is such.
    pub(crate) async fn line(&mut self, is_such: impl Fn(&str) -> bool) -> Result<String> {
        self.lines_until(is_such).await?.pop().context("a line")
    }

    /// A page.
    pub(crate) async fn page(&self, address: SocketAddr, path: &str) -> Result<Answer> {
        Request::get(path).send(address).await
    }

    /// A client of the pod `client` in namespace `default`, once it holds such.
    pub(crate) async fn client(&self, form: Form, is_such: impl Fn(&Held) -> bool) -> Result<Sidecar> {
        let mut client = Sidecar::connect(self.xds, Node::sidecar("client", "default"), form).await?;
        client.until(LIMIT, is_such).await?;
        Ok(client)
    }

    /// Sends a signal, by its name.
    pub(crate) async fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await?;
        if !sent.success() {
            bail!("kill: {sent}");
        }
        Ok(())
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn end(mut self, limit: Duration) -> Result<Option<i32>> {
        let ended = timeout(limit, self.child.wait()).await;
        Ok(ended.with_context(|| format!("it goes on after {limit:?}"))??.code())
    }
}

async fn until(
    lines: &mut Lines<BufReader<ChildStderr>>,
    is_such: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let mut heard = Vec::new();
    loop {
        let line = timeout(LIMIT, lines.next_line())
            .await
            .with_context(|| format!("no such line: {heard:#?}"))??;
        let Some(line) = line else { bail!("it ended before such a line: {heard:#?}") };
        let is_last = is_such(&line);
        heard.push(line);
        if is_last {
            return Ok(heard);
        }
    }
}
