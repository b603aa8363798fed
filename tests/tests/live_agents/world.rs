//! A client and a server, each a pod with an agent and an Envoy; and a pod that is none of the mesh.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::{App, Connect, Running};
use meltemi_testkit::netns::Pod;
use meltemi_tests::live::rule;
use meltemi_tests::meshed::{
    Answered, Mesh, MeshedPod, SERVICE, Settings, TARGET, Tap, Visitor, entry, peer_authentication, service,
    until,
};

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// A day.
    Calm,
    /// [`BRIEF`].
    Brief,
}

/// A life of which a test sees several. Agents renew after a seventh of it, so that a busy machine has the rest to do it in.
pub(crate) const BRIEF: Duration = Duration::from_secs(60);

/// The name of the service, and what its host is called in the requests of a client.
pub(crate) const APP: &str = "myapp";

/// What a sidecar asks for when it calls the service (SNI).
pub(crate) const SNI: &str = "outbound_.80_._.myapp.default.svc.cluster.local";

pub(crate) const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
pub(crate) const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";

/// Another service of the same pod, to which a connection is kept, and its address.
pub(crate) const STEADY: (&str, SocketAddr) =
    ("steady", SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 12)), 80));

/// The service whose only pod is a [`Tap`], and its address.
pub(crate) const TAPPED: (&str, SocketAddr) =
    ("tapped", SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11)), 80));

/// The file with the policy of the namespace.
const POLICY: &str = "policy.yaml";

/// Loads of both kinds.
pub(crate) struct Loads([Running; 2]);

impl Loads {
    /// Waits until so many more requests of each kind were answered.
    pub(crate) async fn more(&self, count: u64) -> Result<()> {
        for load in &self.0 {
            let before = load.tally().total();
            until("more requests", async || {
                let now = load.tally().total();
                ensure!(now >= before + count, "{now} requests, {before} before");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Ends them, and fails unless every request was answered with 200; how many had a handshake each.
    pub(crate) async fn end(self) -> Result<u64> {
        let [each, kept] = self.0;
        let (each, kept) = (each.stop().await, kept.stop().await);
        each.expect_all(200).context("with a handshake each")?;
        kept.expect_all(200).context("on one connection")?;
        Ok(each.total())
    }
}

/// The world. The pods end before the network.
pub(crate) struct World {
    pub(crate) client: MeshedPod,
    pub(crate) server: MeshedPod,
    pub(crate) app: App,
    pub(crate) tap: Tap,
    /// In the mesh's network, and with no part in the mesh.
    pub(crate) stranger: Pod,
    pub(crate) mesh: Mesh,
    life: Life,
}

impl World {
    pub(crate) async fn start(life: Life) -> Result<Self> {
        let settings = Settings { life: (life == Life::Brief).then_some(BRIEF) };
        let mut mesh = Mesh::new(settings)?;
        let [client, server, stranger] = ["client", "server", "stranger"].map(|name| mesh.plain(name));
        let (client, server, stranger) = (client?, server?, stranger?);
        let app = App::builder(APP, "v1").inside(&server).port(TARGET).start().await?;
        let tap = Tap::start(&stranger, TARGET).await?;
        let (tapped, tapped_at) = TAPPED;
        for (file, yaml) in [
            ("service.yaml", service(APP, SERVICE, APP, TARGET)),
            // Each request is a handshake.
            ("rule.yaml", rule(APP, &[], "{connectionPool: {http: {maxRequestsPerConnection: 1}}}")),
            ("steady.yaml", service(STEADY.0, STEADY.1, APP, TARGET)),
            ("server.yaml", entry("server", APP, "v1", "server", app.address())),
            ("tapped.yaml", service(tapped, tapped_at, tapped, TARGET)),
            ("tap.yaml", entry("tap", tapped, "v2", "tap", tap.address())),
            (POLICY, peer_authentication("default", "PERMISSIVE")),
        ] {
            mesh.write(file, &yaml)?;
        }
        mesh.restart().await?;
        let mut client = mesh.join(client, "client", "client", &[("app", "client")]).await?;
        let mut server = mesh.join(server, "server", "server", &[("app", APP), ("version", "v1")]).await?;
        let whole = async {
            client.ready().await?;
            server.ready().await?;
            mesh.server()?.in_force(0, 2).await
        };
        let outcome = whole.await;
        let world = Self { client, server, app, tap, stranger, mesh, life };
        outcome.with_context(|| world.logs())?;
        Ok(world)
    }

    pub(crate) fn life(&self) -> Life {
        self.life
    }

    /// What everybody said: for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let control_plane = self.mesh.server().map_or_else(|error| error.to_string(), |server| server.log());
        format!(
            "the control plane's log:\n{control_plane}\nthe client's log:\n{}\nthe server's log:\n{}",
            self.client.agent().log(),
            self.server.agent().log()
        )
    }

    /// Where the server's pod takes connections.
    pub(crate) fn inbound(&self) -> SocketAddr {
        self.app.address()
    }

    /// The stranger's way to make sockets.
    pub(crate) fn strange(&self) -> Connect {
        self.stranger.connector()
    }

    /// The other pod's: the client's.
    pub(crate) fn client_inbound(&self) -> SocketAddr {
        SocketAddr::new(self.client.pod().address().into(), TARGET)
    }

    /// Saves a mode for the whole namespace, and waits until both sidecars have it.
    pub(crate) async fn mode(&self, mode: &str) -> Result<()> {
        self.mesh.save(POLICY, &peer_authentication("default", mode), 2).await
    }

    /// Fails unless a request from the client's pod to the service is answered by the app.
    pub(crate) async fn call(&self) -> Result<serde_json::Value> {
        let answer = self.client.get(SERVICE, APP).await?;
        ensure!(
            answer.status == 200 && answer.version() == Some("v1"),
            "{} {}",
            answer.status,
            answer.text()
        );
        Ok(answer.json())
    }

    /// Requests from the client's pod to the server's: with a handshake each, and on one connection.
    pub(crate) fn load(&self) -> Loads {
        let (steady, steady_at) = STEADY;
        Loads([self.client.load(SERVICE, APP).start(), self.client.load(steady_at, steady).start()])
    }

    /// What the server's pod answers to a stranger's TLS.
    pub(crate) async fn knock(&self, visitor: Visitor<'_>) -> Result<Answered> {
        visitor.get(&self.strange(), self.inbound(), APP).await
    }

    /// Waits until the server's pod answers a stranger without TLS, or does not, by the app's own count.
    pub(crate) async fn until_plaintext(&self, is_answered: bool) -> Result<()> {
        until(&format!("plaintext is answered: {is_answered}"), async || {
            ensure!(self.plaintext().await? == is_answered, "it is answered: {}", !is_answered);
            Ok(())
        })
        .await
    }

    /// Whether the app is reached by a stranger without TLS.
    pub(crate) async fn plaintext(&self) -> Result<bool> {
        let path = "/plaintext";
        let before = self.app.count(|seen| seen.path == path);
        let request = meltemi_testkit::http::Request::get(path).host(APP);
        let answered = request
            .send_through(&self.strange(), self.inbound())
            .await
            .is_ok_and(|answer| answer.status == 200);
        let reached = self.app.count(|seen| seen.path == path) > before;
        ensure!(answered == reached, "answered: {answered}, reached: {reached}");
        Ok(answered)
    }
}
