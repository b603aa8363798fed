//! The real server and clients that behave as Envoy does, in a simulated network that stalls, parts and drops them.
//! The seed decides changes, trouble and latencies, and is printed when a run fails. (The maps inside the HTTP/2 library still
//! vary the order of some frames: repeat a seed a few times.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/mesh.rs"]
mod mesh;

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use envoy::{CDS, EDS, Envoy, LDS, Out, RDS, VHDS};
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use meltemi_catalog::{Generation, Layer, View};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::{
    Connection, Directory, DiscoveryServer, Form, Metrics, Peer, Refusal, Settings, StreamHandle, Watcher,
};
use mesh::{Edit, HOSTS, Host, Mesh, ROUTES, SERVICES, Service, Spelling, expected, successor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Small, repeatable, and good enough to choose what happens next.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn edit(&mut self) -> Edit {
        let version = u8::try_from(self.roll(200)).unwrap();
        match self.roll(10) {
            0..4 => {
                let service = Service { version, endpoints: version, eds: self.roll(4) > 0, bad: false };
                Edit::Service(self.roll(SERVICES), (self.roll(5) > 0).then_some(service))
            }
            4 => Edit::Endpoints(self.roll(SERVICES), version),
            5 => Edit::Listener(self.roll(ROUTES), u8::from(self.roll(4) > 0) * version),
            _ => {
                let host = Host { version, to: u8::try_from(self.roll(1 << SERVICES)).unwrap(), bad: false };
                Edit::Host(self.roll(ROUTES), self.roll(HOSTS), (self.roll(5) > 0).then_some(host))
            }
        }
    }
}

/// Both spellings of one mesh.
struct World {
    mesh: Mesh,
    layers: [(Spelling, Layer, watch::Sender<View>); 3],
}

impl World {
    fn new() -> Self {
        let spelled = |spelling| (spelling, Layer::empty(), watch::Sender::new(View::default()));
        let mut world = Self {
            mesh: Mesh::default(),
            layers: [Spelling::DeltaHosts, Spelling::DeltaRoutes, Spelling::Sotw].map(spelled),
        };
        world.change(&[]);
        world
    }

    fn change(&mut self, edits: &[Edit]) {
        let mut mesh = self.mesh.clone();
        for edit in edits {
            mesh.apply(edit);
        }
        for (spelling, layer, views) in &mut self.layers {
            *layer = successor(layer, &self.mesh, &mesh, *spelling);
            views.send_replace(View::new([Arc::new(layer.clone())]));
        }
        self.mesh = mesh;
    }
}

struct BySpelling([watch::Receiver<View>; 3]);

struct Silent;

impl Watcher for Silent {
    fn refused(&mut self, _: &Refusal) {}
    fn progressed(&mut self, _: Generation) {}
}

impl Directory for BySpelling {
    fn connect(
        &self,
        node: Node,
        peer: Peer,
        _: Arc<StreamHandle>,
    ) -> BoxFuture<'static, Result<Connection, Status>> {
        let at = match (peer.form, node.cluster.as_str()) {
            (Form::Sotw, _) => 2,
            (Form::Delta, "hosts") => 0,
            (Form::Delta, _) => 1,
        };
        let views = self.0[at].clone();
        Box::pin(async move { Ok(Connection { views, watcher: Box::new(Silent), max_age: None }) })
    }
}

/// A simulated connection as tonic wants it.
struct Accepted(turmoil::net::TcpStream);

impl tonic::transport::server::Connected for Accepted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

type Failure = Box<dyn std::error::Error>;

async fn serve(views: [watch::Receiver<View>; 3]) -> Result<(), Failure> {
    let (_drain, drained) = watch::channel(false);
    let server = DiscoveryServer::new(
        Arc::new(BySpelling(views)),
        Settings { first_answer_bytes: 1, ..Settings::default() },
        Metrics::default(),
        drained,
        3,
    );
    let listener = turmoil::net::TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15010)).await?;
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    });
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_millis(500)))
        .http2_keepalive_timeout(Some(Duration::from_millis(500)))
        .add_service(server)
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

async fn channel() -> Result<Channel, Failure> {
    let channel = Endpoint::from_static("http://server:15010")
        .http2_keep_alive_interval(Duration::from_millis(500))
        .keep_alive_timeout(Duration::from_millis(500))
        .keep_alive_while_idle(true)
        .connect_timeout(Duration::from_millis(500))
        .connect_with_connector(tower::service_fn(|_| async {
            let stream = turmoil::net::TcpStream::connect(("server", 15010)).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }))
        .await?;
    Ok(channel)
}

/// One stream until it breaks.
async fn session(client: &Mutex<Envoy>, delta: bool) -> Result<(), Failure> {
    let mut grpc = tonic::client::Grpc::new(channel().await?);
    grpc.ready().await?;
    // The client is connected: from here its requests belong to this stream.
    client.lock().unwrap().connect();
    let path = |method: &str| {
        format!("/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}")
            .parse::<http::uri::PathAndQuery>()
    };
    if delta {
        let (sender, requests) = mpsc::channel(1);
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let requests = Request::new(ReceiverStream::new(requests));
        let mut responses =
            grpc.streaming(requests, path("DeltaAggregatedResources")?, codec).await?.into_inner();
        loop {
            while let Some(out) = next_out(client) {
                let Out::Delta(message) = out else { panic!("a delta client") };
                sender.send(message).await?;
            }
            let Some(response) = responses.message().await? else { return Ok(()) };
            client.lock().unwrap().receive_delta(response);
        }
    }
    let (sender, requests) = mpsc::channel(1);
    let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
    let requests = Request::new(ReceiverStream::new(requests));
    let mut responses =
        grpc.streaming(requests, path("StreamAggregatedResources")?, codec).await?.into_inner();
    loop {
        while let Some(out) = next_out(client) {
            let Out::Sotw(message) = out else { panic!("a state-of-the-world client") };
            sender.send(message).await?;
        }
        let Some(response) = responses.message().await? else { return Ok(()) };
        client.lock().unwrap().receive_sotw(response);
    }
}

fn next_out(client: &Mutex<Envoy>) -> Option<Out> {
    client.lock().unwrap().outbox.pop_front()
}

struct Client {
    name: &'static str,
    spelling: Spelling,
    envoy: Arc<Mutex<Envoy>>,
}

impl Client {
    fn has_all(&self, mesh: &Mesh) -> bool {
        let envoy = self.envoy.lock().unwrap();
        envoy.is_warm()
            && [
                (TypeUrl::Cluster, CDS),
                (TypeUrl::Endpoint, EDS),
                (TypeUrl::Listener, LDS),
                (TypeUrl::Route, RDS),
                (TypeUrl::VirtualHost, VHDS),
            ]
            .into_iter()
            .all(|(type_url, url)| envoy.in_force(url) == expected(mesh, self.spelling, type_url))
    }
}

/// One run; what went wrong, if anything.
fn run(seed: u64) -> Result<(), String> {
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .enable_random_order()
        .rng_seed(seed)
        .build();
    let mut world = World::new();
    let views = [0, 1, 2].map(|at| world.layers[at].2.subscribe());
    sim.host("server", move || serve(views.clone()));
    let clients =
        [("delta-1", Spelling::DeltaHosts), ("delta-2", Spelling::DeltaHosts), ("sotw", Spelling::Sotw)].map(
            |(name, spelling)| {
                let delta = spelling != Spelling::Sotw;
                let envoy = Arc::new(Mutex::new(Envoy::new(delta, spelling == Spelling::DeltaHosts)));
                Client { name, spelling, envoy }
            },
        );
    for client in &clients {
        let envoy = Arc::clone(&client.envoy);
        let delta = client.spelling != Spelling::Sotw;
        sim.host(client.name, move || {
            let envoy = Arc::clone(&envoy);
            async move {
                loop {
                    // Broken or ended: it comes back, as Envoy does, after a moment.
                    let _ = session(&envoy, delta).await;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
    }
    let mut dice = Dice(seed);
    // Parted or stalled clients, and until when (in steps of a millisecond).
    let mut trouble: Vec<(&'static str, bool, usize)> = Vec::new();
    for step in 0..20_000 {
        if dice.roll(60) == 0 {
            let edits: Vec<Edit> = (0..=dice.roll(4)).map(|_| dice.edit()).collect();
            world.change(&edits);
        }
        let name = clients[dice.roll(clients.len())].name;
        if dice.roll(1_000) == 0 && !trouble.iter().any(|(who, ..)| *who == name) {
            let parted = dice.roll(2) == 0;
            // A stall stays below the five seconds after which a route goes out without its answer.
            let until = step + dice.roll(if parted { 8_000 } else { 400 });
            if parted {
                sim.partition(name, "server");
            } else {
                sim.hold(name, "server");
            }
            trouble.push((name, parted, until));
        }
        trouble.retain(|&(name, parted, until)| {
            if until > step {
                return true;
            }
            if parted {
                sim.repair(name, "server");
            } else {
                sim.release(name, "server");
            }
            false
        });
        sim.step().map_err(|error| error.to_string())?;
    }
    for (name, parted, _) in trouble {
        if parted {
            sim.repair(name, "server");
        } else {
            sim.release(name, "server");
        }
    }
    // Now all is quiet; two keepalives, a reconnect and two limits are enough to end everything.
    for _ in 0..20_000 {
        sim.step().map_err(|error| error.to_string())?;
        if clients.iter().all(|client| client.has_all(&world.mesh)) {
            break;
        }
    }
    for client in &clients {
        let envoy = client.envoy.lock().unwrap();
        // A returning state-of-the-world client does not say what it holds: a cluster that went meanwhile cannot be kept
        // for its old routes.
        if client.spelling != Spelling::Sotw && !envoy.violations.is_empty() {
            return Err(format!("{}: {:?}", client.name, envoy.violations));
        }
        drop(envoy);
        if !client.has_all(&world.mesh) {
            return Err(format!("{} does not have what the view has: {:?}", client.name, client.envoy));
        }
    }
    Ok(())
}

#[test]
fn clients_end_with_what_the_view_has_and_no_route_ever_lacked_its_cluster() {
    // `MELTEMI_SIM_SEED=n` repeats one run; `MELTEMI_SIM_RUNS=n` makes more.
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("MELTEMI_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("MELTEMI_SIM_RUNS").unwrap_or(3),
    };
    for seed in seeds {
        if let Err(problem) = run(seed) {
            panic!("seed {seed}: {problem}");
        }
    }
}
