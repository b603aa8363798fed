//! What runs: a cluster, in it Meltemi with the chart's roles and the app, and a client with its sidecar.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use meltemi_testkit::envoy::{Envoy, Launch};
use meltemi_testkit::http::{Connect, Request};
use meltemi_testkit::kube::{Cluster, Kubelet, Pod, VERSION};
use meltemi_testkit::netns::{self, Network};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::machines::Machines;
use crate::server::{Meltemi, Server};
use crate::traffic::HOST;

/// How long the token of Meltemi's account is good: as long as anybody keeps the demo.
const TOKEN: Duration = Duration::from_secs(24 * 3600);

/// The Service's port in `examples/canary/app.yaml`.
const PORT: u16 = 8000;

/// How long the app may take to answer through the sidecar once its pods run; it takes milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How often it is asked until then.
const POLL: Duration = Duration::from_millis(20);

/// All of it but `meltemi serve`. Dropping it ends it, in this order.
pub(crate) struct World {
    envoy: Envoy,
    /// The pod from which the requests come.
    client: netns::Pod,
    _kubelet: Kubelet,
    machines: Machines,
    pub(crate) cluster: Cluster,
    pub(crate) meltemi: Meltemi,
    /// The app's Service, which no machine has: only a sidecar can take the connection.
    pub(crate) service: SocketAddr,
    _network: Arc<Network>,
}

impl World {
    /// Starts all of it; when this returns, both versions of the app answer through the sidecar.
    pub(crate) async fn start(meltemi: &Path, root: &Path) -> Result<(Self, Server)> {
        let mut step = Step::begin(&format!(
            "starting Kubernetes {VERSION}: etcd, API server, controllers; the demo plays the machines"
        ));
        let network = Arc::new(Network::new()?);
        let meltemi = Meltemi::new(meltemi, network.address().into())?;
        let cluster = Cluster::start().await?;

        step.next("installing the CRDs (`meltemi crds | kubectl apply --server-side -f -`), and the chart's account and roles");
        install(&cluster, &meltemi, &root.join("deploy/helm/meltemi")).await?;

        step.next("starting `meltemi serve` as that account");
        let kubeconfig = cluster.kubeconfig_for("istio-system", "meltemi", TOKEN).await?;
        let server = meltemi.serve(&kubeconfig, cluster.folder()).await?;

        step.next("kubectl apply -f examples/canary/app.yaml -f examples/canary/routing.yaml");
        let machines = Machines::new(Arc::clone(&network));
        let started = async {
            let kubelet = Kubelet::start_with(&cluster, "", &["node-1", "node-2"], machines.clone()).await?;
            let service = deploy(&cluster, &root.join("examples/canary")).await?;
            step.next("starting the client, a pod with an Envoy as its sidecar");
            let client = network.pod("client")?;
            let envoy = sidecar(&cluster, &meltemi, &client).await?;
            answers(&client.connector(), service).await?;
            step.end();
            anyhow::Ok((kubelet, service, client, envoy))
        };
        match started.await {
            Ok((kubelet, service, client, envoy)) => {
                let world = Self {
                    envoy,
                    client,
                    _kubelet: kubelet,
                    machines,
                    cluster,
                    meltemi,
                    service,
                    _network: network,
                };
                Ok((world, server))
            }
            Err(error) => {
                let error = server.explain(machines.explain(error));
                machines.stop_all().await;
                Err(error)
            }
        }
    }

    /// Makes sockets in the client's pod.
    pub(crate) fn connector(&self) -> Connect {
        self.client.connector()
    }

    /// The name of the client's network namespace.
    pub(crate) fn client(&self) -> &str {
        self.client.name()
    }

    /// Ends Envoy well, and all else by dropping it.
    pub(crate) async fn stop(self) -> Result<()> {
        self.envoy.stop().await?;
        self.machines.stop_all().await;
        Ok(())
    }
}

/// The kinds, and Meltemi's account with the roles of the chart.
async fn install(cluster: &Cluster, meltemi: &Meltemi, chart: &Path) -> Result<()> {
    let kinds = meltemi.run(&["crds"]).await?;
    cluster.kubectl_with(&["apply", "--server-side", "-f", "-"], &kinds).await?;
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).await?;
    cluster.kubectl(&["create", "namespace", "istio-system"]).await?;
    let chart = chart.display().to_string();
    let account = ["--show-only", "templates/serviceaccount.yaml", "--show-only", "templates/rbac.yaml"];
    let rendered = cluster
        .helm(&[&["template", "meltemi", &chart, "-n", "istio-system"], &account[..]].concat())
        .await?;
    cluster.kubectl_with(&["apply", "-f", "-"], &rendered).await.map(drop)
}

/// The app and its routing; returns the address of its Service.
async fn deploy(cluster: &Cluster, examples: &Path) -> Result<SocketAddr> {
    let file = |name: &str| examples.join(name).display().to_string();
    let (app, routing) = (file("app.yaml"), file("routing.yaml"));
    cluster.kubectl(&["apply", "-f", &app, "-f", &routing]).await?;
    for version in ["v1", "v2"] {
        let deployment = format!("deployment/myapp-{version}");
        cluster.kubectl(&["rollout", "status", &deployment, "--timeout=60s"]).await?;
    }
    let address = cluster.kubectl(&["get", "service", HOST, "-o", "jsonpath={.spec.clusterIP}"]).await?;
    let address: IpAddr = address.trim().parse().with_context(|| format!("the address {address}"))?;
    Ok(SocketAddr::new(address, PORT))
}

/// The client's pod, as Kubernetes knows it, and its sidecar.
async fn sidecar(cluster: &Cluster, meltemi: &Meltemi, client: &netns::Pod) -> Result<Envoy> {
    let address = client.address();
    cluster.run_pod(&Pod::new("default", "client", address).label("app", "client").on("node-1")).await?;
    let (xds, address) = (meltemi.xds.to_string(), address.to_string());
    let proxy = ["bootstrap", "--proxy", "client.default", "--interception", "REDIRECT", "--ip", &address];
    let bootstrap =
        meltemi.run(&[&proxy[..], &["--label", "app=client", "--xds-address", &xds]].concat()).await?;
    // As Istio's init container does, before the sidecar: what is connected already would be cut.
    client.redirect()?;
    Launch::new(bootstrap).inside(client).start().await
}

/// Waits until both versions of the app answer the client.
async fn answers(connect: &Connect, service: SocketAddr) -> Result<()> {
    let request = Request::get("/").host(HOST);
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut missing, mut last) = (vec!["v1", "v2"], String::new());
    let asking = async {
        while !missing.is_empty() {
            ticks.tick().await;
            match request.send_through(connect, service).await {
                Ok(answer) => {
                    missing.retain(|version| answer.version() != Some(version));
                    last = format!("{} {}", answer.status, answer.text());
                }
                Err(error) => last = format!("{error:#}"),
            }
        }
    };
    let outcome = timeout(ANSWER_LIMIT, asking).await;
    outcome.map_err(|_| anyhow!("no answer of {missing:?} after {ANSWER_LIMIT:?}; the last answer: {last}"))
}

/// Tells what goes on, and how long it took.
struct Step {
    start: Instant,
    is_told: bool,
}

impl Step {
    fn begin(text: &str) -> Self {
        eprint!("  {text} ...");
        Self { start: Instant::now(), is_told: false }
    }

    fn next(&mut self, text: &str) {
        self.end();
        *self = Self::begin(text);
    }

    fn end(&mut self) {
        eprintln!(" {:.1} s", self.start.elapsed().as_secs_f64());
        self.is_told = true;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.is_told {
            // It did not come to its end; what is said of that has a line of its own.
            eprintln!();
        }
    }
}
