//! An app in the cluster that really answers: pods with addresses of their own, and a client's Envoy that sends requests to them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use meltemi_testkit::envoy::{Envoy, Launch};
use meltemi_testkit::http::{Answer, App, Load, Request};
use meltemi_testkit::kube::Pod as PodRecord;
use meltemi_testkit::netns::{Network, Pod};

use super::{Home, service};
use crate::live::{Server, free_port};

/// The app.
pub const APP: &str = "reviews";

/// Where its pods listen.
const TARGET: u16 = 9080;

/// The namespace of the app, its pods, and the client's Envoy, which listens on 127.0.0.1 at the Service's port.
pub struct Shop {
    namespace: String,
    port: u16,
    envoy: Option<Envoy>,
    pods: Vec<(String, App, Pod)>,
    count: usize,
    network: Network,
}

impl Shop {
    /// A namespace with the app's Service, and no pod yet.
    ///
    /// # Errors
    /// When the API server or the machine refuses it.
    pub async fn open(home: &Home) -> Result<Self> {
        let namespace = home.cluster().namespace("shop").await?;
        let port = free_port()?;
        home.cluster().apply(&service(&namespace, APP, port, TARGET)).await?;
        Ok(Self { namespace, port, envoy: None, pods: Vec::new(), count: 0, network: Network::new()? })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The port of its Service.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name of the cluster that has all its pods.
    pub fn cluster_name(&self) -> String {
        format!("outbound|{}||{APP}.{}.svc.cluster.local", self.port, self.namespace)
    }

    /// The addresses of its pods, sorted.
    pub fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = self.pods.iter().map(|(_, _, pod)| pod.address().to_string()).collect();
        all.sort();
        all
    }

    /// One more pod, of that version: it answers, and then the API server is told.
    ///
    /// # Errors
    /// When the machine or the API server refuses it.
    pub async fn add(&mut self, home: &Home, version: &str) -> Result<()> {
        self.count += 1;
        let name = format!("{APP}-{}", self.count);
        let pod = self.network.pod(&name)?;
        let app = App::builder(APP, version).inside(&pod).port(TARGET).start().await?;
        let record = PodRecord::new(&self.namespace, &name, pod.address())
            .label("app", APP)
            .label("version", version)
            .port("http", TARGET);
        home.cluster().run_pod(&record).await?;
        self.pods.push((name, app, pod));
        Ok(())
    }

    /// Tells the API server that the oldest pod is gone. It goes on to answer until what is returned is dropped.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn remove(&mut self, home: &Home) -> Result<(App, Pod)> {
        let (name, app, pod) = self.pods.remove(0);
        home.cluster().delete_pod(&self.namespace, &name).await?;
        Ok((app, pod))
    }

    /// Starts the client's Envoy, which finds its control plane at that address; returns when it takes requests.
    ///
    /// # Errors
    /// When it does not get ready; with its log.
    pub async fn enter(&mut self, server: &Server, control_plane: SocketAddr) -> Result<()> {
        let proxy = format!("client.{}", self.namespace);
        let bootstrap = server.bootstrap_at(control_plane, &proxy, &["--interception", "NONE"]).await?;
        let envoy = Launch::new(bootstrap).start().await;
        self.envoy = Some(envoy.with_context(|| format!("meltemi's log:\n{}", server.log()))?);
        super::settled(server, &proxy).await?;
        self.settle().await;
        Ok(())
    }

    /// As `live::World::settle`: what Envoy's worker was handed before is done after two requests.
    pub async fn settle(&self) {
        for _ in 0..2 {
            drop(self.get().await);
        }
    }

    /// The client's Envoy.
    ///
    /// # Errors
    /// When there is none.
    pub fn envoy(&self) -> Result<&Envoy> {
        self.envoy.as_ref().context("nobody entered the shop")
    }

    /// What a GET of `/` is answered.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn get(&self) -> Result<Answer> {
        Request::get("/").host(APP).send(self.address()).await
    }

    /// Requests to the app, one after the other by each of two workers.
    pub fn load(&self) -> Load {
        Load::new(self.address(), Request::get("/").host(APP))
            .workers(2)
            .pace(std::time::Duration::from_millis(5))
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}
