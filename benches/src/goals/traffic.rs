//! A second clock: requests through two real Envoys, while one version of a service takes over from the other in one step.
//!
//! Knows: its figures. Must not know: what the server does.
//! One Envoy is the client's sidecar and holds the whole mesh; the other is the sidecar of both versions. Nothing is redirected: the client
//! asks its sidecar at the port of the services, and the server's sidecar listens where its Sidecar says.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Outcome;
use super::scene::{Scene, Stage};
use crate::envoy::{Envoy, Proxy, free_ports};
use crate::fleet::{Fleet, Target};
use crate::mesh::Shape;
use crate::report::Check;
use crate::run::{LIMITS, measure};
use crate::traffic::{App, Caller};

const SIDECARS: usize = 1000;
const SERVICES: usize = 1000;
const FLIPS: usize = 20;

const VERSIONS: [&str; 2] = ["v1", "v2"];
const HOST: &str = "target.traffic.svc.cluster.local";

/// What a flip waits for after it, so that what it did is over.
const BREATH: Duration = Duration::from_millis(100);

/// How long the flips took, in ascending order.
#[derive(Default)]
struct Flips {
    /// Until a request was answered by the new version.
    answered: Vec<Duration>,
    /// Until the last of the simulated sidecars had acknowledged it.
    acknowledged: Vec<Duration>,
    answers: u64,
    took: Duration,
}

pub(super) async fn run(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    let sidecars = scene.count(SIDECARS);
    let apps = [App::start(VERSIONS[0]).await?, App::start(VERSIONS[1]).await?];
    let [port, first, second] = free_ports()?;
    let shape = Shape { services: scene.count(SERVICES), port, ..Shape::default() };
    let documents = documents(port, [first, second], apps.each_ref().map(|app| app.address));
    let files = [("services/traffic.yaml", documents.as_str()), (ROUTING, &routing(0))];
    let stage = scene.stage_of(shape, false, &files).await?;
    scene.say("two Envoys");
    let xds = stage.server.address;
    let proxy = Proxy { name: "target.traffic", label: "app=target" };
    let target = Envoy::start(scene.binary(), xds, proxy).await?;
    let proxy = Proxy { name: "client.traffic", label: "app=client" };
    let client = Envoy::start(scene.binary(), xds, proxy).await?;
    let mut caller = Caller::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), HOST);
    caller.until(VERSIONS[0], LIMITS.step).await?;
    let alone = flips(&stage, &mut caller, None).await?;
    scene.say(&format!("{sidecars} sidecars beside them"));
    let (fleet, _) = stage.connect(Target::plain(xds), sidecars).await?;
    let (envoys, server) = (client.cpu()? + target.cpu()?, stage.server.cpu()?);
    let beside = fleet.during(flips(&stage, &mut caller, Some(&fleet))).await?;
    let envoys = (client.cpu()? + target.cpu()?).saturating_sub(envoys);
    let server = stage.server.cpu()?.zip(server).map(|(now, before)| now.saturating_sub(before));

    let millis = |time: Duration| measure::micros(time) / 1e3;
    let middle = |times: &[Duration]| millis(measure::median(times.to_vec()));
    let last = |times: &[Duration]| millis(times.last().copied().unwrap_or_default());
    let rate = |flips: &Flips| flips.answers as f64 / flips.took.as_secs_f64();
    outcome.told("two Envoys alone: saved to a request by the new version", "ms", middle(&alone.answered));
    outcome.told(format!("  the slowest of {FLIPS}"), "ms", last(&alone.answered));
    outcome.told("  requests a second", "1/s", rate(&alone));
    outcome.told(format!("beside {sidecars} simulated: the same"), "ms", middle(&beside.answered));
    outcome.told(format!("  the slowest of {FLIPS}"), "ms", last(&beside.answered));
    outcome.ratio("  times those of the Envoys alone", middle(&beside.answered), middle(&alone.answered));
    outcome.told("  requests a second", "1/s", rate(&beside));
    outcome.told("  last ACK of the simulated, the same flips", "ms", middle(&beside.acknowledged));
    outcome.told(format!("  the slowest of {FLIPS}"), "ms", last(&beside.acknowledged));
    outcome.told("  CPU per second, both Envoys", "s", envoys.as_secs_f64() / beside.took.as_secs_f64());
    outcome.told("  CPU per second, the server", "s", {
        server.unwrap_or_default().as_secs_f64() / beside.took.as_secs_f64()
    });
    let requests = caller.answers();
    let promises = [
        ("that failed", 0, caller.failures()),
        ("that another version answered than the last", 2 * FLIPS as u64, caller.turns()),
    ];
    for (which, promised, counted) in promises {
        outcome.check(Check {
            what: format!("{} flips under {requests} requests: those {which}", 2 * FLIPS),
            promised: promised.to_string(),
            counted: counted.to_string(),
            fine: promised == counted,
        });
    }
    drop((caller, client, target));
    fleet.stop().await?;
    stage.server.stop().await
}

/// All requests to the other version, and back.
async fn flips(stage: &Stage, caller: &mut Caller, fleet: Option<&Fleet>) -> Result<Flips> {
    let mut flips = Flips::default();
    let (begin, answers) = (Instant::now(), caller.answers());
    for flip in 1..=FLIPS {
        let to = flip % VERSIONS.len();
        let goal = fleet.map(|fleet| fleet.meter().acknowledged() + fleet.meter().sidecars() as u64);
        let start = Instant::now();
        stage.mesh.write_file(ROUTING, &routing(to))?;
        let answered = caller.until(VERSIONS[to], LIMITS.step).await?;
        flips.answered.push(answered.saturating_duration_since(start));
        if let Some((fleet, goal)) = fleet.zip(goal) {
            fleet.meter().until_acknowledged(goal, LIMITS.step).await?;
            flips.acknowledged.extend(fleet.meter().last_after(start).last());
            fleet.meter().until_quiet(BREATH).await;
        } else {
            tokio::time::sleep(BREATH).await;
        }
    }
    flips.took = begin.elapsed();
    flips.answers = caller.answers() - answers;
    flips.answered.sort_unstable();
    flips.acknowledged.sort_unstable();
    Ok(flips)
}

const ROUTING: &str = "routing/traffic.yaml";

/// All requests to one version.
fn routing(to: usize) -> String {
    let share = |version| if version == to { 100 } else { 0 };
    let [v1, v2] = VERSIONS;
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: target, namespace: traffic}}
spec:
  hosts: [{HOST}]
  http:
  - route:
    - {{destination: {{host: {HOST}, subset: {v1}}}, weight: {}}}
    - {{destination: {{host: {HOST}, subset: {v2}}}, weight: {}}}
",
        share(0),
        share(1)
    )
}

/// The service, and for each version where its sidecar listens (`listen`) and where it listens itself (`apps`).
fn documents(port: u16, listen: [u16; 2], apps: [SocketAddr; 2]) -> String {
    let [v1, v2] = VERSIONS;
    let [first, second] = listen;
    let workload = |version: &str, port: u16| {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: target-{version}, namespace: traffic}}
spec:
  address: 127.0.0.1
  ports: {{http: {port}}}
  labels: {{app: target, version: {version}}}
"
        )
    };
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: target, namespace: traffic}}
spec:
  selector: {{app: target}}
  ports: [{{name: http, port: {port}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: target, namespace: traffic}}
spec:
  host: {HOST}
  subsets:
  - {{name: {v1}, labels: {{version: {v1}}}}}
  - {{name: {v2}, labels: {{version: {v2}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: target, namespace: traffic}}
spec:
  workloadSelector: {{labels: {{app: target}}}}
  ingress:
  - {{port: {{number: {first}, protocol: HTTP, name: {v1}}}, bind: 127.0.0.1, defaultEndpoint: '{}'}}
  - {{port: {{number: {second}, protocol: HTTP, name: {v2}}}, bind: 127.0.0.1, defaultEndpoint: '{}'}}
  egress:
  - hosts: ['~/*']
{}{}",
        apps[0],
        apps[1],
        workload(v1, first),
        workload(v2, second)
    )
}
