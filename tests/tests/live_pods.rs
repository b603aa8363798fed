//! Pods as network namespaces, with a sidecar on both sides: client → sidecar → sidecar → server, by iptables REDIRECT.
//!
//! Needs root. Without it, each test here is reported as ignored, says NOT RUN, and is not counted as passed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use meltemi_testkit::envoy::{Envoy, Launch};
use meltemi_testkit::http::{App, Load, Request};
use meltemi_testkit::netns::{Network, Pod, available};
use meltemi_tests::live::{Addresses, Server, rule, split, workload};
use meltemi_tests::not_run;
use tempfile::TempDir;

/// The service's own address, which no machine has: only a sidecar can take the connection.
const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);

/// Where the apps listen.
const TARGET: u16 = 9080;

/// Requests on which a share is judged: 30 % ± 6.5 (4.5 standard deviations).
const SAMPLE: u64 = 1_000;

type Test = fn() -> Result<()>;

fn main() {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let tests: [(&str, Test); 3] = [
        ("a_canary_passes_the_sidecars_of_both_sides", || run(canary())),
        ("an_unknown_destination_is_passed_through_as_the_mesh_says", || run(unknown())),
        ("pods_of_a_headless_service_are_called_by_their_address", || run(headless())),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || test().map_err(|error| format!("{error:?}").into()))
            .with_ignored_flag(missing.is_some())
    });
    not_run::run(&Arguments::from_args(), trials.into(), missing.as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await })?
}

/// A pod with its Envoy; they end in this order.
struct Sidecar {
    envoy: Envoy,
    pod: Pod,
}

/// A client and two versions of an app, each with a sidecar; and a pod that no mesh knows.
struct Mesh {
    v1: App,
    v2: App,
    client: Sidecar,
    servers: [Sidecar; 2],
    stranger: App,
    _stranger: Pod,
    server: Server,
    folder: TempDir,
    _network: Network,
}

impl Mesh {
    async fn start() -> Result<Self> {
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
        Ok(Self {
            v1,
            v2,
            client,
            servers,
            stranger,
            _stranger: stranger_pod,
            server,
            folder,
            _network: network,
        })
    }

    /// Saves a file, and waits until it is in force in every sidecar.
    async fn save(&self, file: &str, yaml: &str) -> Result<()> {
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
    async fn get(&self, address: SocketAddr, host: &str) -> Result<meltemi_testkit::http::Answer> {
        Request::get("/").host(host).send_through(&self.client.pod.connector(), address).await
    }

    fn load(&self) -> Load {
        Load::new(SERVICE, Request::get("/").host("myapp")).through(self.client.pod.connector()).workers(4)
    }

    /// Nothing was refused by any Envoy.
    async fn end(self) -> Result<()> {
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

/// The sum of the stats that match.
async fn sum(envoy: &Envoy, filter: &str) -> Result<u64> {
    Ok(envoy.admin().stats(filter).await?.iter().map(|(_, value)| value).sum())
}

async fn canary() -> Result<()> {
    let mesh = Mesh::start().await?;
    let tally = mesh.load().requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v2", 0.3)?;
    tally.expect_share("v1", 0.7)?;
    // Each request passed the inbound side of its server's sidecar, and nothing else did.
    for (sidecar, app) in mesh.servers.iter().zip([&mesh.v1, &mesh.v2]) {
        let inbound = sum(&sidecar.envoy, "^cluster\\.inbound\\|9080\\|[^.]*\\.upstream_rq_total$").await?;
        ensure!(inbound == app.total(), "{inbound} requests inbound, {} at the app", app.total());
    }
    ensure!(
        sum(&mesh.client.envoy, "^cluster\\.outbound\\|80\\|v[^;]*;\\.upstream_rq_total$").await? == SAMPLE
    );

    // A switch under load loses nothing.
    let load = mesh.load().start();
    for _ in 0..5 {
        mesh.save("route.yaml", &split("myapp", &[("v2", 100)])).await?;
        ensure!(mesh.get(SERVICE, "myapp").await?.version() == Some("v2"));
        mesh.save("route.yaml", &split("myapp", &[("v1", 100)])).await?;
        ensure!(mesh.get(SERVICE, "myapp").await?.version() == Some("v1"));
    }
    load.stop().await.expect_all(200)?;
    mesh.end().await
}

async fn unknown() -> Result<()> {
    let mesh = Mesh::start().await?;
    let stranger = mesh.stranger.address();
    let answer = mesh.get(stranger, "stranger.example").await?;
    ensure!(answer.status == 200 && answer.header("x-app-name") == Some("stranger"), "{answer:?}");
    let passed = sum(&mesh.client.envoy, "^cluster\\.PassthroughCluster.*upstream_cx_total$").await?;
    ensure!(passed > 0, "the request did not pass through the sidecar");

    // REGISTRY_ONLY: what the mesh does not know is not reached; what it knows is.
    mesh.save(
        "mesh.yaml",
        "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
",
    )
    .await?;
    mesh.stranger.forget();
    let answer = mesh.get(stranger, "stranger.example").await;
    ensure!(answer.as_ref().map_or(true, |answer| answer.status != 200), "{answer:?}");
    ensure!(mesh.stranger.total() == 0, "the stranger was reached");
    ensure!(mesh.get(SERVICE, "myapp").await?.status == 200);
    mesh.end().await
}

async fn headless() -> Result<()> {
    let mesh = Mesh::start().await?;
    for app in [&mesh.v1, &mesh.v2, &mesh.v1] {
        app.forget();
        let answer = mesh.get(app.address(), "pods").await?;
        ensure!(answer.status == 200 && app.total() == 1, "{} {:?}", answer.status, answer.version());
    }
    mesh.end().await
}
