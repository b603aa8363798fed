//! Watches and lists that are cut, repeated, late, or older than the truth.

use anyhow::{Result, ensure};
use meltemi_testkit::kube::{Fault, Proxy};
use meltemi_testkit::xds::{Form, Held, Node};
use meltemi_tests::control_plane::{split as weights, virtual_host};
use meltemi_tests::kubernetes::{Client, Home, endpoints, rule, same_as_from_scratch, settled, slice, split};
use meltemi_tests::live::Server;

const PORT: u16 = 9080;

/// A replica that sees its API server through a proxy, and a sidecar of a shop with an app of two versions.
struct Stage {
    home: Home,
    shop: String,
    proxy: Proxy,
    server: Server,
    node: Node,
    client: Client,
}

impl Stage {
    async fn start() -> Result<Self> {
        let home = Home::shared().await?;
        let shop = home.cluster().namespace("shop").await?;
        home.cluster().apply(&slice(&shop, "reviews", PORT, &["10.9.0.1"])).await?;
        home.cluster().apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
        home.cluster().apply(&split("v1", &shop, "reviews", &[("v1", 90), ("v2", 10)])).await?;
        let proxy = Proxy::start(home.cluster()).await?;
        let server = home.launch(&home.through(&proxy).await?, &[]).await?.when_ready().await?;
        let node = Node::sidecar("client", &shop);
        let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);
        settled(&server, &format!("client.{shop}")).await?;
        let stage_shop = shop.clone();
        client
            .until("the shop", |held| is_at(held, &stage_shop, 1) && is_split(held, &stage_shop, 90))
            .await?;
        Ok(Self { home, shop, proxy, server, node, client })
    }

    /// The endpoint and the weights become these, by which a later change is known to be there.
    async fn write(&self, last: u8, percent: u32) -> Result<()> {
        let cluster = self.home.cluster();
        cluster.apply(&slice(&self.shop, "reviews", PORT, &[&format!("10.9.0.{last}")])).await?;
        cluster.apply(&split("v1", &self.shop, "reviews", &[("v1", percent), ("v2", 100 - percent)])).await
    }

    async fn sees(&mut self, what: &str, last: u8, percent: u32) -> Result<()> {
        let shop = self.shop.clone();
        self.client.until(what, |held| is_at(held, &shop, last) && is_split(held, &shop, percent)).await
    }

    async fn end(mut self) -> Result<()> {
        let removed: Vec<_> =
            self.client.take_steps().into_iter().filter(|step| !step.removed.is_empty()).collect();
        ensure!(removed.is_empty(), "something was taken away meanwhile: {removed:?}\n{}", self.server.log());
        ensure!(self.client.streams() == 1, "the stream was closed");
        same_as_from_scratch(&self.home, &mut self.client, &self.node, &format!("client.{}", self.shop)).await
    }
}

fn is_at(held: &Held, shop: &str, last: u8) -> bool {
    endpoints(held, &format!("outbound|{PORT}||reviews.{shop}.svc.cluster.local"))
        .is_some_and(|found| found == [format!("10.9.0.{last}")])
}

fn is_split(held: &Held, shop: &str, percent: u32) -> bool {
    let host = virtual_host(held, &PORT.to_string(), &format!("reviews.{shop}.svc.cluster.local"));
    let percent = u64::from(percent);
    host.is_some_and(|host| weights(&host) == [("v1".to_owned(), percent), ("v2".to_owned(), 100 - percent)])
}

pub(crate) async fn faults() -> Result<()> {
    let mut stage = Stage::start().await?;
    let (mut last, mut percent) = (1, 90);
    let mut next = || {
        last += 1;
        percent -= 1;
        (last, percent)
    };

    // Cut, with changes before and after the cut.
    let (at, share) = next();
    stage.write(at, share).await?;
    stage.proxy.cut_watches("");
    let (at, share) = next();
    stage.write(at, share).await?;
    stage.sees("cut", at, share).await?;

    // In the middle of an event, again and again.
    stage.proxy.set("", Fault::Truncate);
    let (at, share) = next();
    stage.write(at, share).await?;
    stage.server.says(&["the API server ends each watch at once", "[api-unreachable]"]).await?;
    stage.proxy.heal();
    stage.sees("truncated", at, share).await?;

    // Too old (410), while it runs; and then each time a watch begins.
    stage.proxy.await_watches("/endpointslices", 1).await?;
    let lists = stage.proxy.requests("/endpointslices");
    stage.proxy.expire_watches("");
    let (at, share) = next();
    stage.write(at, share).await?;
    stage.sees("gone", at, share).await?;
    // The list alone may have told of the change: the watch that follows it is waited for.
    stage.proxy.await_watches("/endpointslices", 1).await?;
    ensure!(stage.proxy.requests("/endpointslices") >= lists + 2, "it did not list again");
    stage.proxy.set("", Fault::WatchGone);
    let before = stage.proxy.requests("/endpointslices");
    stage.proxy.cut_watches("");
    let mut written = next();
    for _ in 0..12 {
        stage.write(written.0, written.1).await?;
        written = next();
    }
    stage.write(written.0, written.1).await?;
    stage.sees("gone from the start", written.0, written.1).await?;
    stage.proxy.heal();
    // A list each time, but with patience.
    let asked = stage.proxy.requests("/endpointslices") - before;
    ensure!((2..30).contains(&asked), "{asked} requests");

    // Twice, and with an API server that is busy.
    stage.proxy.await_watches("/endpointslices", 1).await?;
    stage.proxy.set("", Fault::Duplicate);
    stage.proxy.cut_watches("");
    let (at, share) = next();
    stage.write(at, share).await?;
    stage.sees("twice", at, share).await?;
    stage.proxy.heal();
    stage.proxy.await_watches("/endpointslices", 1).await?;
    stage.proxy.set("", Fault::Status(429));
    stage.proxy.cut_watches("");
    stage.server.says(&["the API server asks for patience (429)"]).await?;
    let (at, share) = next();
    stage.write(at, share).await?;
    stage.proxy.heal();
    stage.sees("busy", at, share).await?;
    stage.end().await
}

pub(crate) async fn stale() -> Result<()> {
    let mut stage = Stage::start().await?;
    let old = stage.proxy.record("/apis/discovery.k8s.io/v1/endpointslices?limit=500").await?;
    stage.write(2, 80).await?;
    stage.sees("a change", 2, 80).await?;

    stage.proxy.set("/endpointslices", Fault::Answer(old));
    stage.proxy.await_watches("/endpointslices", 1).await?;
    stage.proxy.expire_watches("/endpointslices");
    stage.server.says(&["list of endpointslices is older than what it said before", "etcd"]).await?;
    // Other kinds go on meanwhile, and the newest that was seen stays.
    let text = split("v1", &stage.shop, "reviews", &[("v1", 70), ("v2", 30)]);
    stage.home.cluster().apply(&text).await?;
    stage.sees("the newest", 2, 70).await?;
    stage.write(3, 60).await?;
    stage.proxy.heal();
    stage.sees("the truth", 3, 60).await?;
    stage.end().await
}

pub(crate) async fn late() -> Result<()> {
    let mut stage = Stage::start().await?;
    let cluster = stage.home.cluster().clone();
    stage.proxy.set("/destinationrules", Fault::Hold);
    cluster.apply(&rule(&stage.shop, "reviews", &["v1", "v2", "v3"])).await?;
    cluster.apply(&split("v1", &stage.shop, "reviews", &[("v3", 100)])).await?;
    // Longer than a change waits for what it refers to: it is known, and does no harm.
    stage.server.says(&["VirtualService", "v3", &stage.shop]).await?;
    cluster.apply(&slice(&stage.shop, "reviews", PORT, &["10.9.0.2"])).await?;
    stage.sees("another kind", 2, 90).await?;
    ensure!(stage.client.held().missing_clusters()?.is_empty(), "a route leads nowhere");

    stage.proxy.heal();
    let host = format!("reviews.{}.svc.cluster.local", stage.shop);
    let leads = |held: &Held| {
        virtual_host(held, &PORT.to_string(), &host)
            .is_some_and(|host| weights(&host) == [("v3".to_owned(), 100)])
    };
    stage.client.until("the new subset", leads).await?;
    ensure!(stage.client.held().missing_clusters()?.is_empty(), "a route leads nowhere");
    stage.end().await
}
