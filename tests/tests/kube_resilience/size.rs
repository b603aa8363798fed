//! Much at once, and definitions that change under their objects; with real requests to an app that has nothing to do with it.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use meltemi_names::TypeUrl;
use meltemi_testkit::http::Running;
use meltemi_testkit::xds::{Form, Held, Node};
use meltemi_tests::control_plane::{split as weights, virtual_host};
use meltemi_tests::kubernetes::{
    APP, Client, Home, Shop, endpoints, rule, same_as_from_scratch, settled, slice, split,
};
use meltemi_tests::live::Server;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A replica, a shop with an Envoy under load, and a sidecar of the same namespace.
struct Stage {
    home: Home,
    server: Server,
    shop: Shop,
    node: Node,
    client: Client,
    load: Running,
}

impl Stage {
    async fn start() -> Result<Self> {
        let home = Home::shared().await?;
        let mut shop = Shop::open(&home).await?;
        shop.add(&home, "v1").await?;
        shop.add(&home, "v2").await?;
        let namespace = shop.namespace().to_owned();
        home.cluster().apply(&rule(&namespace, APP, &["v1", "v2"])).await?;
        home.cluster().apply(&split("v1", &namespace, APP, &[("v1", 50), ("v2", 50)])).await?;
        let server = home.replica().await?;
        let node = Node::sidecar("other", &namespace);
        let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);
        let (addresses, all) = (shop.addresses(), shop.cluster_name());
        client
            .until("two pods", |held| endpoints(held, &all).is_some_and(|found| found == addresses))
            .await?;
        shop.enter(&server, server.addresses().xds).await?;
        settled(&server, &format!("other.{namespace}")).await?;
        client.take_steps();
        let load = shop.load().start();
        Ok(Self { home, server, shop, node, client, load })
    }

    async fn end(mut self) -> Result<()> {
        let namespace = self.shop.namespace().to_owned();
        ensure!(self.client.streams() == 1, "the stream was closed");
        settled(&self.server, &format!("client.{namespace}")).await?;
        self.shop.settle().await;
        let tally = self.load.stop().await;
        tally.expect_all(200)?;
        same_as_from_scratch(&self.home, &mut self.client, &self.node, &format!("other.{namespace}")).await
    }
}

pub(crate) async fn upgraded() -> Result<()> {
    let mut stage = Stage::start().await?;
    let namespace = stage.shop.namespace().to_owned();
    let host = format!("{APP}.{namespace}.svc.cluster.local");
    let configuration = stage.shop.port().to_string();
    for (round, version) in ["v1", "v1beta1", "v1alpha3"].into_iter().enumerate() {
        let taken = [meltemi_names::Kind::VirtualService, meltemi_names::Kind::DestinationRule];
        for crd in meltemi_api::crd::all().into_iter().filter(|crd| taken.contains(&crd.kind())) {
            let mut crd = crd.to_value();
            // Another schema in each round; the last one serves one version alone.
            for one in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
                one["schema"]["openAPIV3Schema"]["description"] = format!("round {round}").into();
                one["served"] = (round < 2 || one["name"] == version).into();
            }
            stage.home.cluster().apply(&crd.to_string()).await?;
        }
        let percent = 60 + u32::try_from(round)?;
        let weights_now = [("v1", percent), ("v2", 100 - percent)];
        stage.home.cluster().apply(&split(version, &namespace, APP, &weights_now)).await?;
        let expected = [("v1".to_owned(), u64::from(percent)), ("v2".to_owned(), u64::from(100 - percent))];
        stage
            .client
            .until("the new weights", |held| {
                virtual_host(held, &configuration, &host).is_some_and(|host| weights(&host) == expected)
            })
            .await?;
    }
    meltemi_tests::kubernetes::define(stage.home.cluster()).await?;
    let removed: Vec<_> =
        stage.client.take_steps().into_iter().filter(|step| !step.removed.is_empty()).collect();
    ensure!(removed.is_empty(), "something was taken away meanwhile: {removed:?}");
    stage.end().await
}

/// Services, each with a rule, a route, and the rest of ten thousand objects as slices.
const SERVICES: usize = 1_000;
const SLICES: usize = 7;

/// Requests that are under way.
const AT_ONCE: usize = 32;

pub(crate) async fn thousands() -> Result<()> {
    let mut stage = Stage::start().await?;
    let many = stage.home.cluster().namespace("many").await?;
    create(&stage.home, &many, objects(&many)).await?;
    let suffix = format!(".{many}.svc.cluster.local");
    stage
        .client
        .until("all of them", |held| {
            let count = |kind| held.names(kind).iter().filter(|name| name.ends_with(&suffix)).count();
            count(TypeUrl::Cluster) == 3 * SERVICES && count(TypeUrl::VirtualHost) == SERVICES
        })
        .await?;
    stage.end().await
}

/// By the last part of their path.
fn objects(namespace: &str) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for number in 0..SERVICES {
        let name = format!("s{number}");
        all.push(("services", format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{name: http, port: 9080}}]}}}}"
        )));
        all.push(("destinationrules", rule(namespace, &name, &["v1", "v2"])));
        all.push(("virtualservices", split("v1", namespace, &name, &[("v1", 90), ("v2", 10)])));
        for one in 0..SLICES {
            all.push((
                "endpointslices",
                format!(
                    "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
                  metadata: {{name: {name}-{one}, labels: {{kubernetes.io/service-name: {name}}}}},
                  ports: [{{name: http, port: 8080}}], endpoints: [{{addresses: [10.9.2.{one}]}}]}}"
                ),
            ));
        }
    }
    all
}

/// As a tool that installs much at once does it.
async fn create(home: &Home, namespace: &str, objects: Vec<(&'static str, String)>) -> Result<()> {
    let client = home.cluster().admin().await?;
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut requests = JoinSet::new();
    for (plural, text) in objects {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let object: Value = serde_norway::from_str(text.trim_start_matches("---"))?;
        let group = match object["apiVersion"].as_str().context("no apiVersion")? {
            "v1" => "/api/v1".to_owned(),
            version => format!("/apis/{version}"),
        };
        let request = http::Request::post(format!("{group}/namespaces/{namespace}/{plural}"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())?;
        let client = client.clone();
        requests.spawn(async move {
            let _slot = slot;
            client.request_text(request).await.map(drop)
        });
    }
    while let Some(done) = requests.join_next().await {
        done??;
    }
    Ok(())
}

pub(crate) async fn namespace_deleted() -> Result<()> {
    let mut stage = Stage::start().await?;
    let cluster = stage.home.cluster().clone();
    let gone = cluster.namespace("gone").await?;
    let text: String = (0..30)
        .map(|number| {
            let name = format!("s{number}");
            slice(&gone, &name, 9080, &["10.9.3.1"])
                + &rule(&gone, &name, &["v1", "v2"])
                + &split("v1", &gone, &name, &[("v1", 90), ("v2", 10)])
        })
        .collect();
    cluster.apply_at_once(&text).await?;
    let suffix = format!(".{gone}.svc.cluster.local");
    let count =
        |held: &Held| held.names(TypeUrl::Cluster).iter().filter(|name| name.ends_with(&suffix)).count();
    stage.client.until("all of them", |held| count(held) == 90).await?;
    cluster.kubectl(&["delete", "namespace", &gone, "--wait=false"]).await?;
    stage.client.until("none of them", |held| count(held) == 0).await?;
    ensure!(stage.client.held().missing_clusters()?.is_empty(), "a route leads nowhere");
    stage.end().await
}
