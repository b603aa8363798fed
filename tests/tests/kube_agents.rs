//! A cluster's workloads with identities: real service accounts and tokens bound to their pods, the roots from their namespace's ConfigMap,
//! `meltemi agent` and its Envoy in each pod, and what a user does with `kubectl`.
//!
//! Needs root. Without it, each test here is reported as ignored, says NOT RUN, and is not counted as passed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::{App, Load, Request};
use meltemi_testkit::kube::Pod as PodRecord;
use meltemi_testkit::netns::{Network, Pod};
use meltemi_tests::kubernetes::{Case, Home, Needs, main as run_all, rule, run, service, split};
use meltemi_tests::live::{Addresses, Server};
use meltemi_tests::meshed::{MeshedPod, Plan, peer_authentication, until};
use serde_json::json;

/// The app, and where its pods listen.
const APP: &str = "reviews";
const TARGET: u16 = 9080;
const PORT: u16 = 80;

/// Requests on which a share is judged: 30 % ± 6.5 (4.5 standard deviations).
const SAMPLE: u64 = 1_000;

fn main() {
    let cases: &[Case] =
        &[("a_canary_between_workloads_of_a_cluster_is_under_strict_mutual_tls", Needs::Root, || {
            run(canary())
        })];
    run_all(cases);
}

/// Pods of one namespace, and their control plane; they end in this order.
struct Shop {
    pods: Vec<MeshedPod>,
    server: Server,
    stranger: Pod,
    namespace: String,
    home: Home,
    network: Network,
}

impl Shop {
    async fn open() -> Result<Self> {
        let home = Home::shared().await?;
        let network = Network::new()?;
        let address = network.address().into();
        let mut addresses = Addresses::free(address)?;
        addresses.secure.set_ip(address);
        let namespace = home.cluster().namespace("shop").await?;
        // Pods of the test find it by its address.
        let host = address.to_string();
        let server = home.launch_at(addresses, home.kubeconfig(), &["--custom-host", &host]).await?;
        let server = server.when_ready().await?;
        let stranger = network.pod("stranger")?;
        Ok(Self { pods: Vec::new(), server, stranger, namespace, home, network })
    }

    /// The roots that the namespace's pods are given, once this control plane has written them: another test's may have before.
    async fn roots(&self) -> Result<String> {
        let line = self.server.says(&["what signs", "signer="]).await?;
        until(&format!("the roots in {}: {line}", self.namespace), async || {
            let found =
                self.home.cluster().get("v1", "ConfigMap", &self.namespace, "istio-ca-root-cert").await?;
            let found = found.context("no such ConfigMap")?;
            found.data["data"]["root-cert.pem"].as_str().map(str::to_owned).context("no roots in it")
        })
        .await
    }

    /// Makes a pod with an agent: the record, the token, the roots, as a kubelet does; and waits until it is ready.
    async fn add(&mut self, pod: Pod, name: &str, account: &str, labels: &[(&str, &str)]) -> Result<()> {
        let cluster = self.home.cluster();
        let labels = [labels, &[("security.istio.io/tlsMode", "istio")]].concat();
        let record =
            PodRecord::new(&self.namespace, name, pod.address()).account(account).port("http", TARGET);
        let record = labels.iter().fold(record, |record, (key, value)| record.label(key, value));
        cluster.run_pod(&record).await?;
        let token = cluster.token(&self.namespace, account, &["istio-ca"], Some(name)).await?;
        let roots = self.roots().await?;
        let control_plane = self.server.addresses().secure.to_string();
        let plan = Plan {
            name,
            namespace: &self.namespace,
            account,
            labels: &labels,
            token: &token,
            roots: &roots,
            control_plane: &control_plane,
            life: None,
        };
        let mut pod = MeshedPod::start(pod, &plan).await?;
        pod.ready().await.with_context(|| self.server.log())?;
        self.pods.push(pod);
        Ok(())
    }

    async fn apply(&self, yaml: &str) -> Result<()> {
        self.home.cluster().apply(yaml).await
    }

    /// As a pipeline does after `kubectl apply`.
    async fn in_force(&self, object: &str) -> Result<()> {
        self.server.wait(&[object, "-n", &self.namespace, "--timeout", "60s"]).await
    }

    fn client(&self) -> Result<&MeshedPod> {
        self.pods.first().context("no pod")
    }
}

async fn canary() -> Result<()> {
    let mut shop = Shop::open().await?;
    let namespace = shop.namespace.clone();
    for account in ["client", "one", "two"] {
        let metadata = json!({"name": account, "namespace": namespace});
        shop.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}).to_string())
            .await?;
    }
    shop.apply(&service(&namespace, APP, PORT, TARGET)).await?;
    let [client, one, two] = ["client", "v1", "v2"].map(|name| shop.network.pod(name));
    let (client, one, two) = (client?, one?, two?);
    let v1 = App::builder(APP, "v1").inside(&one).port(TARGET).start().await?;
    let v2 = App::builder(APP, "v2").inside(&two).port(TARGET).start().await?;
    shop.add(client, "client", "client", &[("app", "client")]).await?;
    shop.add(one, "v1", "one", &[("app", APP), ("version", "v1")]).await?;
    shop.add(two, "v2", "two", &[("app", APP), ("version", "v2")]).await?;

    shop.apply(&peer_authentication(&namespace, "STRICT")).await?;
    shop.in_force("peerauthentication/default").await?;
    shop.apply(&rule(&namespace, APP, &["v1", "v2"])).await?;
    shop.apply(&split("v1", &namespace, APP, &[("v1", 70), ("v2", 30)])).await?;
    shop.in_force("virtualservice/reviews").await?;
    shop.in_force("destinationrule/reviews").await?;
    for app in [&v1, &v2] {
        until("a stranger's plaintext is refused", async || {
            let answer =
                Request::get("/").host(APP).send_through(&shop.stranger.connector(), app.address()).await;
            ensure!(answer.is_err(), "{answer:?}");
            Ok(())
        })
        .await?;
    }

    let found = shop.home.cluster().get("v1", "Service", &namespace, APP).await?.context("no Service")?;
    let ip = found.data["spec"]["clusterIP"].as_str().context("no address")?.parse()?;
    let address = SocketAddr::new(ip, PORT);
    until("the route is in force in the client", async || {
        let answer = shop.client()?.get(address, APP).await?;
        ensure!(answer.status == 200 && answer.version().is_some(), "{} {}", answer.status, answer.text());
        Ok(())
    })
    .await?;
    // Who was called by whom, as each server's sidecar told its app.
    let callers: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let noted = Arc::clone(&callers);
    let load = Load::new(address, Request::get("/").host(APP)).through(shop.client()?.pod().connector());
    let tally = load
        .workers(4)
        .requests(SAMPLE)
        .showing(move |answer| {
            let seen = answer.json()["headers"]["x-forwarded-client-cert"].to_string();
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            for part in seen.trim_matches('"').split(';') {
                if part.starts_with("By=") || part.starts_with("URI=") {
                    *noted.entry(part.to_owned()).or_default() += 1;
                }
            }
        })
        .run()
        .await;
    tally.expect_all(200)?;
    tally.expect_share("v2", 0.3)?;
    let of = |account: &str| format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
    let expected = BTreeMap::from([
        (format!("URI={}", of("client")), SAMPLE),
        (format!("By={}", of("one")), tally.version("v1")),
        (format!("By={}", of("two")), tally.version("v2")),
    ]);
    let callers = callers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(callers == expected, "{callers:?}, not {expected:?}");
    let nacks = shop.server.metric("meltemi_xds_nacks_total").await?;
    ensure!(nacks == 0, "{nacks} NACKs\n{}", shop.server.log());
    Ok(())
}
