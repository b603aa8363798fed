//! A control plane with an authority, as a process of its own; and what a process uses.

use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_tests::live::{Addresses, Server, free_port};
use meltemi_tests::storm::route;
use tempfile::TempDir;

/// The control plane, over a mesh of one service with two subsets.
pub(crate) struct Plane {
    pub(crate) server: Server,
    pub(crate) folder: TempDir,
    pub(crate) state: TempDir,
    /// The port of the service.
    pub(crate) port: u16,
}

impl Plane {
    pub(crate) async fn start() -> Result<Self> {
        let (folder, state) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let port = free_port()?;
        std::fs::write(folder.path().join("service.yaml"), service(port))?;
        std::fs::write(folder.path().join("route.yaml"), route(1))?;
        let (mesh, keys) = (folder.path().display().to_string(), state.path().display().to_string());
        let addresses = Addresses::free([127, 0, 0, 1].into())?;
        let server = Server::launch(&["--config", &mesh, "--state-dir", &keys], addresses).await?;
        let server = server.when_ready().await?;
        server.says(&["the TLS port has a new certificate"]).await?;
        Ok(Self { server, folder, state, port })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.server.pid().context("the control plane has ended")
    }

    /// Saves the route with that weight.
    pub(crate) fn save(&self, weight: u64) -> Result<()> {
        let draft = self.folder.path().join(".draft");
        std::fs::write(&draft, route(weight))?;
        Ok(std::fs::rename(&draft, self.folder.path().join("route.yaml"))?)
    }
}

fn service(port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: reviews, namespace: shop}}
spec:
  clusterIP: 10.96.0.10
  selector: {{app: reviews}}
  ports: [{{name: http, port: {port}, targetPort: 9080}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: reviews
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
"
    )
}

/// Resident memory, in MB.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}

/// What a process has used of processors, threads that have ended among it; in steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; after it come the third field and the others (proc(5)).
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>()?;
    // Linux counts a hundred a second towards programs, on every machine.
    Ok(Duration::from_millis(10 * ticks))
}
