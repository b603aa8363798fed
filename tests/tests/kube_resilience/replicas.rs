//! Several replicas, which share nothing but the API server.

use anyhow::{Result, ensure};
use meltemi_names::TypeUrl;
use meltemi_testkit::http::Running;
use meltemi_testkit::xds::{Form, Node};
use meltemi_tests::kubernetes::{
    APP, Client, Door, Home, LIMIT, Shop, endpoints, rule, same_as_from_scratch, service, settled, slice,
    split, state,
};
use meltemi_tests::live::Server;

pub(crate) async fn agree() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    // They read the same objects one at a time, and all at once.
    let first = home.replica().await?;
    for number in 0..20 {
        let name = format!("s{number}");
        cluster.apply(&slice(&shop, &name, 9080, &["10.9.1.1", "10.9.1.2"])).await?;
        cluster.apply(&rule(&shop, &name, &["v1", "v2"])).await?;
        cluster.apply(&split("v1", &shop, &name, &[("v1", 90), ("v2", 10)])).await?;
    }
    let second = home.replica().await?;
    for form in [Form::Delta, Form::Sotw] {
        let node = Node::sidecar("client", &shop).label("app", "client");
        let mut states = Vec::new();
        for server in [&first, &second] {
            let mut client = Client::start(server.addresses().xds, node.clone(), form);
            let last = format!("outbound|9080||s19.{shop}.svc.cluster.local");
            client
                .until("the last service", |held| {
                    endpoints(held, &last).is_some_and(|found| found.len() == 2)
                })
                .await?;
            settled(server, &format!("client.{shop}")).await?;
            client.until("its route", |held| held.names(TypeUrl::Route).contains(&"9080")).await?;
            settled(server, &format!("client.{shop}")).await?;
            let mut held = state(&client.held());
            if form == Form::Sotw {
                // Its version tells a whole response of one server from others of that server, and means nothing to another.
                held.values_mut().for_each(|(version, _)| version.clear());
            }
            states.push(held);
        }
        ensure!(states[0].len() > 100, "{form:?}: only {} resources", states[0].len());
        ensure!(states[0] == states[1], "{form:?}: they differ");
    }
    Ok(())
}

/// A shop with an Envoy and sidecars, all behind one door.
struct Stage {
    home: Home,
    shop: Shop,
    door: Door,
    clients: Vec<Client>,
}

impl Stage {
    async fn start(first: &Server, home: Home) -> Result<Self> {
        let mut shop = Shop::open(&home).await?;
        shop.add(&home, "v1").await?;
        shop.add(&home, "v2").await?;
        let namespace = shop.namespace().to_owned();
        home.cluster().apply(&rule(&namespace, APP, &["v1", "v2"])).await?;
        home.cluster().apply(&split("v1", &namespace, APP, &[("v1", 50), ("v2", 50)])).await?;
        let door = Door::open().await?;
        door.lead_to(&[first.addresses().xds]);
        let mut clients = Vec::new();
        for number in 0..10 {
            let node = Node::sidecar(&format!("c{number}"), &namespace);
            let form = if number % 5 == 4 { Form::Sotw } else { Form::Delta };
            clients.push(Client::start(door.address(), node, form));
        }
        let (addresses, all) = (shop.addresses(), shop.cluster_name());
        for client in &mut clients {
            client
                .until("two pods", |held| endpoints(held, &all).is_some_and(|found| found == addresses))
                .await?;
        }
        shop.enter(first, door.address()).await?;
        let stage = Self { home, shop, door, clients };
        stage.settled(first).await?;
        Ok(stage)
    }

    /// Waits until all are at that replica and have all it has.
    async fn settled(&self, server: &Server) -> Result<()> {
        let namespace = self.shop.namespace();
        for number in 0..self.clients.len() {
            settled(server, &format!("c{number}.{namespace}")).await?;
        }
        settled(server, &format!("client.{namespace}")).await
    }

    /// All have moved to `server`, were sent nothing that they have, and are told of what changes from now on.
    async fn moved_to(&mut self, server: &Server, times: usize) -> Result<()> {
        for client in &mut self.clients {
            client.connected(times).await?;
        }
        self.settled(server).await?;
        for (number, client) in self.clients.iter().enumerate() {
            let steps = client.take_steps();
            // State of the world has no way to say what one has.
            if number % 5 != 4 {
                let sent: Vec<_> = steps.iter().filter(|step| !step.resources.is_empty()).collect();
                ensure!(sent.is_empty(), "c{number} was sent what it has: {sent:?}");
            }
            ensure!(steps.iter().all(|step| step.removed.is_empty()), "c{number} lost something: {steps:?}");
        }
        self.shop.add(&self.home, "v1").await?;
        let (addresses, all) = (self.shop.addresses(), self.shop.cluster_name());
        for client in &mut self.clients {
            client
                .until("one more pod", |held| endpoints(held, &all).is_some_and(|found| found == addresses))
                .await?;
        }
        self.settled(server).await?;
        for client in &self.clients {
            client.take_steps();
        }
        Ok(())
    }

    async fn end(mut self, load: Running) -> Result<()> {
        // However quick all that was: some of the requests come after it.
        for _ in 0..50 {
            self.shop.settle().await;
        }
        let tally = load.stop().await;
        ensure!(tally.total() > 10, "only {} requests", tally.total());
        tally.expect_all(200)?;
        let namespace = self.shop.namespace().to_owned();
        let node = Node::sidecar("c0", &namespace);
        same_as_from_scratch(&self.home, &mut self.clients[0], &node, &format!("c0.{namespace}")).await
    }
}

pub(crate) async fn killed() -> Result<()> {
    let home = Home::shared().await?;
    let (first, second) = (home.replica().await?, home.replica().await?);
    let mut stage = Stage::start(&first, home).await?;
    for client in &stage.clients {
        client.take_steps();
    }
    let load = stage.shop.load().start();
    stage.door.lead_to(&[second.addresses().xds]);
    let began = std::time::Instant::now();
    first.kill().await?;
    for client in &mut stage.clients {
        client.connected(2).await?;
    }
    ensure!(began.elapsed() < LIMIT / 2, "it took {:?}", began.elapsed());
    stage.moved_to(&second, 2).await?;
    stage.end(load).await
}

pub(crate) async fn rolled() -> Result<()> {
    let home = Home::shared().await?;
    let mut old = home.replica().await?;
    let mut stage = Stage::start(&old, home).await?;
    for client in &stage.clients {
        client.take_steps();
    }
    let load = stage.shop.load().start();
    for round in 0..3 {
        let new = stage.home.replica().await?;
        stage.door.lead_to(&[new.addresses().xds]);
        std::mem::replace(&mut old, new).terminate().await?;
        stage.moved_to(&old, round + 2).await?;
    }
    // What no replica has changed is not sent by any.
    stage.home.cluster().apply(&service(stage.shop.namespace(), "more", 9081, 9081)).await?;
    let more = format!("outbound|9081||more.{}.svc.cluster.local", stage.shop.namespace());
    for client in &mut stage.clients {
        client
            .until("one more service", |held| held.names(TypeUrl::Cluster).contains(&more.as_str()))
            .await?;
    }
    stage.end(load).await
}
