//! A mesh of pods: network namespaces with a sidecar in each, and apps behind them.
//!
//! Knows: what a pod needs to be in the mesh. Must not know: what is tested.   Start at [`Mesh::start`]. Needs root.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use meltemi_testkit::envoy::{Envoy, Launch};
use meltemi_testkit::http::{Answer, App, Load, Request};
use meltemi_testkit::netns::{Network, Pod};
use tempfile::TempDir;

use super::{Addresses, Server, rule, split, workload};

/// The service's own address, which no machine has: only a sidecar can take the connection.
pub const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);

/// Where the apps listen.
pub const TARGET: u16 = 9080;

/// A pod with its Envoy; they end in this order.
pub struct Sidecar {
    /// Its Envoy.
    pub envoy: Envoy,
    /// The pod.
    pub pod: Pod,
}

/// A client and two versions of an app, each with a sidecar; and a pod that no mesh knows.
pub struct Mesh {
    /// The first version, workload `v1`.
    pub v1: App,
    /// The second, workload `v2`; it gets 30 % at first.
    pub v2: App,
    /// Who calls.
    pub client: Sidecar,
    /// The sidecars of both versions.
    pub servers: [Sidecar; 2],
    /// An app that is in no mesh.
    pub stranger: App,
    /// Its pod.
    pub stranger_pod: Pod,
    /// The control plane.
    pub server: Server,
    folder: TempDir,
    _network: Network,
}

impl Mesh {
    /// Starts all of it; when this returns, everything is in force.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start() -> Result<Self> {
        let network = Network::new()?;
        let folder = tempfile::Builder::new().prefix("meltemi-pods-").tempdir()?;
        let (client, one, two) = (network.pod("client")?, network.pod("v1")?, network.pod("v2")?);
        let stranger_pod = network.pod("stranger")?;
        let app = |name, version, pod| App::builder(name, version).inside(pod).port(TARGET).start();
        let (v1, v2) = (app("myapp", "v1", &one).await?, app("myapp", "v2", &two).await?);
        let stranger = app("stranger", "none", &stranger_pod).await?;

        let service = |name: &str, address: &str, port: u16| {
            format!(
                "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  clusterIP: {address}
  selector: {{app: myapp}}
  ports: [{{name: http, port: {port}, targetPort: {TARGET}}}]
"
            )
        };
        for (file, yaml) in [
            ("service.yaml", service("myapp", &SERVICE.ip().to_string(), SERVICE.port())),
            ("headless.yaml", service("pods", "None", TARGET)),
            ("v1.yaml", workload("v1", "myapp", "v1", v1.address())),
            ("v2.yaml", workload("v2", "myapp", "v2", v2.address())),
            ("rule.yaml", rule("myapp", &["v1", "v2"], "")),
            ("route.yaml", split("myapp", &[("v1", 70), ("v2", 30)])),
        ] {
            std::fs::write(folder.path().join(file), yaml)?;
        }
        let server = Server::start(folder.path(), Addresses::free(network.address().into())?, true).await?;
        let client = sidecar(&server, client, "client", &["--label", "app=client"]).await?;
        let servers = [
            sidecar(&server, one, "v1", &["--label", "app=myapp", "--label", "version=v1"]).await?,
            sidecar(&server, two, "v2", &["--label", "app=myapp", "--label", "version=v2"]).await?,
        ];
        server.in_force(0, 3).await?;
        Ok(Self { v1, v2, client, servers, stranger, stranger_pod, server, folder, _network: network })
    }

    /// Saves a file, and waits until it is in force in every sidecar.
    ///
    /// # Errors
    /// When it does not come into force.
    pub async fn save(&self, file: &str, yaml: &str) -> Result<()> {
        let before = self.server.generation().await?;
        let draft = self.folder.path().join(".draft");
        std::fs::write(&draft, yaml)?;
        std::fs::rename(&draft, self.folder.path().join(file))?;
        self.server.in_force(before, 3).await?;
        for _ in 0..2 {
            // As in `World`: what a worker was handed before is done after a request or two, whatever they are answered.
            drop(self.get(SERVICE, "myapp").await);
        }
        Ok(())
    }

    /// A GET of `/` from the client's pod.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, address: SocketAddr, host: &str) -> Result<Answer> {
        Request::get("/").host(host).send_through(&self.client.pod.connector(), address).await
    }

    /// Requests for the service, from the client's pod.
    pub fn load(&self) -> Load {
        self.load_of(Request::get("/"))
    }

    /// The same with other requests.
    pub fn load_of(&self, request: Request) -> Load {
        Load::new(SERVICE, request.host("myapp")).through(self.client.pod.connector()).workers(4)
    }

    /// Nothing was refused by any Envoy.
    ///
    /// # Errors
    /// When something was.
    pub async fn end(self) -> Result<()> {
        let nacks = self.server.metric("meltemi_xds_nacks_total").await?;
        ensure!(nacks == 0, "{nacks} NACKs\n{}", self.server.log());
        Ok(())
    }
}

async fn sidecar(server: &Server, pod: Pod, name: &str, labels: &[&str]) -> Result<Sidecar> {
    let address = pod.address().to_string();
    let arguments = [&["--interception", "REDIRECT", "--ip", &address], labels].concat();
    let bootstrap = server.bootstrap(&format!("{name}.default"), &arguments).await?;
    // As Istio's init container does, before the sidecar: a connection that is there already would be cut.
    pod.redirect()?;
    let envoy = Launch::new(bootstrap).inside(&pod).start().await;
    let envoy = envoy.with_context(|| format!("the sidecar of {name}; meltemi's log:\n{}", server.log()))?;
    Ok(Sidecar { envoy, pod })
}
