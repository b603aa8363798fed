//! Istio's own agent, unmodified, as a client of Meltemi, with a vanilla Envoy under it: certificate, configuration, requests, renewal.
//!
//! Runs where `PILOT_AGENT_BIN` names a `pilot-agent`, as root, with Kubernetes' API server. Else each test is reported as ignored, told
//! as NOT RUN with what is missing, and not counted as passed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use meltemi_testkit::http::{Answer, App, Request};
use meltemi_testkit::netns::{Network, available};
use meltemi_tests::istio::{Agent, Kit, Spot, serial_of};
use meltemi_tests::kubernetes::{Home, service};
use meltemi_tests::live::{Addresses, Server};
use meltemi_tests::not_run;

/// After so long a test is given up: two agents start, each with an Envoy.
const LIMIT: Duration = Duration::from_secs(240);

/// The port of the Service.
const PORT: u16 = 80;

type Test = fn(Kit) -> Result<()>;

fn main() {
    let kit = available().and_then(|()| Kit::find());
    let missing = kit.as_ref().err().map(|missing| format!("{missing:#}"));
    let tests: [(&str, Test); 2] = [
        ("pods_with_istio_s_agent_talk_mutual_tls_by_meltemi_s_certificates", |kit| run(talk(kit))),
        ("istio_s_agent_renews_its_certificate_in_time", |kit| run(renew(kit))),
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
