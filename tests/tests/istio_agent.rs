//! Istio's own agent, unmodified, as a client of Meltemi, with a vanilla Envoy under it: certificate, configuration, requests, renewal.
//!
//! Runs where `PILOT_AGENT_BIN` names a `pilot-agent`, as root, with Kubernetes' API server. Else each test is reported as ignored, told
//! as NOT RUN with what is missing, and not counted as passed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use meltemi_testkit::http::{Answer, App, Request};
use meltemi_testkit::netns::{Network, available};
use meltemi_tests::istio::{Agent, Kit, Spot, serial_of};
use meltemi_tests::kubernetes::{Home, service};
use meltemi_tests::live::{Addresses, Server};
use meltemi_tests::not_run;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// After so long a test is given up: two agents start, each with an Envoy.
const LIMIT: Duration = Duration::from_secs(240);

/// The port of the Service.
const PORT: u16 = 80;

/// Where Istio's agent answers DNS (Istio: pkg/istio-agent).
const DNS: u16 = 15053;

type Test = fn(Kit) -> Result<()>;

fn main() {
    let kit = available().and_then(|()| Kit::find());
    let missing = kit.as_ref().err().map(|missing| format!("{missing:#}"));
    let tests: [(&str, Test); 3] = [
        ("pods_with_istio_s_agent_talk_mutual_tls_by_meltemi_s_certificates", |kit| run(talk(kit))),
        ("istio_s_agent_renews_its_certificate_in_time", |kit| run(renew(kit))),
        ("istio_s_agent_answers_dns_by_meltemi_s_table_of_names", |kit| run(names(kit))),
    ];
    let trials = tests.map(|(name, test)| {
        let kit = kit.as_ref().ok().cloned();
        let ignored = kit.is_none();
        Trial::test(name, move || {
            let kit = kit.ok_or("there is no agent")?;
            test(kit).map_err(|error| format!("{error:#}").into())
        })
        .with_ignored_flag(ignored)
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    not_run::run(&arguments, trials.into(), missing.as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await })?
}

/// Meltemi in the cluster, where pods reach it.
async fn serve(home: &Home, network: &Network) -> Result<Server> {
    let addresses = Addresses::all_on(network.address().into())?;
    home.launch_at(addresses, home.kubeconfig(), &[]).await?.when_ready().await
}

async fn talk(kit: Kit) -> Result<()> {
    let (home, network) = (Home::shared().await?, Network::new()?);
    let server = serve(&home, &network).await?;
    let namespace = home.cluster().namespace("shop").await?;
    home.cluster().apply(&service(&namespace, "reviews", PORT, Spot::TARGET)).await?;
    let spot =
        |app| Spot { home: &home, control_plane: server.addresses().secure, namespace: &namespace, app };
    let mut client = Agent::start(&kit, &spot("client"), network.pod("client")?, &[]).await?;
    let mut reviews = Agent::start(&kit, &spot("reviews"), network.pod("reviews")?, &[]).await?;
    let app = App::builder("reviews", "v1").inside(reviews.pod()).port(Spot::TARGET).start().await?;
    for agent in [&mut client, &mut reviews] {
        agent.ready().await.with_context(|| format!("meltemi's log:\n{}", server.log()))?;
    }
    // Each has a certificate of its own name, and trusts the root that its pod mounts.
    for agent in [&client, &reviews] {
        let shown = agent.until_shown("a certificate", |_| true).await?;
        ensure!(shown.names == [agent.identity()], "{shown:?}");
        ensure!(shown.roots == [serial_of(agent.roots())?], "{shown:?}");
    }
    // By Istio's protocol, and by nothing else.
    ensure!(server.metric("meltemi_xds_nacks_total").await? == 0, "{}", server.log());

    let address = SocketAddr::new(spot("reviews").service_address().await?, PORT);
    // What the server's sidecar says of the client comes from the handshake.
    let (by, of) = (format!("By={}", reviews.identity()), format!("URI={}", client.identity()));
    let proven = |answer: &Answer| {
        let seen = answer.json()["headers"]["x-forwarded-client-cert"].as_str().map(str::to_owned);
        seen.is_some_and(|seen| seen.contains(&by) && seen.contains(&of))
    };
    until_answered(&client, address, proven).await?;
    let (total, passed) = (app.total(), inbound(&reviews).await?);
    for _ in 0..20 {
        let answer = get(&client, address).await?;
        ensure!(answer.status == 200 && proven(&answer), "{answer:?}");
    }
    ensure!(app.total() == total + 20);
    ensure!(inbound(&reviews).await? >= passed + 20, "requests passed the other sidecar by");
    Ok(())
}

async fn renew(kit: Kit) -> Result<()> {
    let (home, network) = (Home::shared().await?, Network::new()?);
    let server = serve(&home, &network).await?;
    let namespace = home.cluster().namespace("shop").await?;
    home.cluster().apply(&service(&namespace, "reviews", PORT, Spot::TARGET)).await?;
    let spot =
        Spot { home: &home, control_plane: server.addresses().secure, namespace: &namespace, app: "reviews" };
    let life = [("SECRET_TTL", "20s")];
    let mut agent = Agent::start(&kit, &spot, network.pod("reviews")?, &life).await?;
    agent.ready().await.with_context(|| format!("meltemi's log:\n{}", server.log()))?;
    let mut shown = agent.until_shown("a certificate", |_| true).await?;
    for _ in 0..2 {
        let before = shown.serial.clone();
        shown = agent.until_shown("another certificate", |shown| shown.serial != before).await?;
        ensure!(shown.names == [agent.identity()], "{shown:?}");
        ensure!(shown.roots == [serial_of(agent.roots())?], "{shown:?}");
    }
    Ok(())
}

async fn names(kit: Kit) -> Result<()> {
    let (home, network) = (Home::shared().await?, Network::new()?);
    let server = serve(&home, &network).await?;
    let namespace = home.cluster().namespace("shop").await?;
    home.cluster().apply(&service(&namespace, "reviews", PORT, Spot::TARGET)).await?;
    let entry = |address: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: outside, namespace: {namespace}}}
spec:
  hosts: [outside.example.com]
  addresses: [{address}]
  resolution: STATIC
  endpoints: [{{address: 192.0.2.9}}]
  ports: [{{number: 9000, name: tcp, protocol: TCP}}]
"
        )
    };
    home.cluster().apply(&entry("198.51.100.1")).await?;
    let spot =
        Spot { home: &home, control_plane: server.addresses().secure, namespace: &namespace, app: "client" };
    let capture = [("ISTIO_META_DNS_CAPTURE", "true")];
    let mut agent = Agent::start(&kit, &spot, network.pod("client")?, &capture).await?;
    // It is not ready before it has its names.
    agent.ready().await.with_context(|| format!("meltemi's log:\n{}", server.log()))?;
    until_named(&agent, "outside.example.com", [198, 51, 100, 1]).await?;
    let IpAddr::V4(of_service) = (Spot { app: "reviews", ..spot }).service_address().await? else {
        anyhow::bail!("the Service's address is not of IPv4");
    };
    until_named(&agent, "reviews", of_service.octets()).await?;
    home.cluster().apply(&entry("198.51.100.2")).await?;
    until_named(&agent, "outside.example.com", [198, 51, 100, 2]).await?;
    ensure!(server.metric("meltemi_xds_nacks_total").await? == 0, "{}", server.log());
    Ok(())
}

/// Waits until the agent's DNS answers a name with that address.
async fn until_named(agent: &Agent, name: &str, address: [u8; 4]) -> Result<()> {
    let mut last = None;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let asking = async {
        loop {
            ticks.tick().await;
            match resolve(agent, name).await {
                Ok(answer) if answer.ends_with(&address) => return,
                other => last = Some(other),
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), asking).await {
        Ok(()) => Ok(()),
        Err(_) => anyhow::bail!("{name} is not {address:?}; the last answer was {last:?}\n{}", agent.log()),
    }
}

/// What the agent's DNS answers (RFC 1035, over TCP), as bytes: the last four are an address of the name.
async fn resolve(agent: &Agent, name: &str) -> Result<Vec<u8>> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut stream = agent.pod().connector().to(SocketAddr::from(([127, 0, 0, 1], DNS))).await?;
    stream.write_u16(u16::try_from(query.len())?).await?;
    stream.write_all(&query).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A GET of `/` from the agent's pod.
async fn get(from: &Agent, address: SocketAddr) -> Result<Answer> {
    Request::get("/").host("reviews").send_through(&from.pod().connector(), address).await
}

/// Waits for an answer of the app that is such: the Service's endpoints come when the controllers have made them.
async fn until_answered(from: &Agent, address: SocketAddr, is_such: impl Fn(&Answer) -> bool) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let mut last = None;
    let asking = async {
        loop {
            ticks.tick().await;
            match get(from, address).await {
                Ok(answer) if answer.status == 200 && is_such(&answer) => return,
                other => last = Some(other),
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), asking).await {
        Ok(()) => Ok(()),
        Err(_) => anyhow::bail!("no such answer; the last was {last:?}\n{}", from.admin().clusters().await?),
    }
}

/// How many requests came through the sidecar of a pod.
async fn inbound(agent: &Agent) -> Result<u64> {
    let stats = agent.admin().stats("^cluster\\.inbound\\|9080\\|.*\\.upstream_rq_total$").await?;
    Ok(stats.iter().map(|(_, value)| value).sum())
}
